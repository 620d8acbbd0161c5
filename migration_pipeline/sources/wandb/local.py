"""Runs from folders that W&B's SDK left behind, `run-*` and `offline-run-*`, without a server.

A run that was resumed has the rows of all its folders, in their order. What a folder does not say
is noted. Nothing in a folder is changed.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from migration_pipeline.errors import RunGoneError
from migration_pipeline.sources.copying import copy_readable, readable
from migration_pipeline.sources.reading import Damage, Item, Missing, Remark, Selected, Task
from migration_pipeline.sources.source import DownloadedFile, RunRef, Selection
from migration_pipeline.sources.wandb.attributes import Attributes, Branch, RunFacts
from migration_pipeline.sources.wandb.files import (
    REFERENCES,
    ArtifactFacts,
    artifact_items,
    as_file,
    as_medium,
    pack,
)
from migration_pipeline.sources.wandb.folders import Folders
from migration_pipeline.sources.wandb.history import History, Medium, as_text
from migration_pipeline.sources.wandb.names import STDOUT, of_file
from migration_pipeline.sources.wandb.records import (
    UnreadableFrom,
    put,
    read_records,
    seconds,
    update,
    value_of,
)
from migration_pipeline.sources.wandb.records import keys_of as item_keys

NO_END = "no end was written: the run was still going, or was killed"
UNNAMED = "the folder does not say: {list}"
OTHER_RECORDS = "{count} records of types that are not carried over: {list}"
_KNOWN = {"header", "footer", "telemetry", "request", "final", "files", "control", "use_artifact"}
_ROWS = 1_000


@dataclass
class LocalReader:
    """What all tasks of one reading use. For all threads."""

    folders: Folders
    selection: Selection
    scratch: Path
    parents: dict[RunRef, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def target(self) -> Path:
        return self.scratch / str(next(self._numbers))


@dataclass
class _Gathered:
    """What the records of a run say that is not a series."""

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: list[Any] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    run: Any = None
    exit_code: int | None = None
    first: float = 0.0
    last: float = 0.0


class LocalRun(Task):
    """One run, from all of its folders."""

    def __init__(self, reader: LocalReader, run: RunRef) -> None:
        super().__init__([run])
        self._reader, self._run = reader, run
        self._history = History(run, reader.selection)
        self._system = History(run, reader.selection)
        self._log = History(run, reader.selection)
        self._lines = _Lines(self._log)
        self._seen = _Gathered()
        self._others: Counter[str] = Counter()
        self._named: set[str] = set()
        self._unread: list[str] = []

    def advance(self) -> Iterator[Item]:
        run, logs = self._run, [Path(path) for path in json.loads(self._run.handle)]
        for log in logs:
            if not log.exists():
                raise RunGoneError(f"run {run.key}: {log}")
            yield from self._read(log)
        self._lines.end()
        for history in (self._history, self._system, self._log):
            yield from self._page(history, logs[-1].parent)
            yield from history.end()
        yield from self._facts()
        yield from self._files([log.parent for log in logs])
        for said in self._unread:
            yield Damage(run, said)
        self.finished = True

    def _read(self, log: Path) -> Iterator[Item]:
        self._seen.exit_code = None
        try:
            for record in self._records(log):
                kind = record.WhichOneof("record_type") or ""
                yield from self._take(kind, getattr(record, kind, None), log.parent)
        except UnreadableFrom as damage:
            yield Damage(self._run, f"{log.name} cannot be read further: {damage}")
        for history in (self._history, self._system, self._log):
            yield from self._page(history, log.parent)

    def _records(self, log: Path) -> Iterator[Any]:
        with readable(self._run, log):
            yield from read_records(log)

    def _copy(self, path: Path) -> Path | None:
        """A copy, which belongs to whoever takes it; None, and damage, where the disk fails.

        Raises:
            SourceRefusedError: the file may not be read.
        """
        target = self._reader.target()
        with readable(self._run, path):
            read = path.open("rb", buffering=0)
        if stopped := copy_readable(read, target):
            self._unread.append(f"{path} cannot be read: {stopped.strerror}")
            return None
        return target

    def _take(self, kind: str, record: Any, folder: Path) -> Iterator[Item]:
        seen = self._seen
        if kind == "history":
            row: dict[str, Any] = {}
            for item in record.item:
                put(row, item_keys(item), value_of(item))
            row.setdefault("_step", record.step.num)
            self._history.add(row)
            seen.last = max(seen.last, _number(row.get("_timestamp")))
            if self._history.rows % _ROWS == 0:
                yield from self._page(self._history, folder)
        elif kind == "stats":
            values = {item.key: value_of(item) for item in record.item}
            self._system.add_system(values | {"_timestamp": seconds(record.timestamp)})
            seen.last = max(seen.last, seconds(record.timestamp))
            if self._system.rows % _ROWS == 0:
                yield from self._page(self._system, folder)
        elif kind in ("output_raw", "output"):
            self._lines.add(record.line, round(seconds(record.timestamp) * 1000))
            if self._lines.waiting >= _ROWS:
                self._lines.waiting = 0
                yield from self._page(self._log, folder)
        elif kind == "artifact":
            yield from self._artifact(record)
        elif kind == "run":
            seen.run = record
            seen.first = seen.first or seconds(record.start_time)
            update(seen.config, record.config)
            update(seen.summary, record.summary)
        elif kind == "config":
            update(seen.config, record)
        elif kind == "summary":
            update(seen.summary, record)
        elif kind == "exit":
            seen.exit_code = record.exit_code
        elif kind == "environment":
            seen.metadata |= MessageToDict(record, preserving_proto_field_name=True)
        elif kind == "metric":
            seen.metrics.append(MessageToDict(record, preserving_proto_field_name=True))
        elif kind not in _KNOWN:
            self._others[kind or "unknown"] += 1
        if kind == "use_artifact":
            seen.used.append(record.name)

    def _page(self, history: History, folder: Path) -> Iterator[Item]:
        items, media = history.page()
        yield from items
        for medium in media:
            yield from self._medium(medium, folder / "files" / medium.name)

    def _medium(self, medium: Medium, path: Path) -> Iterator[Item]:
        run = self._run
        if path.is_file():
            self._named.add(str(path))
        if path.is_file() and (copy := self._copy(path)):
            yield Selected(run, 1)
            yield as_medium(run, medium, copy)
        else:
            yield Missing(run, f"{medium.attribute} ({medium.name})")

    def _facts(self) -> Iterator[Item]:
        seen, run, selection = self._seen, self._run, self._reader.selection
        entity, _, project = run.key.project.partition("/")
        said = seen.run
        facts = RunFacts(id=run.key.run, entity=entity, project=project)
        if said is not None:
            branch = None
            if said.HasField("branch_point"):
                branch = Branch(said.branch_point.run, said.branch_point.value)
                self._reader.parents[run] = branch.parent
            internal = seen.config.pop("_wandb", None)
            facts = RunFacts(
                id=run.key.run,
                entity=said.entity or entity,
                project=said.project or project,
                name=said.display_name or run.key.run,
                notes=said.notes,
                tags=tuple(said.tags),
                group=said.run_group,
                state=self._state(),
                owner=str(seen.metadata.get("username", "")),
                created=_time(seen.first),
                modified=_time(seen.last),
                branch=branch,
                config=seen.config,
                summary=seen.summary,
                said={
                    "job_type": said.job_type,
                    "notes": said.notes,
                    "sweep_name": said.sweep_id,
                    "metadata": seen.metadata or None,
                    "metrics": seen.metrics or None,
                    "used_artifacts": tuple(seen.used),
                    "rawconfig": {"_wandb": as_text(internal)} if internal else None,
                },
            )
        attributes = Attributes(run, selection)
        attributes.put_facts(facts)
        yield from attributes.items()
        unsaid = [
            name
            for name, value in (
                ("entity", said.entity if said else ""),
                ("project", said.project if said else ""),
                ("run", said),
            )
            if not value
        ]
        for name in unsaid:
            yield Remark(run, UNNAMED, name)
        if seen.exit_code is None:
            yield Remark(run, NO_END)
        for kind, count in self._others.items():
            yield Remark(run, OTHER_RECORDS, kind, count)

    def _state(self) -> str:
        """Empty where no end was written."""
        if self._seen.exit_code is None:
            return ""
        return "failed" if self._seen.exit_code else "finished"

    def _files(self, folders: Sequence[Path]) -> Iterator[Item]:
        """Files of the newest folder have their names; another one of the same name, in an older
        folder, has that folder's before it."""
        run, names = self._run, set[str]()
        for folder in reversed(folders):
            root = folder / "files"
            for path in sorted(p for p in root.rglob("*") if p.is_file()):
                if str(path) in self._named:
                    continue
                name = path.relative_to(root).as_posix()
                attribute = of_file(name if name not in names else f"{folder.name}/{name}")
                names.add(name)
                wanted = self._reader.selection.wants(attribute, "file")
                if wanted and (copy := self._copy(path)):
                    yield Selected(run, 1)
                    yield as_file(run, attribute, copy, name)

    def _artifact(self, record: Any) -> Iterator[Item]:
        reader, run = self._reader, self._run
        entries = list(record.manifest.contents)
        facts = ArtifactFacts(
            f"{record.name}:{record.digest[:12]}",
            {
                "type": record.type,
                "digest": record.digest,
                "description": record.description,
                "aliases": tuple(record.aliases),
                "tags": tuple(record.tags),
                "metadata": json.loads(record.metadata) if record.metadata else None,
            },
            [{"path": e.path, "digest": e.digest, "ref": e.ref, "size": e.size} for e in entries],
        )
        yield from artifact_items(run, facts, reader.selection, reader.target())
        if not reader.selection.wants(f"{facts.path}/files", "artifact"):
            return
        here, gone = [], []
        for entry in entries:
            path = Path(entry.local_path) if entry.local_path else None
            if entry.ref:
                yield Remark(run, REFERENCES, f"{facts.path}: {entry.ref}")
            elif path is None or not path.is_file() or path.stat().st_size != entry.size:
                gone.append(entry.path)
            else:
                here.append((entry.path, path))
        if gone:
            shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
            yield Damage(run, f"files of {facts.path} are not on this machine any more: {shown}")
        packed = reader.target()
        copies = ((name, self._copy(path)) for name, path in here)
        if pack(packed, ((name, copy) for name, copy in copies if copy)):
            yield DownloadedFile(run, f"{facts.path}/files", "artifact", packed, ".zip")


class _Lines:
    """What was printed, put together to lines; a line has the time at which it began."""

    def __init__(self, log: History) -> None:
        self._log = log
        self._open, self._time = "", 0
        self._place = self.waiting = 0

    def add(self, text: str, time: int) -> None:
        if not self._open:
            self._time = time
        *whole, self._open = (self._open + text).split("\n")
        for line in whole:
            self._put(line)
            self._time = time

    def end(self) -> None:
        if self._open:
            self._put(self._open)
            self._open = ""

    def _put(self, line: str) -> None:
        self._log.add_line(STDOUT, line, self._place, self._time)
        self._place += 1
        self.waiting += 1


def _time(since: float) -> datetime | None:
    return datetime.fromtimestamp(since, UTC) if since else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
