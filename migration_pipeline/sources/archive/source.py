"""An archive as a source: no server and no token; what lies there is all there is.

Nothing is exported from it. Its runs are examined instead, because nobody can be asked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.diagnosis import ProjectDiagnosis
from migration_pipeline.archive.doctor.examine import Progress, examine
from migration_pipeline.archive.doctor.on_disk import projects_on_disk
from migration_pipeline.archive.location import Location
from migration_pipeline.errors import ConfigError, SourceRefusedError, UnknownNameError
from migration_pipeline.sources.projects import NAMES_VARIABLE
from migration_pipeline.sources.source import Event, RunFailed, RunRef, Selection


class ArchiveSource:
    """See `sources.source.Source`.

    Args:
        archive: whose runs these are.
        errors: neptune-exporter's errors files that say what of them is missing.
    """

    name = "archive"

    def __init__(self, archive: Archive, errors: Sequence[Location] = ()) -> None:
        self._archive, self._errors = archive, errors

    def list_projects(self) -> list[str]:
        """
        Raises:
            NotAnArchiveError: the directory is none, or there is not a single part in it.
        """
        return projects_on_disk(self._archive)[0]

    def list_runs(self, project: str, selection: Selection) -> list[RunRef]:
        """
        Raises:
            ConfigError: something is selected: an archive is taken as it is.
            UnknownNameError: the project is not in the archive.
        """
        self.check(selection)
        known = self.list_projects()
        if project not in known:
            kind = f"project in {self._archive.data} with the name"
            raise UnknownNameError(kind, project, known, NAMES_VARIABLE)
        return [
            RunRef(key, handle=key.run, modified=run.manifest.modified if run.manifest else None)
            for key, run in self._archive.runs(project, damaged=[]).items()
        ]

    def read(self, runs: Sequence[RunRef], selection: Selection, scratch: Path) -> Iterator[Event]:
        """Fails each run: an archive cannot be exported into itself."""
        for run in runs:
            what = f"run {run.key} has no other source than the archive {self._archive.data}"
            yield RunFailed(run, SourceRefusedError(what, "Restore it from a backup."))

    def check(self, selection: Selection) -> None:
        """
        Raises:
            ConfigError: something is selected: an archive is taken as it is.
        """
        if selection != Selection():
            raise ConfigError(
                "runs or attributes are selected, but the source is an archive, which is taken as "
                "it is",
                "Leave kinds, run_regex, run_ids, the queries, attributes, classes, exclude, "
                "archived and previews as they are by default; projects may be chosen.",
            )

    def examine(self, project: str, progress: Progress | None = None) -> ProjectDiagnosis:
        """The doctor's grade for each run, digests recomputed."""
        return examine(self._archive, project, errors=self._errors, progress=progress)
