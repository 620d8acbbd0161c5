"""Nothing is printed by importing and using the 2.x client, and reading 3.x does not import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from migration_pipeline_tests.sources.neptune_local.left import add_run

SCRIPT = """
import sys
from pathlib import Path
from migration_pipeline_tests.archive.making import archive_in
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline.sources.source import Selection
import migration_pipeline.sources.neptune_local.replay3

assert "neptune" not in sys.modules
source = NeptuneLocalSource(NeptuneLocalConfig(paths=(Path(sys.argv[1]),)))
(project,) = source.list_projects()
archive = archive_in(Path(sys.argv[2]))
plan = plan_export(source, archive, project, Selection())
report = export_runs(source, archive, plan.due, Selection())
sys.exit(len(report.exported))
"""


def test_nothing_is_printed(tmp_path: Path) -> None:
    add_run(tmp_path / "training", 1)
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", SCRIPT, str(tmp_path / "training"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == 1
