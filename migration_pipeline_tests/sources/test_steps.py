"""A step that the archive cannot hold fails its run by name; it is never another step instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.errors import StepOutOfRangeError
from migration_pipeline.neptune_server.running import running_server
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.protocols import PROTOCOLS
from migration_pipeline_tests.sources.serving import NOON, PROJECT, add_points, exporting, points_of

RUNS = Selection(kinds=("run",))
LARGE = 1.7e12
"""Milliseconds since 1970, say: still held."""


@pytest.mark.parametrize("name", PROTOCOLS)
def test_steps_that_are_too_large(tmp_path: Path, name: str) -> None:
    protocol = PROTOCOLS[name]
    with running_server() as server:
        project = server.store.project(PROJECT, version=protocol.version)
        runs = [protocol.create(project, f"r{i}") for i in range(4)]
        add_points(runs[0], "loss", [-LARGE, LARGE])
        add_points(runs[1], "loss", [0.0, 1.7e15])
        add_points(runs[2], "loss", [-1e19, 0.0])
        runs[3].extend_series("log", "string_series", [(0.0, NOON, "a"), (9.3e12, NOON, "b")])
        ids = [run.sys_id if name == "neptune2" else run.run_id for run in runs]
        exported = exporting(server, tmp_path, name)
        exported.export(RUNS)
        assert exported.runs == {ids[0]}
        assert exported.series(ids[0], "loss") == points_of([-LARGE, LARGE])
        said = {run: str(error) for run, error in exported.failed.items()}
        assert all(isinstance(error, StepOutOfRangeError) for error in exported.failed.values())
        assert f"{ids[1]}, series 'loss': step 1.7e+15" in said[ids[1]]
        assert f"{ids[2]}, series 'loss': step -1e+19" in said[ids[2]]
        assert f"{ids[3]}, series 'log': step 9.3e+12" in said[ids[3]]
