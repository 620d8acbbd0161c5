"""The work of reading 3.x runs: values of a group, then pages of many series, then files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migration_pipeline.errors import SourceError
from migration_pipeline.sources.neptune3.client import Neptune3Client
from migration_pipeline.sources.neptune3.files import FILES_PER_REQUEST, Downloader
from migration_pipeline.sources.neptune3.series import (
    FLOAT_SERIES_PER_REQUEST,
    OTHER_SERIES_PER_REQUEST,
    Cursor,
    float_page,
    in_groups,
    other_page,
)
from migration_pipeline.sources.neptune3.values import Announced, StoredFile, read_values
from migration_pipeline.sources.reading import Item, Remark, Selected, Task
from migration_pipeline.sources.source import Rows, RunRef, RunRestarted, Selection

_NO_POINTS = "{count} series have no points of their own (a fork shows its parent's): {list}"
_PREVIEWS = "{count} points are previews, which the archive does not mark"


class Reader:
    """What all tasks of one reading use."""

    def __init__(
        self, client: Neptune3Client, selection: Selection, downloader: Downloader
    ) -> None:
        self.client = client
        self.selection = selection
        self.downloader = downloader


class Values(Task):
    """The values of a group of runs, and what they announce as further tasks."""

    def __init__(self, reader: Reader, runs: Sequence[RunRef], begun: bool = False) -> None:
        super().__init__(runs)
        self._reader, self._begun = reader, begun

    def advance(self) -> Iterator[Item]:
        if self._begun:  # a later page was refused: some rows are out already
            for run in self.runs:
                yield RunRestarted(run)
        for part in read_values(self._reader.client, self.runs, self._reader.selection):
            self._begun = True
            if isinstance(part, Rows):
                yield part
            else:
                yield from self._announce(part)
        self.finished = True

    def split(self) -> Sequence[Task]:
        return [Values(self._reader, (run,), self._begun) for run in self.runs]

    def _announce(self, announced: dict[RunRef, Announced]) -> Iterator[Item]:
        found = [announced[run] for run in self.runs]
        for run in self.runs:
            yield Selected(run, announced[run].attributes)
        floats = [series for of_run in found for series in of_run.float_series]
        for cursors in in_groups(floats, FLOAT_SERIES_PER_REQUEST):
            yield FloatPages(self._reader, cursors)
        others = [series for of_run in found for series in of_run.other_series]
        for cursors in in_groups(others, OTHER_SERIES_PER_REQUEST):
            yield OtherPages(self._reader, cursors)
        files = [file for of_run in found for file in of_run.files]
        yield from _downloads(self._reader, files)


class _Pages(Task):
    """Pages of many series; after a refusal each goes on from where its cursor is."""

    def __init__(self, reader: Reader, cursors: Sequence[Cursor]) -> None:
        super().__init__(list(dict.fromkeys(c.run for c in cursors)))
        self._reader = reader
        self._pending = list(cursors)

    def advance(self) -> Iterator[Item]:
        asked = self._pending
        items, self._pending = self._page(asked)
        yield from items
        left = {id(cursor) for cursor in self._pending}
        for cursor in asked:
            if id(cursor) in left:
                continue
            if cursor.previews:
                yield Remark(cursor.run, _PREVIEWS, count=cursor.previews)
            if not cursor.points:
                yield Remark(cursor.run, _NO_POINTS, cursor.series.attribute)
        self.finished = not self._pending

    def split(self) -> Sequence[Task]:
        half = set(self.runs[: len(self.runs) // 2])
        first = [c for c in self._pending if c.run in half]
        second = [c for c in self._pending if c.run not in half]
        return [type(self)(self._reader, part) for part in (first, second) if part]

    def _page(self, cursors: list[Cursor]) -> tuple[Sequence[Item], list[Cursor]]:
        """One request: what came, and the cursors that are not at their end."""
        raise NotImplementedError


class FloatPages(_Pages):
    """Of float series."""

    def _page(self, cursors: list[Cursor]) -> tuple[Sequence[Item], list[Cursor]]:
        return float_page(self._reader.client, cursors, self._reader.selection.previews)


class OtherPages(_Pages):
    """Of string, histogram and file series."""

    def _page(self, cursors: list[Cursor]) -> tuple[Sequence[Item], list[Cursor]]:
        rows, files, unfinished = other_page(self._reader.client, cursors)
        return [*rows, *_downloads(self._reader, files)], unfinished


class Downloads(Task):
    """Files that are signed together."""

    def __init__(self, reader: Reader, files: Sequence[StoredFile]) -> None:
        super().__init__(list(dict.fromkeys(f.run for f in files)))
        self._reader = reader
        self._files = list(files)

    def advance(self) -> Iterator[Item]:
        for part in self._reader.downloader.download(self._files[:FILES_PER_REQUEST]):
            yield part
            if not isinstance(part, Remark):  # which comes before the file that it is about
                self._files.pop(0)
        self.finished = not self._files

    def split(self) -> Sequence[Task]:
        return [
            Downloads(self._reader, own)
            for run in self.runs
            if (own := [f for f in self._files if f.run == run])
        ]

    def worth_splitting(self, error: SourceError) -> bool:
        return True  # an address that does not answer is one file's, not the server's


def _downloads(reader: Reader, files: Sequence[StoredFile]) -> Iterator[Task]:
    for start in range(0, len(files), FILES_PER_REQUEST):
        yield Downloads(reader, files[start : start + FILES_PER_REQUEST])
