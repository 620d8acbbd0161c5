"""Nothing is printed by importing and using the 2.x client, which by itself likes to talk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Project

SCRIPT = """
import sys
from pathlib import Path
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.source import Neptune2Source
from migration_pipeline.sources.source import Selection

source = Neptune2Source(Neptune2Config(api_token=sys.argv[1]))
(project,) = source.list_projects()
archive = archive_in(Path(sys.argv[2]))
plan = plan_export(source, archive, project, Selection())
report = export_runs(source, archive, plan.due, Selection())
sys.exit(len(report.exported))
"""


def test_nothing_is_printed(server: RunningServer, project: Project, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", SCRIPT, server.token, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == 1  # the project's metadata
