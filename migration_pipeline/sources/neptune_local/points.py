"""Points of a run's series on their way into the archive: types, steps, order, selection.

Both clients' replays share this. A server would refuse a point of another type than its attribute
has, and one whose step is not beyond the one before. The former cannot be kept and is named; the
latter is kept, and said.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.schema import MICROS, float_series_batch, make_batch
from migration_pipeline.sources.neptune_local.spans import Ints
from migration_pipeline.sources.reading import Item, Remark
from migration_pipeline.sources.source import Rows, RunRef, Selection

NO_STEP = np.int64(np.iinfo(np.int64).min)
"""A point whose step the client left to the server."""
_REFUSED = (
    "{count} values are left out because their attribute had another type, as a server refuses "
    "them: {list}"
)
_BACKWARD = (
    "{count} points have a step that is not beyond the one before; a server would have refused "
    "them, they are here: {list}"
)
_WAITING_ROWS, _WAITING_BYTES = 20_000, 8 * 1024 * 1024


@dataclass
class Points:
    """What is known of a run's attributes while it is replayed."""

    run: RunRef
    selection: Selection
    types: dict[str, str] = field(default_factory=dict)
    """Attribute → type of the archive."""
    last: dict[str, int] = field(default_factory=dict)
    """Series → its last step, in millionths."""
    attributes: set[str] = field(default_factory=set)
    """Selected ones that have a value."""

    def __post_init__(self) -> None:
        self._refused: Counter[str] = Counter()
        self._backward: Counter[str] = Counter()
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def takes(self, path: str, kind: str, count: int = 1) -> bool:
        """Whether values of this type go into the attribute; the first ones decide its type."""
        if self.types.setdefault(path, kind) != kind:
            self._refused[f"{path} ({kind}, it is {self.types[path]})"] += count
            return False
        return True

    def forget(self, path: str) -> None:
        """The attribute was deleted."""
        self.types.pop(path, None)
        self.last.pop(path, None)

    def wants(self, path: str, kind: str) -> bool:
        wanted = self.selection.wants(path, kind)
        if wanted:
            self.attributes.add(path)
        return wanted

    def next_step(self, path: str, step: int | None) -> int:
        """The step of a point in millionths, 1 beyond the last where the client gave none."""
        last = self.last.get(path)
        if step is None:
            step = 0 if last is None else last + MICROS
        elif last is not None and step <= last:
            self._backward[path] += 1
        self.last[path] = step
        return step

    def floats(
        self,
        paths: Sequence[str],
        codes: Ints,
        steps: Ints,
        times: Ints,
        values: npt.NDArray[np.float64],
    ) -> Iterator[Item]:
        """Rows of float points in the order of the log; steps in millionths, times in ms."""
        kept = np.bincount(codes, minlength=len(paths))
        for code, path in enumerate(paths):
            if kept[code] and not (
                self.takes(path, "float_series", int(kept[code]))
                and self.wants(path, "float_series")
            ):
                kept[code] = 0
        order = np.argsort(
            codes.astype(np.uint16 if len(paths) < 1 << 16 else codes.dtype), kind="stable"
        )
        if not kept.all():
            order = order[kept[codes[order]] > 0]
        if not len(order):
            return
        codes, steps = codes[order], steps[order]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]))
        for start, end in itertools.pairwise(starts.tolist()):
            self._step(paths[codes[start]], steps[start:end])
        names = pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int32)), pa.array(paths, pa.string())
        )
        key = self.run.key
        yield Rows(
            self.run,
            float_series_batch(key.project, key.run, names, steps, times[order], values[order]),
        )

    def _step(self, path: str, steps: Ints) -> None:
        """Gives steps where there is none, and counts those that go backward."""
        last = self.last.get(path)
        missing = steps == NO_STEP
        if missing.all():
            first = 0 if last is None else last + MICROS
            steps[:] = first + MICROS * np.arange(len(steps))
        elif missing.any():
            for i, step in enumerate(steps.tolist()):
                steps[i] = self.next_step(path, None if step == NO_STEP else step)
            return
        before = np.concatenate(([steps[0] - 1 if last is None else last], steps[:-1]))
        if backward := int(np.count_nonzero(steps <= before)):
            self._backward[path] += backward
        self.last[path] = int(steps[-1])

    def row(
        self, path: str, kind: str, value: Any, step: int | None = None, time: int | None = None
    ) -> Iterator[Item]:
        """A row of another type; rows wait until there are some."""
        self._rows.append(
            {"path": path, "type": kind, "value": value, "step": step, "timestamp": time}
        )
        self._bytes += len(value) if isinstance(value, str) else 64
        if len(self._rows) >= _WAITING_ROWS or self._bytes >= _WAITING_BYTES:
            yield from self.rows()

    def rows(self) -> Iterator[Item]:
        """The rows that wait."""
        if self._rows:
            key = self.run.key
            yield Rows(self.run, make_batch(key.project, key.run, self._rows))
            self._rows, self._bytes = [], 0

    def remarks(self) -> Iterator[Item]:
        """What is to be said of all points, at the end."""
        for sentence, counted in ((_REFUSED, self._refused), (_BACKWARD, self._backward)):
            for name, count in sorted(counted.items()):
                yield Remark(self.run, sentence, f"{name}: {count}", count)
