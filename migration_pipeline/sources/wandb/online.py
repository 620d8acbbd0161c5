"""Runs from a W&B server: a group's facts in one request, then each run's rows, files, artifacts.

History comes by `scan_history`, which is not sampled, a page of steps at a time. Its pages count
steps and not rows, so a history with gaps gets longer ones. That all rows came is seen in W&B's own
count of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from migration_pipeline.errors import RunGoneError
from migration_pipeline.sources.reading import Item, Remark, Task
from migration_pipeline.sources.source import RunFailed, RunRef
from migration_pipeline.sources.wandb.attributes import Attributes, RunFacts, branch_of, utc
from migration_pipeline.sources.wandb.downloads import FILES_A_TASK, Artifacts, Files, Media, digest
from migration_pipeline.sources.wandb.failures import Gone
from migration_pipeline.sources.wandb.history import History, as_text
from migration_pipeline.sources.wandb.queries import More
from migration_pipeline.sources.wandb.reader import OfOne, Reader

GROUP_RUNS = 50
_ROWS, _CELLS = 1_000, 1_000_000
"""Rows of history that are one batch, and about as many in a page; values in a page."""
_SURE = 10_000
"""So many rows of a page any server gives; what it gives at most is unknown."""
_MOST_PAGES = 100_000
_LONGEST_PAGE = 2**31 - 1
"""Of wandb-core's documents: `$pageSize: Int!`."""
SAMPLED_SYSTEM = "W&B counts {count} rows of system metrics more than it gives"
FEWER_ROWS = "W&B counts {count} rows of history more than it gives"
SWEEP_GONE = "the sweep {list} is not there any more"


class Group(Task):
    """Config, summary and what else is known of some runs of a project."""

    def __init__(self, reader: Reader, runs: Sequence[RunRef]) -> None:
        super().__init__(runs)
        self._reader = reader

    def advance(self) -> Iterator[Item]:
        # Gathered first: after an error the runs are asked for one by one.
        items: list[Item] = []
        for run in self.runs:
            if run.key.kind == "project":
                items += self._project(run)
        if of_runs := [run for run in self.runs if run.key.kind == "run"]:
            items += self._runs(of_runs)
        self.finished = True
        yield from items

    def _runs(self, runs: Sequence[RunRef]) -> Iterator[Item]:
        client, project = self._reader.client, runs[0].key.project
        ids = [run.key.run for run in runs]
        listed = client.runs(project, ids, full=True, page=GROUP_RUNS)
        entries = {entry.id: entry for entry in listed}
        more = client.more_of_runs(project, ids)
        for run in runs:
            if run.key.run in entries and run.key.run in more:
                yield from self._run(run, entries[run.key.run], more[run.key.run])
            else:
                yield RunFailed(run, RunGoneError(f"run {run.key}"))

    def split(self) -> Sequence[Task]:
        return [Group(self._reader, [run]) for run in self.runs]

    def _run(self, run: RunRef, entry: Any, more: More) -> Iterator[Item]:
        reader = self._reader
        attributes = Attributes(run, reader.selection)
        facts = facts_of(entry, more.internal)
        if facts.branch:
            reader.parents[run] = facts.branch.parent
        attributes.put_facts(facts)
        if entry.sweep_name:
            try:
                attributes.put(("wandb", "sweep"), self._sweep(run, entry))
            except Gone:
                yield Remark(run, SWEEP_GONE, entry.sweep_name)
        yield from attributes.items()
        first = int(facts.branch.step) + 1 if facts.branch else 0
        yield Scan(reader, run, entry, first)
        if more.system_rows:
            yield System(reader, run, entry, more.system_rows)
        if more.artifacts:
            yield Artifacts(reader, run, entry, more.artifacts)

    def _sweep(self, run: RunRef, entry: Any) -> dict[str, Any]:
        key = run.key.project, entry.sweep_name
        if key not in self._reader.sweeps:
            said = self._reader.client.sweep(entry)
            self._reader.sweeps[key] = {
                name: value
                for name, value in said.items()
                if value is not None and not name.startswith("__")
            }
        return self._reader.sweeps[key]

    def _project(self, run: RunRef) -> Iterator[Item]:
        """A project's own facts: the description is the one that the vendor's script gives it."""
        entity, name = self._reader.client.project_at(run.key.project)
        url = f"{self._reader.client.app_url}{quote(entity)}/{quote(name)}"
        attributes = Attributes(run, self._reader.selection)
        for keys, value in (
            (("sys", "id"), run.key.run),
            (("sys", "name"), name),
            (("sys", "description"), f"Exported from {url}"),
            (("wandb_url",), url),
        ):
            attributes.put(keys, value)
        yield from attributes.items()


