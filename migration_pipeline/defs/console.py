"""What a person sees who starts a job in a terminal: sentences, without Dagster's own events.

Stack traces of errors that we made, and whose message says what to do, stay in the event log.
"""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg

from migration_pipeline import errors

_META = "dagster_meta"
CONFIG = {"console": {"config": {"log_level": "INFO"}}}
"""Run config below `loggers` that chooses this console."""
_PLAIN = ("DagsterAssetCheckFailedError",)
"""Dagster's errors whose message needs no trace either."""


def our_message(error: Any) -> str:
    """The message of the first of our own errors in a chain of causes; empty: there is none.

    Args:
        error: Dagster's serialized form of an exception, or None.
    """
    while error is not None:
        if hasattr(errors, error.cls_name or "") or error.cls_name in _PLAIN:
            return str(error.message).strip().partition(": ")[2]
        error = error.cause
    return ""


def message_of(error: Any) -> str:
    """Our own message if there is one, else the innermost."""
    innermost = error
    while innermost is not None and innermost.cause is not None:
        innermost = innermost.cause
    return our_message(error) or str(innermost.message if innermost else "unknown error").strip()


class _Sentences(logging.Formatter):
    """`12:34:56 sentence`."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{self.formatTime(record, '%H:%M:%S')} {self._said(record)}"

    def _said(self, record: logging.LogRecord) -> str:
        meta = getattr(record, _META, None)
        if not meta:
            return super().format(record)
        event = meta["dagster_event"]
        if event and event.is_step_failure:
            failure = event.step_failure_data
            said = failure.user_failure_data and failure.user_failure_data.description
            said = said or our_message(failure.error)
            return f"{event.step_key} failed: {said}" if said else record.getMessage()
        return str(event.message if event else meta["orig_message"])


@dg.logger(
    config_schema={
        "log_level": dg.Field(
            str, default_value="INFO", description="Least level that is shown; DEBUG shows all."
        )
    },
    description="Sentences about progress, warnings and errors on the terminal.",
)
def console(init_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("migration_pipeline", level=init_context.logger_config["log_level"])
    handler = logging.StreamHandler()
    handler.setFormatter(_Sentences())
    logger.addHandler(handler)
    return logger
