"""Text series where a target has such: which lines it takes, and which are kept beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from migration_pipeline.archive import layout
from migration_pipeline.mapping.steps import is_exact_double
from migration_pipeline.mapping.terms import Capabilities


def text_beside(path: str) -> str:
    """Where lines of a text series are that the target has not."""
    return f"neptune/text/{layout.digest(path)}.jsonl"


@dataclass
class TextRules:
    """Takes the lines of a run in their order and says of each why it is kept beside."""

    capabilities: Capabilities
    _tops: dict[str, int] = field(default_factory=dict)

    def reason(self, path: str, step: int | None, time: int | None, text: str | None) -> str:
        """Empty: the target takes it as it is. Step in millionths, time in ms."""
        can = self.capabilities
        if step is None:
            return "without step"
        if time is None:
            return "without time"
        if text is None:
            return "without value"
        if not can.parameter_nul and "\0" in text:
            return "null character"
        if can.text_point_max_length is not None and len(text) > can.text_point_max_length:
            return "text too long"
        if can.double_steps and not is_exact_double(step):
            return "step has too many digits"
        if can.monotonic_steps:
            if step <= self._tops.get(path, step - 1):
                return "step does not grow"
            self._tops[path] = step
        return ""
