"""Defaults of the run config, read from the environment when the definitions are loaded.

The launchpad then shows the values that will be used, not the names of variables. Secrets are not
read here: the run config names the variable that holds one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import TypeVar

from migration_pipeline.errors import ConfigError

Made = TypeVar("Made")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def text(variable: str, default: str = "") -> str:
    return os.environ.get(variable, "").strip() or default


def names(variable: str) -> list[str]:
    """Comma-separated names, without blanks around them, each once."""
    given = (name.strip() for name in os.environ.get(variable, "").split(","))
    return list(dict.fromkeys(name for name in given if name))


def flag(variable: str) -> bool:
    """
    Raises:
        ConfigError: neither a word for yes nor one for no.
    """
    return bool(decision(variable))


def decision(variable: str) -> bool | None:
    """Yes, no, or None where nothing is set.

    Raises:
        ConfigError: neither a word for yes nor one for no.
    """
    given = os.environ.get(variable, "").strip().lower()
    if given not in ("", *_TRUE, *_FALSE):
        raise ConfigError(f"{variable} is {given!r}", "Set it to 1 or 0, or leave it unset.")
    return given in _TRUE if given else None


def remembered(make: Callable[[Sequence[str]], Made]) -> Callable[[Sequence[str]], Made]:
    """Makes the same thing once, as long as the environment, where its defaults are from, is the
    same. Dagster asks twice a run for a job, and making all definitions takes a second."""

    @lru_cache(maxsize=1)
    def made(given: tuple[str, ...], environment: frozenset[tuple[str, str]]) -> Made:
        return make(given)

    @wraps(make)
    def asked(given: Sequence[str]) -> Made:
        return made(tuple(given), frozenset(os.environ.items()))

    return asked


def whole_number(variable: str) -> int:
    """0 when it is not set.

    Raises:
        ConfigError: it is not a positive whole number.
    """
    given = os.environ.get(variable, "").strip()
    if not given:
        return 0
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise ConfigError(
            f"{variable} is {given!r}", "Set it to a whole number above 0, or leave it unset."
        )
    return int(given)
