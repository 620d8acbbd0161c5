"""What the real clients left in a folder, and what an export of it gave."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import migration_pipeline
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.sources.export import ExportReport, export_runs, plan_export
from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import Row, archive_in, read_rows
from migration_pipeline_tests.sources.neptune_local import writing

ROOT = Path(migration_pipeline.__file__).parents[1]
EVERYTHING = Selection()
Tree = dict[str, tuple[int, int, str]]
POINTS = 500
"""Of a run of `add_run`."""


def command(mode: str) -> list[str]:
    return [sys.executable, "-m", writing.__name__, mode]


def environment(server: RunningServer | None = None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    kept |= {"PYTHONPATH": str(ROOT), "OAUTHLIB_INSECURE_TRANSPORT": "1"}
    return kept | ({"NEPTUNE_API_TOKEN": server.token} if server else {})


def write(mode: str, folder: Path) -> Path:
    """Runs a writer to its end in the folder."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        command(mode), cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def kill(
    mode: str, folder: Path, server: RunningServer, after: int, sent: Callable[[], bool]
) -> Path:
    """Kills a writer, and all that it started, once it has logged so many points and some of them
    were sent."""
    folder.mkdir(parents=True)
    writer = subprocess.Popen(
        command(mode),
        cwd=folder,
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert writer.stdout is not None
    said = []
    for line in writer.stdout:
        said.append(line.strip())
        if line.strip().isdigit() and int(line) >= after and sent():
            break
    os.killpg(writer.pid, signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL, said
    writer.stdout.close()
    return folder


def tree(folder: Path) -> Tree:
    """Path → size, time of the last change in ns, digest; of folders, their times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        size = stat.st_size if content else 0
        found[path.relative_to(folder).as_posix()] = (size, stat.st_mtime_ns, content)
    return found


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def line(version: int, **operation: object) -> str:
    return json.dumps({"obj": operation, "version": version, "at": 1_700_000_000.5}) + "\n"


def add_run(folder: Path, number: int) -> Path:
    """A log with values, points, text and files, as the client writes it; returns its directory."""
    container = f"00000000-0000-0000-0000-{number:012}"
    directory = folder / ".neptune/offline" / f"run__{container}__1__abcdefgh"
    (directory / "upload_path").mkdir(parents=True)
    (directory / "upload_path/model.bin").write_bytes(b"%d" % number * 1000)
    lines = [line(1, type="AssignInt", path=["n"], value=number)]
    for i in range(POINTS):
        values = [{"value": number + i / 7, "step": i, "ts": 1_700_000_000 + i}]
        lines.append(line(i + 2, type="LogFloats", path=["loss"], values=values))
    lines.append(
        line(POINTS + 2, type="UploadFile", path=["model"], ext="bin", tmp_file_name="model.bin")
    )
    (directory / "data-1.log").write_text("".join(lines))
    (directory / "last_put_version").write_text(str(POINTS + 2))
    return directory


@dataclass
class Exported:
    """An archive, and what the last export into it said."""

    archive: Archive
    source: Any
    report: ExportReport = field(default_factory=ExportReport)

    def export(self, selection: Selection = EVERYTHING, fails: int = 0) -> list[str]:
        """Every project, as the job does it; returns their names.

        Args:
            fails: runs of each project that cannot be exported.
        """
        projects: list[str] = self.source.list_projects()
        for project in projects:
            plan = plan_export(self.source, self.archive, project, selection)
            self.report = export_runs(self.source, self.archive, plan.due, selection)
            assert len(self.report.failures) == fails, self.report.failures
        return projects

    def found(self) -> list[RunKey]:
        return [key for project in self.archive.projects() for key in self.archive.runs(project)]

    def key(self, run: str = "") -> RunKey:
        """The one of this id, or the only one."""
        [found] = [key for key in self.found() if run in ("", key.run)]
        return found

    def manifest(self, run: str = "") -> Any:
        found = self.archive.find(self.key(run))
        assert found is not None
        assert found.manifest is not None
        return found.manifest

    def rows(self, run: str = "") -> list[Row]:
        return read_rows(self.archive, self.key(run))

    def values(self, run: str = "") -> dict[str, Any]:
        """Path → (type, value) of what has no step."""
        return {r["path"]: (r["type"], r["value"]) for r in self.rows(run) if r["step"] is None}

    def series(self, path: str, run: str = "") -> list[tuple[int, int, Any]]:
        """(step in millionths, time, value) in the order of the rows."""
        return [
            (r["step"], r["timestamp"], r["value"]) for r in self.rows(run) if r["path"] == path
        ]


def exporting(folder: Path, *paths: Path, server: Any = None, **settings: Any) -> Exported:
    """`server`: the source that runs are merged with."""
    archive = archive_in(folder)
    config = NeptuneLocalConfig(paths=paths, **settings)
    return Exported(archive, NeptuneLocalSource(config, archive, server))


def exported(folder: Path, *paths: Path, **settings: Any) -> Exported:
    made = exporting(folder, *paths, **settings)
    made.export()
    return made
