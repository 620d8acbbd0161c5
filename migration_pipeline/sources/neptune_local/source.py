"""What Neptune's clients left on this machine as a source: no server, and not a byte is changed."""

from __future__ import annotations

import itertools
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.errors import (
    AdoptedRunError,
    ConfigError,
    HeldByAnotherError,
    IncompleteAnswerError,
    MigrationError,
    UnknownProjectError,
    UnmergeableRunError,
)
from migration_pipeline.sources.export import export_runs
from migration_pipeline.sources.neptune_local.config import (
    PROJECT_VARIABLE,
    RUN_IDS_VARIABLE,
    NeptuneLocalConfig,
)
from migration_pipeline.sources.neptune_local.database import VERSION, Database
from migration_pipeline.sources.neptune_local.finding import (
    DATABASE,
    Execution,
    find_executions,
)
from migration_pipeline.sources.neptune_local.merging import merged
from migration_pipeline.sources.neptune_local.others import Other, OtherArchive, told
from migration_pipeline.sources.reading import Reading, Task
from migration_pipeline.sources.source import (
    Event,
    RunDone,
    RunFailed,
    RunRef,
    Selection,
    Source,
)

log = logging.getLogger(__name__)
BUFFERED = 4
"""Blocks that may wait to be written: some megabytes each."""


@dataclass
class LocalRun:
    """All directories of one run.

    Args:
        executions: in the order in which they ran.
        parent: run id of the run that it was forked from.
        said: what of its names the directories do not say.
    """

    key: RunKey
    executions: list[Execution] = field(default_factory=list)
    parent: str | None = None
    said: list[str] = field(default_factory=list)

    def ref(self) -> RunRef:
        modified: datetime = max(one.modified() for one in self.executions)
        handle = self.executions[0].container or self.key.run
        return RunRef(self.key, handle, modified, self.parent)


