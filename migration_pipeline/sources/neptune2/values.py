"""The attributes of many objects at once, and what they announce: series and files.

One table answer has every attribute of many runs with all that can be said of it but points and
bytes. Tables come from an index that lags behind by up to a minute and may be cut at 10,000
columns: an object that has changed of late, or that may be cut, is asked for by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from migration_pipeline.archive.schema import make_batch
from migration_pipeline.errors import IncompleteAnswerError, RunGoneError, UnknownProjectError
from migration_pipeline.sources.neptune import not_a_server
from migration_pipeline.sources.neptune2.attributes import (
    ARCHIVE_TYPES,
    Json,
    parameters,
    properties_of,
)
from migration_pipeline.sources.neptune2.files import Artifact, File, FileSet
from migration_pipeline.sources.neptune2.http import RefusedAnswer
from migration_pipeline.sources.neptune2.reader import Reader
from migration_pipeline.sources.neptune2.series import FloatSeries, Images, StringSeries
from migration_pipeline.sources.neptune2.tables import Page, one_of, search
from migration_pipeline.sources.neptune2.times import utc
from migration_pipeline.sources.reading import Item, Remark, Selected, Task
from migration_pipeline.sources.source import Rows, RunFailed, RunRef

_MAX_COLUMNS = 10_000
"""The client's own documentation calls it what a table has at most."""
_SETTLED = timedelta(minutes=3)
"""The vendor's tests wait a minute for the index; a client pings every ten seconds."""
_UNKNOWN = "attributes of types that this version does not know are left out: {list}"


class Values(Task):
    """The attributes of a group, page by page."""

    def __init__(self, reader: Reader, runs: Sequence[RunRef]) -> None:
        super().__init__(runs)
        self._reader = reader
        self._pending = list(runs)

    def advance(self) -> Iterator[Item]:
        kind = self._pending[0].key.kind
        asked = [run for run in self._pending[: self._reader.page] if run.key.kind == kind]
        if kind == "project":  # no table has them
            yield from self._alone(asked)
        else:
            project = asked[0].key.project
            query = one_of("sys/id", [run.key.run for run in asked])
            try:
                page = search(self._reader.client, project, kind, query, len(asked))
            except RefusedAnswer as error:
                if error.status not in (403, 404):
                    raise
                raise UnknownProjectError(project) from error  # its table was there when listed
            yield from self._take(asked, page)
        self.finished = not self._pending

    def split(self) -> Sequence[Task]:
        half = len(self._pending) // 2
        parts = (self._pending[:half], self._pending[half:])
        return [Values(self._reader, part) for part in parts if part]

    def _take(self, asked: Sequence[RunRef], page: Page) -> Iterator[Item]:
        found = {entry.uuid: entry.attributes for entry in page.entries}
        columns = {one["name"] for attributes in found.values() for one in attributes}
        self._reader.learn(max(map(len, found.values()), default=0))
        doubtful, before = [], len(self._pending)
        for run in asked:
            if run.handle in found:
                attributes = found.pop(run.handle)
                if len(columns) >= _MAX_COLUMNS or _is_fresh(attributes, page.at):
                    doubtful.append(run)
                else:
                    self._pending.remove(run)
                    yield from announced(self._reader, run, attributes)
            elif page.count <= len(page.entries):  # else the page is short, and its turn comes
                doubtful.append(run)
        yield from self._alone(doubtful)
        if len(self._pending) == before:
            raise IncompleteAnswerError(
                f"{self._reader.client.place(asked[0].key.project)} shows other objects in a table "
                "than those that it was asked for"
            )

    def _alone(self, runs: Sequence[RunRef]) -> Iterator[Item]:
        for run in runs:
            self._pending.remove(run)
            yield AllOf(self._reader, run)


class AllOf(Task):
    """The attributes of one object, from the object itself."""

    def __init__(self, reader: Reader, run: RunRef) -> None:
        super().__init__([run])
        self._reader, self._run = reader, run

    def advance(self) -> Iterator[Item]:
        reader, run = self._reader, self._run
        asked = {"experimentId": run.handle}
        try:
            answer = reader.client.json("getExperimentAttributes", reader.place(run), asked)
        except RefusedAnswer as error:
            if error.status != 404:
                raise
            raise RunGoneError(reader.place(run)) from error
        if not isinstance(answer, dict) or not isinstance(answer.get("attributes"), list):
            raise not_a_server(reader.client.address, "an object's attributes", answer)
        yield from announced(reader, run, answer["attributes"])
        self.finished = True


def _is_fresh(attributes: Sequence[Json], at: datetime) -> bool:
    """It was written to, or pinged, when the index may not yet have it."""
    for one in attributes:
        if one["name"] in ("sys/modification_time", "sys/ping_time"):
            told = properties_of(one).get("value")
            if told is not None and at - utc(told) < _SETTLED:
                return True
    return False


def announced(reader: Reader, run: RunRef, attributes: list[Json]) -> Iterator[Item]:
    """The rows of an object's single values, and a task for each series and file."""
    selection = reader.selection
    try:
        wanted = [
            one
            for one in attributes
            if (type_ := ARCHIVE_TYPES.get(one["type"])) and selection.wants(one["name"], type_)
        ]
        rows = list(parameters(wanted))
        batch = make_batch(run.key.project, run.key.run, rows)
        tasks = [task for one in wanted for task in _task(reader, run, one)]
        # Those of several requests one after another go first, so that none is left for the end.
        tasks.sort(key=lambda task: isinstance(task, FloatSeries | StringSeries | File))
        unknown = [f"{one['name']} ({one['type']})" for one in attributes if _is_unknown(one)]
    except (KeyError, TypeError, ValueError) as error:
        what = f"{reader.place(run)}: an attribute cannot be read ({type(error).__name__}: {error})"
        yield RunFailed(run, IncompleteAnswerError(what))
        return
    yield Selected(run, len(wanted))
    for name in unknown:
        yield Remark(run, _UNKNOWN, name)
    if rows:
        yield Rows(run, batch)
    yield from tasks


def _is_unknown(attribute: Json) -> bool:
    return attribute["type"] not in ARCHIVE_TYPES


def _task(reader: Reader, run: RunRef, attribute: Json) -> Iterator[Task]:
    path, properties = attribute["name"], properties_of(attribute)
    match attribute["type"]:
        case "floatSeries":
            yield FloatSeries(reader, run, path)
        case "stringSeries":
            yield StringSeries(reader, run, path)
        case "imageSeries":
            yield Images(reader, run, path)
        case "file":
            yield File(reader, run, path, properties)
        case "fileSet":
            yield FileSet(reader, run, path, properties)
        case "artifact":
            yield Artifact(reader, run, path, properties)
