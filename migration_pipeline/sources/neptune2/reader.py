"""What all tasks of one reading of 2.x objects use."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_pipeline.sources.neptune2.client import Neptune2Client
from migration_pipeline.sources.neptune2.http import RefusedAnswer
from migration_pipeline.sources.source import RunRef, Selection

MANY_ATTRIBUTES = 50_000
"""About so many attributes are asked for in one answer, which then has some 15 MB."""
GROUP_RUNS = 200
_FIRST_PAGE = 50
POINTS = (10_000, 1_000)
"""Points in a page of a series. What a server gives at most is unknown, its own clients ask for
1,000: the larger page is asked for until it is refused where the smaller one is not."""


@dataclass
class Reader:
    """The client, what is selected, and where downloads go. For all threads."""

    client: Neptune2Client
    selection: Selection
    scratch: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _page: int = _FIRST_PAGE
    _points: Sequence[int] = field(default_factory=lambda: POINTS)

    @property
    def page(self) -> int:
        """Runs whose attributes are asked for at once."""
        return self._page

    def learn(self, attributes: int) -> None:
        """So many attributes the largest run of a page had."""
        self._page = max(1, min(GROUP_RUNS, MANY_ATTRIBUTES // max(attributes, 1)))

    def points(self, run: RunRef, attribute: str, operation: str, offset: int) -> bytes:
        """A page of a series, as JSON."""
        for limit in self._points:
            asked = of_attribute(run, attribute, offset=offset, limit=limit)
            try:
                answer = self.client.ask(operation, self.place(run), asked)
            except RefusedAnswer as error:
                if error.status not in (400, 422) or limit == self._points[-1]:
                    raise
            else:
                self._points = self._points[self._points.index(limit) :]
                content: bytes = answer.content
                return content
        raise AssertionError("unreachable")

    def target(self) -> Path:
        """A path that no other download has."""
        return self.scratch / str(next(self._numbers))

    def place(self, run: RunRef) -> str:
        """How messages name a run at the server."""
        return f"{self.client.place()}, run {run.key}"


def of_attribute(run: RunRef, attribute: str, **more: Any) -> Mapping[str, Any]:
    """Parameters of an operation on one attribute."""
    return {"experimentId": run.handle, "attribute": attribute, **more}
