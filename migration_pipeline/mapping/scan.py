"""Reads a run once before anything is sent: what it holds, what a target cannot hold of it, and
whether its steps can be told apart there.

Decisions must stand before the first byte is sent, and the rows must not be held: so a run is read
twice, once here and once while it is sent. What cannot be mapped is refused here.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_pipeline.archive.archive import ArchivedRun, RunKey
from migration_pipeline.archive.digest import RunSums, int64_column, segments
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.schema import (
    FILE_TYPES,
    PARAMETER_TYPES,
    VALUE_COLUMN,
    micros_from_steps,
)
from migration_pipeline.errors import DamagedPartError
from migration_pipeline.mapping import steps
from migration_pipeline.mapping.facts import FactsReader
from migration_pipeline.mapping.points import (
    PointMapper,
    Points,
    Rows,
    negative_zeros,
    out_of_range,
    unshown,
)
from migration_pipeline.mapping.terms import Capabilities, Content, ProjectMapping, RunFacts
from migration_pipeline.mapping.texts import TextRules

_HASHES_AT_A_TIME = 8_000_000
"""Points of disordered series whose hashes are held at the same time (64 MB)."""
_POINT_COLUMNS = ("attribute_path", "attribute_type", "step", "timestamp", "float_value")


@dataclass
class SeriesScan:
    """What one float series holds; counts of what a target may not hold as it is."""

    rows: int = 0
    step_min: int | None = None
    step_max: int | None = None
    without_step: int = 0
    without_time: int = 0
    early: int = 0
    infinite: int = 0
    not_a_number: int = 0
    negative_zero: int = 0
    without_value: int = 0
    rounded: int = 0
    ordered: bool = True
    """Steps grow strictly, as they will be at the target: no two points can be equal there."""
    repeats: int = 0
    """Points whose triple at the target is that of an earlier one."""
    repeated: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """Hashes of the triples that occur more than once, sorted."""
    out_of_range: int = 0
    """Points whose step the target cannot show."""
    unshown: int = 0
    """Points that are not to be shown, by their step."""
    last_step: int | None = None
    late: int = 0
    """Points whose step is not beyond all before it, where the target wants them to grow."""
    top: int | None = None
    """The highest step so far."""

    @property
    def timeless(self) -> bool:
        """No point has a time: said once for the series instead of point by point."""
        return self.without_time == self.rows


@dataclass(frozen=True)
class FileRow:
    """A row of a file attribute: step in millionths, time in ms, path in the archive's files."""

    attribute: str
    type: str
    step: int | None
    time: int | None
    path: str | None


