"""Points to be appended to series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Entry = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """Points of one series, whose steps grow: `value`, `step`, `timestampMilliseconds`."""

    path: str
    operation: str
    entries: Sequence[Entry]

    def after(self, step: float | None) -> Log:
        """What is left of it when the series has come to that step."""
        if step is None:
            return self
        return Log(self.path, self.operation, [e for e in self.entries if e["step"] > step])
