"""Parameters as a target that holds them as text shows them, and what that text does not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.keys import Attribute
from migration_pipeline.mapping.terms import Capabilities, Loss
from migration_pipeline.mapping.values import cut, to_text, without_nul

REPEATED = "repeated value"
"""A parameter has one value; rows after the first are kept beside."""


@dataclass
class ParameterMapper:
    """Takes all parameters of one run, in the order of its rows."""

    capabilities: Capabilities
    _seen: set[Attribute] = field(default_factory=set)

    def shown(self, path: str, kind: str, value: Any) -> tuple[str | None, str]:
        """The text that the target gets (None: none), and why it is not all of the value."""
        if self.capabilities.verbatim:
            return to_text(kind, value) if value is not None else None, ""
        if (path, kind) in self._seen:
            return None, REPEATED
        self._seen.add((path, kind))
        if value is None:
            return None, "without value"
        text = to_text(kind, value)
        can = self.capabilities
        shown = text if can.parameter_nul else without_nul(text)
        reason = "" if shown == text else "null character"
        if can.parameter_max_length is not None and len(shown) > can.parameter_max_length:
            shown = cut(shown, can.parameter_max_length, self._kept)
            reason = "parameter too long"
        return shown, reason

    def losses(self, path: str, reason: str, value: Any) -> list[Loss]:
        """What `shown` said, as a loss; where there is no value, none is lost."""
        return [Loss(path, reason, 1, self._kept)] if reason and value is not None else []

    @property
    def _kept(self) -> str:
        can = self.capabilities
        return "" if can.files == "no" else can.beside or sidecar.PARAMETERS
