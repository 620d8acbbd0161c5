"""Settings of the dummy: where it keeps runs, and how often which of its calls fail."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.dummy.store import CALLS
from migration_pipeline.targets.registry import TargetConfig

UNAVAILABLE, REFUSED = "MIGRATION_DUMMY_FAILURE_RATE", "MIGRATION_DUMMY_REFUSAL_RATE"
SEED = "MIGRATION_DUMMY_SEED"
_RATES = "`0.05` for every call, or by call: `rows=0.1,finish=0.5`. Calls: " + ", ".join(CALLS)


class DummyConfig(TargetConfig):
    """A folder in place of a tracker, for rehearsing a migration with failures."""

    environment: ClassVar[dict[str, str]] = {
        "path": "MIGRATION_DUMMY_PATH",
        "failure_rate": UNAVAILABLE,
        "refusal_rate": REFUSED,
        "seed": SEED,
    }

    path: str = Field(default="./exports/dummy", description="The folder that runs are kept in")
    failure_rate: str = Field(
        default="",
        description="Share of calls that fail as if the target were away for a moment, half of "
        f"them after they did their work. {_RATES}",
    )
    refusal_rate: str = Field(
        default="", description=f"Share of calls that are refused for good. {_RATES}"
    )
    seed: str = Field(
        default="",
        description="A whole number: the same calls fail every time. Each time the target is "
        "opened counts, so that a repeated load meets other failures. Empty: chance",
    )

    @property
    def failing(self) -> dict[str, float]:
        """Call → share that fails.

        Raises:
            ConfigError: it is no list of shares.
        """
        return _shares(UNAVAILABLE, self.failure_rate)

    @property
    def refused(self) -> dict[str, float]:
        """Call → share that is refused.

        Raises:
            ConfigError: it is no list of shares.
        """
        return _shares(REFUSED, self.refusal_rate)

    @property
    def seed_number(self) -> int | None:
        """
        Raises:
            ConfigError: it is no whole number.
        """
        if not self.seed.strip():
            return None
        if not re.fullmatch(r"\s*-?\d+\s*", self.seed, re.ASCII):
            raise ConfigError(f"{SEED} is {self.seed!r}", "Set it to a whole number, or unset it.")
        return int(self.seed)


def _shares(variable: str, text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, given, share = item.rpartition("=")
        names = [name.strip()] if given else list(CALLS)
        if not re.fullmatch(r"\s*(0|1|[01]?\.\d+)\s*", share, re.ASCII) or float(share) > 1:
            raise ConfigError(f"{variable}: {share!r} is no share", "Give one from 0 to 1.")
        if unknown := set(names) - set(CALLS):
            raise ConfigError(
                f"{variable}: there is no call {unknown.pop()!r}", f"Known: {', '.join(CALLS)}."
            )
        found |= dict.fromkeys(names, float(share))
    return found