class Cut:
    """A batch, cut into its attributes once for all who look at it."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.attributes: list[tuple[tuple[str, str], Rows]] = list(segments(batch))
        """((path, type), rows of the batch)."""

    @cached_property
    def _points(self) -> Points:
        return Points.of(self.batch)

    @cached_property
    def counts(self) -> list[tuple[tuple[str, str], int]]:
        """((path, type), number of rows)."""
        return [
            (attribute, rows.stop - rows.start if isinstance(rows, slice) else len(rows))
            for attribute, rows in self.attributes
        ]

    def series(self) -> Iterator[tuple[str, Points]]:
        """Path and points of each float series."""
        for (path, kind), rows in self.attributes:
            if kind == "float_series":
                yield path, self._points.take(rows)

    def parameters(self) -> Iterator[tuple[str, str, list[Any]]]:
        """Path, type and values of each parameter; datetimes in ms."""
        for (path, kind), rows in self.attributes:
            if kind in PARAMETER_TYPES:
                yield path, kind, values_of(self.batch, VALUE_COLUMN[kind], rows)

    def files(self) -> Iterator[FileRow]:
        for (path, kind), rows in self.attributes:
            if kind in FILE_TYPES:
                yield from _file_rows(self.batch, path, kind, rows)


@dataclass
class RunScan:
    """What is known of a run after it was read once.

    Args:
        attributes: (path, type) → rows.
        series: path → float series.
        files: every row of a file attribute.
        facts: name, dates, status, tags.
        content: digest and so on, for the mark of completion.
    """

    run: ArchivedRun
    mapping: ProjectMapping
    capabilities: Capabilities
    attributes: dict[tuple[str, str], int] = field(default_factory=dict)
    series: dict[str, SeriesScan] = field(default_factory=dict)
    files: list[FileRow] = field(default_factory=list)
    facts: RunFacts = field(default_factory=lambda: RunFacts(""))
    content: Content = field(default_factory=lambda: Content(""))
    left_out: dict[str, int] = field(default_factory=dict)
    """File attribute → files beyond the cap that the user set."""
    _files: int = 0

    text_beside: dict[tuple[str, str], int] = field(default_factory=dict)
    """Text series and reason → lines that the target does not take."""

    def __post_init__(self) -> None:
        self._texts = TextRules(self.capabilities)

    @property
    def key(self) -> RunKey:
        return self.run.key

    @property
    def mapper(self) -> PointMapper:
        multiplier = self.mapping.step_multiplier
        return PointMapper(self.capabilities, multiplier, self.facts.start or 0)

    def of_types(self, kinds: Collection[str]) -> list[tuple[str, str]]:
        """(path, type) of the attributes of these types, sorted."""
        return sorted(a for a in self.attributes if a[1] in kinds)

    def count(self, cut: Cut) -> None:
        """Takes the next rows: counts attributes, looks at float series.

        Raises:
            StepTooLargeError: the multiplier does not fit this run.
        """
        for attribute, rows in cut.counts:
            self.attributes[attribute] = self.attributes.get(attribute, 0) + rows
        for path, points in cut.series():
            _look(self, path, points)
        if self.capabilities.text_points:
            self._look_at_text(cut)
        if (most := self.capabilities.files_per_run) is not None:
            for row in cut.files():
                self._files += row.path is not None
                if self._files > most and row.path is not None:
                    self.left_out[row.attribute] = self.left_out.get(row.attribute, 0) + 1

    def _look_at_text(self, cut: Cut) -> None:
        for (path, kind), rows in cut.attributes:
            if kind == "string_series":
                for row in line_rows(kind, cut.batch, rows):
                    if reason := self._texts.reason(path, *row):
                        self.text_beside[path, reason] = self.text_beside.get((path, reason), 0) + 1

    def look_again(self) -> None:
        """After all rows: reads disordered series again, for points that are equal at the target.

        Raises:
            StepsMeetError: the multiplier does not fit this run.
        """
        _look_again(self)


def scan_run(run: ArchivedRun, capabilities: Capabilities, mapping: ProjectMapping) -> RunScan:
    """Reads a run once; its float series once more where steps repeat or go back.

    Raises:
        DamagedPartError: a part cannot be read, or a file is not there or has another size.
        StepsMeetError, StepTooLargeError: the multiplier does not fit this run.
    """
    scan = RunScan(run, mapping, capabilities)
    manifest = run.manifest
    sums = RunSums(run.file_info) if manifest is None else None
    sizes = {f.path: f.size for f in manifest.files} if manifest else {}
    facts = FactsReader()
    decimals = 0
    for batch in run.batches():
        facts.update(batch)
        if sums is not None:
            sums.update(batch)
        cut = Cut(batch)
        scan.count(cut)
        for _, points in cut.series():
            decimals = steps.decimals_of(points.micros, decimals)
        for row in cut.files():
            if row.path is not None:
                check_file(run, row.path, sizes)
            scan.files.append(row)
    scan.facts = facts.facts(run.key, manifest.parent if manifest else None)
    digest = manifest.digest if manifest else sums.digest() if sums else ""
    scan.content = Content(digest, "" if manifest else fingerprint(run), decimals)
    scan.look_again()
    return scan


def _look(scan: RunScan, path: str, points: Points) -> None:
    can, multiplier = scan.capabilities, scan.mapping.step_multiplier
    series = scan.series.setdefault(path, SeriesScan())
    series.rows += len(points)
    series.without_step += int(points.no_step.sum())
    series.without_time += int(points.no_time.sum())
    series.early += int(PointMapper(can, multiplier, 0).early(points).sum())
    series.without_value += int(points.no_value.sum())
    series.infinite += int(np.isinf(points.values).sum())
    series.not_a_number += int(np.isnan(points.values).sum()) - int(points.no_value.sum())
    series.negative_zero += int(negative_zeros(points.values).sum())
    whole = points.micros
    if can.integer_steps:
        low, high = int(whole.min()), int(whole.max())
        steps.check_fits(str(scan.key), path, (low, high), multiplier)
        whole, rounded = steps.scale(whole, multiplier)
        series.rounded += int(rounded.sum())
        series.out_of_range += int(out_of_range(can, whole).sum())
        series.unshown += int(unshown(can, points).sum())
    elif can.double_steps:
        whole = steps.as_held(whole)
        series.rounded += int((whole != points.micros).sum())
    if can.monotonic_steps:
        late, series.top = steps.not_growing(whole, series.top)
        series.late += int(late.sum())
    first = int(whole[0])
    grows = series.last_step is None or first > series.last_step
    series.ordered &= bool(grows and (np.diff(whole) > 0).all())
    series.last_step = int(whole[-1])


def _look_again(scan: RunScan) -> None:
    """Finds triples that occur more than once, and steps that meet, in disordered series."""
    disordered = {path for path, s in scan.series.items() if not s.ordered}
    whole = scan.capabilities.integer_steps
    rounded = {path for path in disordered if scan.series[path].rounded and whole}
    if not disordered or (scan.capabilities.repeated_points and not rounded):
        return
    held: dict[str, list[npt.NDArray[np.int64]]] = {path: [] for path in rounded}
    total = sum(scan.series[path].rows for path in disordered)
    passes = np.uint64(-(-total // _HASHES_AT_A_TIME))
    found: dict[str, list[npt.NDArray[np.uint64]]] = {path: [] for path in disordered}
    for number in range(int(passes)):
        hashes: dict[str, list[npt.NDArray[np.uint64]]] = {path: [] for path in disordered}
        for path, points in _points_of(scan.run, disordered):
            if path in rounded and number == 0:
                held[path].append(np.unique(points.micros))
            sent = scan.mapper.map(points, scan.series[path].timeless).hashes()
            hashes[path].append(sent[sent % passes == number] if passes > 1 else sent)
        for path, parts in hashes.items():
            distinct, counts = np.unique(np.concatenate(parts), return_counts=True)
            scan.series[path].repeats += int((counts - 1).sum())
            found[path].append(distinct[counts > 1])
    for path, arrays in held.items():
        every = np.concatenate(arrays)
        steps.check_apart(str(scan.key), path, every, scan.mapping.step_multiplier)
    for path, parts in found.items():
        scan.series[path].repeated = np.sort(np.concatenate(parts))


def _points_of(run: ArchivedRun, paths: Collection[str]) -> Iterator[tuple[str, Points]]:
    for batch in run.batches(columns=_POINT_COLUMNS, types=("float_series",)):
        points = Points.of(batch)
        for (path, _), rows in segments(batch):
            if path in paths:
                yield path, points.take(rows)


def rows_of(batch: pa.RecordBatch, column: str, rows: Rows) -> pa.Array:
    data = batch.column(column)
    if isinstance(rows, slice):
        return data.slice(rows.start, rows.stop - rows.start)
    return data.take(pa.array(rows))


def values_of(batch: pa.RecordBatch, column: str, rows: Rows) -> list[Any]:
    """Python values of some rows; times in ms."""
    data = rows_of(batch, column, rows)
    if pa.types.is_timestamp(data.type):
        data = data.cast(pa.int64())
    values: list[Any] = data.to_pylist()
    return values


def line_rows(
    kind: str, batch: pa.RecordBatch, rows: Rows
) -> list[tuple[int | None, int | None, Any]]:
    """(step in millionths, time in ms, value) of each row of a text or histogram series."""
    micros, no_step = micros_from_steps(rows_of(batch, "step", rows))
    times, no_time = int64_column(rows_of(batch, "timestamp", rows))
    return [
        (None if no_step[i] else int(micros[i]), None if no_time[i] else int(times[i]), value)
        for i, value in enumerate(values_of(batch, VALUE_COLUMN[kind], rows))
    ]


def _file_rows(batch: pa.RecordBatch, path: str, kind: str, rows: Rows) -> Iterator[FileRow]:
    indices = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    part = batch.select(["step", "timestamp", "file_value"]).take(pa.array(indices))
    micros, no_step = micros_from_steps(part.column("step"))
    times = part.column("timestamp").cast(pa.int64()).to_pylist()
    for i, value in enumerate(part.column("file_value").to_pylist()):
        step = None if no_step[i] else int(micros[i])
        yield FileRow(path, kind, step, times[i], value["path"] if value else None)


def check_file(run: ArchivedRun, path: str, sizes: Mapping[str, int]) -> int:
    """The size of a file (of a directory, whatever the system says).

    Raises:
        DamagedPartError: it is not there, or has another size than `sizes` says.
    """
    try:
        found = run.file(path).stat()
    except OSError as error:
        raise DamagedPartError(
            str(run.parts[0]), f"it names the file {path!r}, which is not there"
        ) from error
    size = found.st_size
    if path in sizes and sizes[path] != size and not stat.S_ISDIR(found.st_mode):
        raise DamagedPartError(
            str(run.parts[0]),
            f"it names the file {path!r} with {sizes[path]} bytes, which has {size}",
        )
    return size


def fingerprint(run: ArchivedRun) -> str:
    """Digest of the parts' footers: changes when a part is written anew with other content.

    For runs without a manifest. Footers hold sizes, counts and extremes of every column, so this
    answers "is it still what was loaded?" without reading rows.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for part in run.parts:
        hasher.update(_footer(part))
    for damage in run.damage:  # what is found to be gone, or is there again, stands in no footer
        hasher.update(damage.encode())
    return hasher.hexdigest()


def _footer(part: Location) -> bytes:
    with part.open("rb") as stream:
        stream.seek(-8, 2)
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(-8 - length, 2)
        return stream.read(length)


def step_decimals(run: ArchivedRun) -> int:
    """Decimals of the finest step of a run's float series; reads its steps if it must."""
    if run.manifest:
        kind = run.manifest.types.get("float_series")
        return kind.step_decimals if kind else 0
    decimals = 0
    for batch in run.batches(columns=["step"], types=("float_series",)):
        decimals = steps.decimals_of(micros_from_steps(batch.column("step"))[0], decimals)
    return decimals
