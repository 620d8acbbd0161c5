"""What a person sees who starts a job in a terminal: sentences, without Dagster's own events."""

from __future__ import annotations

import logging

import dagster as dg

_META = "dagster_meta"


class _Sentences(logging.Formatter):
    """`12:34:56 sentence`; errors keep Dagster's text, which names step and cause."""

    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record)
        meta = getattr(record, _META, None)
        if meta and record.levelno < logging.ERROR:
            said = str(meta["orig_message"])
        return f"{self.formatTime(record, '%H:%M:%S')} {said}"


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