def facts_of(entry: Any, internal: Any) -> RunFacts:
    """What `wandb.apis.public.Run` says, its heavy fields loaded; `internal` is what config has
    under `_wandb`."""
    said = entry._attrs
    user = said.get("user") or {}
    return RunFacts(
        id=entry.id,
        entity=entry.entity,
        project=entry.project,
        name=said.get("displayName") or "",
        notes=said.get("notes") or "",
        tags=tuple(said.get("tags") or ()),
        group=said.get("group") or "",
        state=said.get("state") or "",
        owner=user.get("username") or user.get("name") or "",
        created=utc(said.get("createdAt")),
        modified=utc(said.get("heartbeatAt")),
        branch=branch_of(internal),
        config=entry.config,
        summary=entry.summary_metrics,
        said={
            "url": entry.url,
            "path": "/".join((entry.entity, entry.project, entry.id)),
            "storage_id": said.get("id"),
            "job_type": said.get("jobType"),
            "sweep_name": said.get("sweepName"),
            "commit": said.get("commit"),
            "description": said.get("description"),
            "notes": said.get("notes"),
            "read_only": said.get("readOnly"),
            "created_at": said.get("createdAt"),
            "heartbeat_at": said.get("heartbeatAt"),
            "history_line_count": said.get("historyLineCount"),
            "user": {key: user[key] for key in ("name", "username") if user.get(key)} or None,
            "system_metrics": entry.system_metrics or None,
            "rawconfig": {"_wandb": as_text(internal)} if internal else None,
        },
    )


class Scan(OfOne):
    """A run's history, and then its files: those that rows name belong to these."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, first: int) -> None:
        super().__init__(reader, run, entry)
        self._first = first
        self._lines = int(entry._attrs.get("historyLineCount") or 0)

    def advance(self) -> Iterator[Item]:
        named: set[bytes] = set()
        if self._lines:
            yield from self._rows(named)
        yield Files(self._reader, self._run, self._entry, named)
        self.finished = True

    def _rows(self, named: set[bytes]) -> Iterator[Item]:
        keys = self._entry._attrs.get("historyKeys") or {}
        rows = max(10, min(_ROWS, _CELLS // max(1, len(keys.get("keys") or ()))))
        steps = max(0, int(keys.get("lastStep", -1)) + 1 - self._first)
        page = min(max(rows, rows * steps // self._lines), _LONGEST_PAGE)
        # Beyond that a server may give fewer rows than a page has; what had been yielded by then
        # could not be taken back without the run's other tasks, so they are counted first.
        doubtful = min(page, self._lines) > _SURE
        if doubtful and steps // _SURE <= _MOST_PAGES and not self._comes_whole(page):
            page = _SURE
        yield from self._scan(page, named)

    def _comes_whole(self, page: int) -> bool:
        rows = sum(1 for _ in self._reader.client.scan(self._entry, page, self._first))
        return rows >= self._lines

    def _scan(self, page: int, named: set[bytes]) -> Iterator[Item]:
        reader = self._reader
        history = History(self._run, reader.selection)
        for row in reader.client.scan(self._entry, page, self._first):
            history.add(row)
            if history.rows % _ROWS == 0:
                yield from self._page(history, named)
        yield from self._page(history, named)
        yield from history.end()
        if history.rows < self._lines:
            yield Remark(self._run, FEWER_ROWS, count=self._lines - history.rows)

    def _page(self, history: History, named: set[bytes]) -> Iterator[Item]:
        items, media = history.page()
        yield from items
        named.update(digest(medium.name) for medium in media)
        for start in range(0, len(media), FILES_A_TASK):
            some = media[start : start + FILES_A_TASK]
            yield Media(self._reader, self._run, self._entry, some)


class System(OfOne):
    """System metrics, which W&B has no pages of: `WandbClient.system_metrics` has the figures."""

    def __init__(self, reader: Reader, run: RunRef, entry: Any, lines: int) -> None:
        super().__init__(reader, run, entry)
        self._lines = lines

    def advance(self) -> Iterator[Item]:
        history = History(self._run, self._reader.selection)
        for row in self._reader.client.system_metrics(self._entry, self._lines):
            history.add_system(row)
            if history.rows % _ROWS == 0:
                yield from history.page()[0]
        yield from history.page()[0]
        yield from history.end()
        if history.rows < self._lines:
            yield Remark(self._run, SAMPLED_SYSTEM, count=self._lines - history.rows)
        self.finished = True