class NeptuneLocalSource:
    """See `sources.source.Source`.

    Args:
        archive: where exports go: what another source brought is not overwritten there.
        server: what runs are merged with, where the settings say so.
        merge_with: the archive that they are merged with, where it is another one; only read.
    """

    name = "neptune_local"

    def __init__(
        self,
        config: NeptuneLocalConfig,
        archive: Archive | None = None,
        server: Source | None = None,
        merge_with: Archive | None = None,
    ) -> None:
        self.config, self._archive, self._server = config, archive, server
        self._other_archive = OtherArchive(merge_with) if merge_with else None
        self._known: dict[tuple[object, ...], tuple[RunKey, str | None, str]] = {}

    def list_projects(self) -> list[str]:
        """
        Raises:
            ConfigError: a path is no folder, or there is nothing below it.
        """
        return sorted({key.project for key in self.find()})

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        """
        Raises:
            AdoptedRunError: a run lies in the archive as another tool wrote it.
            UnknownProjectError: no directory is of the project.
            ConfigError: a query is given.
        """
        if selection.runs_query or selection.models_query:
            raise ConfigError(
                "a query is given, and there is no server that could answer it",
                "Unset runs_query and models_query; run_ids and run_regex hold.",
            )
        found = self.find()
        of_project = [run for key, run in found.items() if key.project == project]
        if not of_project:
            known = sorted({key.project for key in found})
            raise UnknownProjectError(project, known)
        chosen = [
            run
            for run in of_project
            if selection.wants_kind(run.key.kind)
            and (not selection.run_ids or run.key.run in selection.run_ids)
            and re.search(selection.run_regex, run.key.run)
        ]
        if not chosen:
            log.warning("no run of project %s is selected: %d found", project, len(of_project))
        self._refuse_adopted(project, [run.key for run in chosen])
        return [run.ref() for run in chosen]

    def _refuse_adopted(self, project: str, keys: Sequence[RunKey]) -> None:
        """An adopted run counts as exported; what is here of it would be left out silently.

        Raises:
            AdoptedRunError: the archive has such a run.
        """
        if self._archive is None:
            return
        manifests = self._archive.manifests(project, keys)
        if adopted := [str(key) for key in keys if key in manifests and manifests[key] is None]:
            raise AdoptedRunError(adopted, str(self._archive.data))

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        alone = []
        for run in runs:
            before = self._archive.find(run.key) if self._archive else None
            manifest = before.manifest if before else None
            foreign = manifest is not None and manifest.source != self.name
            if manifest is not None and foreign and not self._replaces():
                yield RunFailed(run, HeldByAnotherError(str(run.key), manifest.source))
            elif self.config.merge:
                yield from self._merged(run, before, selection, scratch)
            else:
                alone.append(run)
        if alone:
            yield from self.read_alone(alone, selection, scratch)

    def _replaces(self) -> bool:
        """Whether what another source brought into the archive is part of what replaces it."""
        return bool(self.config.merge) and self._other_archive is None

    def _merged(
        self, run: RunRef, before: ArchivedRun | None, selection: Selection, scratch: Path
    ) -> Iterator[Event]:
        """One run of both, each exported by itself first, so that neither is ever held whole."""
        with tempfile.TemporaryDirectory(prefix="merged-", dir=scratch) as folder:
            place = Path(folder)
            failures: list[MigrationError] = []
            local = _exported(_Alone(self), place / "local", [run], selection, failures)
            other = None
            try:
                other = self._other(run, before, selection, place / "other", failures)
            except UnmergeableRunError as damaged:
                failures.append(damaged)
            if failures or local is None:
                error = failures[0] if failures else IncompleteAnswerError(f"{run.key} is empty")
                yield RunFailed(run, error)
            elif other is None:
                yield from self.read_alone([run], selection, scratch)
            else:
                yield from merged(run, local, other, place)

    def _other(
        self,
        run: RunRef,
        before: ArchivedRun | None,
        selection: Selection,
        folder: Path,
        failures: list[MigrationError],
    ) -> Other | None:
        """What the run is merged with; None where it is only here.

        Raises:
            UnmergeableRunError: the other archive has it, and nothing of it can be read.
        """
        if self._other_archive is not None:
            of_2x = self.find()[run.key].executions[0].version == 2
            return self._other_archive.find(run.key, of_2x)
        if self._server is not None:
            refs = self._server.list_runs(
                run.key.project, Selection(run_ids=(run.key.run,), kinds=(run.key.kind,))
            )
            before = _exported(self._server, folder, refs, selection, failures)
        return told(before) if before is not None and before.manifest is not None else None

    def read_alone(
        self, runs: Sequence[RunRef], selection: Selection, scratch: Path
    ) -> Iterator[Event]:
        """What the directories hold, merged with nothing."""
        found = self.find()
        numbers = itertools.count()

        def begin(group: Sequence[RunRef]) -> Task:
            return self._task(group[0], found[group[0].key], selection, scratch, numbers)

        workers = self.config.workers
        with Reading(runs, 1, workers, begin, workers, BUFFERED, True) as reading:
            for event in reading.events():
                if isinstance(event, RunDone):
                    run = found[event.run.key]
                    event = RunDone(
                        event.run,
                        run.parent,
                        run.key.run,
                        event.missing_files,
                        event.notes,
                        event.damage,
                        event.conflicts,
                    )
                yield event

    def find(self) -> dict[RunKey, LocalRun]:
        """All runs of all paths, by project and id."""
        found: dict[RunKey, LocalRun] = {}
        for execution in find_executions(self.config.paths):
            key, parent, said = self._named(execution)
            run = found.setdefault(key, LocalRun(key))
            run.executions.append(execution)
            run.parent = run.parent or parent
            if said and said not in run.said:
                run.said.append(said)
        for run in found.values():
            run.executions.sort(key=_began)
        return dict(sorted(found.items(), key=lambda item: str(item[0])))

    def _task(
        self,
        ref: RunRef,
        run: LocalRun,
        selection: Selection,
        scratch: Path,
        numbers: Iterator[int],
    ) -> Task:
        if run.executions[0].version == 2:
            from migration_pipeline.sources.neptune_local.replay2 import Replay2
            from migration_pipeline.sources.neptune_local.uploads import Uploads

            uploads = Uploads(ref, scratch, numbers)
            return Replay2(ref, run.executions, selection, uploads, run.said)
        from migration_pipeline.sources.neptune_local.replay3 import Replay3

        return Replay3(ref, run.executions, selection, scratch, numbers, run.said)

    def _named(self, execution: Execution) -> tuple[RunKey, str | None, str]:
        """The run's key, its parent, and where the names come from if not from the directory."""
        if execution.version == 2:
            return self._named_2x(execution)
        stats = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(execution.path.glob(f"{DATABASE}*"))
        ]
        known = (execution.path, *stats)
        if known not in self._known:
            self._known[known] = self._named_3x(execution)
        return self._known[known]

    def _named_2x(self, execution: Execution) -> tuple[RunKey, str | None, str]:
        if (known := self._at_server.get(execution.container)) is not None:
            return known, None, ""
        project, said = self._project(execution)
        run = self.config.run_ids.get(execution.container)
        if run is None:
            run = execution.container
            said.append(f"the run id is its container id ({RUN_IDS_VARIABLE} gives another)")
        return RunKey(project, run, execution.kind), None, _sentence(execution, said)

    def _named_3x(self, execution: Execution) -> tuple[RunKey, str | None, str]:
        from migration_pipeline.sources.neptune_local.forking import parent_of

        with (
            tempfile.TemporaryDirectory(prefix="neptune-local-") as folder,
            Database(execution.path, Path(folder) / "copy") as database,
        ):
            metadata = database.metadata()
            first = database.first()
        if metadata is not None:
            version, project, run = metadata
            if version != VERSION:
                log.warning("%s is of version %s, tried was %s", execution.path, version, VERSION)
            return RunKey(project, run), parent_of(first), ""
        project, said = self._project(execution)
        said.append("the run id is the name of its directory")
        return RunKey(project, execution.path.name), None, _sentence(execution, said)

    @cached_property
    def _at_server(self) -> dict[str, RunKey]:
        """Container id → key of all 2.x objects of the server that runs are merged with."""
        if self._server is None or self.config.merge != "neptune2":
            return {}
        projects = [self.config.project] if self.config.project else self._server.list_projects()
        refs = (ref for one in projects for ref in self._server.list_runs(one, Selection()))
        return {ref.handle: ref.key for ref in refs}

    def _project(self, execution: Execution) -> tuple[str, list[str]]:
        if self.config.project:
            return self.config.project, [f"the project is that of {PROJECT_VARIABLE}"]
        name = execution.home.name or "root"
        return f"local/{name}", [
            f"the project is named after its folder ({PROJECT_VARIABLE} gives another)"
        ]


class _Alone:
    """The source without what it merges with."""

    name = "neptune_local"

    def __init__(self, source: NeptuneLocalSource) -> None:
        self._source = source
        self.list_projects, self.list_runs = source.list_projects, source.list_runs

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        return self._source.read_alone(runs, selection, scratch)


def _exported(
    source: Source,
    folder: Path,
    runs: Sequence[RunRef],
    selection: Selection,
    failures: list[MigrationError],
) -> ArchivedRun | None:
    """A run as an archive of its own; None where it is not there."""
    archive = Archive(folder / "data", folder / "files")
    report = export_runs(source, archive, runs, selection)
    failures += [error for _, error in report.failures]
    return archive.find(runs[0].key) if report.exported else None


def _sentence(execution: Execution, said: Sequence[str]) -> str:
    return f"{execution.path.name} does not say of which run it is: {', '.join(said)}"


def _began(execution: Execution) -> tuple[str, int, str]:
    """When an execution began, as far as its directory tells."""
    created = str(execution.metadata.get("createdAt") or "")
    stamp = execution.path.name.rpartition("_")[2]
    return created, int(stamp) if stamp.isdigit() else 0, str(execution.path)
