"""A Neptune 2.x project moves to another server of the protocol and comes back equal, through each
target that speaks it.

The real client writes one of everything, the source exports it, the target loads it, the source
exports what is there then. By rule, and nothing else, it differs in this: what the server writes
under `sys/` lies under `import/sys/`, and sets of text there are JSON lists.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import migration_pipeline
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.neptune_server import running_server
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.minfx.client import MinfxTarget
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline.targets.neptune.client import NeptuneTarget
from migration_pipeline.targets.neptune.config import NeptuneConfig
from migration_pipeline.targets.target import Target
from migration_pipeline_tests.archive.making import read_rows
from migration_pipeline_tests.neptune2_whole import writing
from migration_pipeline_tests.sources.serving import Exported, archive_in, long_ago, source_of

MOVED = "other/everything"


def minfx(token: str) -> Target:
    return MinfxTarget(MinfxConfig(api_token=SecretStr(token), project=MOVED))


def neptune(token: str) -> Target:
    return NeptuneTarget(NeptuneConfig(api_token=SecretStr(token), workspace="other"))


def exported(server: Any, folder: Path, project: str) -> Archive:
    made = Exported(server, archive_in(folder), source_of(server, "neptune2"), project)
    made.export_all()
    return made.archive


def write_everything(token: str, folder: Path) -> list[str]:
    """By the script that does so, which names itself in what it writes; ids of the objects."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    asked = subprocess.run(
        [sys.executable, "-m", writing.__name__, writing.PROJECT, "files"],
        cwd=folder,
        env=kept
        | {
            "PYTHONPATH": str(Path(migration_pipeline.__file__).parents[1]),
            "NEPTUNE_API_TOKEN": token,
            "OAUTHLIB_INSECURE_TRANSPORT": "1",
        },
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line)["id"] for line in asked.stdout.splitlines() if line.startswith("{")]


def values(archive: Archive, key: RunKey) -> dict[tuple[str, str], list[str]]:
    """Path and type → rows, what a step is among them, as text that can be sorted."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in read_rows(archive, key):
        said = repr((row["step"], row["timestamp"], row["value"]))
        found.setdefault((row["path"], row["type"]), []).append(said)
    return {attribute: sorted(rows) for attribute, rows in found.items()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, list[str]]:
    """One of everything, and the ids of its objects."""
    folder, store = tmp_path_factory.mktemp("first"), writing.empty_project()
    with running_server(store) as server:
        with long_ago(store):
            written = write_everything(server.token, folder)
        return exported(server, folder, writing.PROJECT), written


@pytest.mark.parametrize("to", [minfx, neptune])
def test_one_of_everything_moves(
    first: tuple[Archive, list[str]], tmp_path: Path, to: Callable[[str], Target]
) -> None:
    archive, written = first
    with running_server() as server:
        if to is minfx:
            server.store.project(MOVED, version=2)
        else:
            server.accounts.add_workspace("other")
        target = to(server.token)
        plan = plan_load(target, archive, writing.PROJECT)
        result = load_runs(target, archive, plan.mapping, plan.due)
        assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
        assert list(server.store.projects) == [MOVED]
        second = exported(server, tmp_path / "second", MOVED)

    there = {k: values(second, k) for k in second.runs(MOVED) if k.kind == "run"}
    by_origin = {
        (one["import/original_run_id", "string"][0], one["import/run/kind", "string"][0]): one
        for one in there.values()
    }
    assert len(by_origin) == len(archive.runs(writing.PROJECT)) == len(written)
    for key in archive.runs(writing.PROJECT):
        before = values(archive, key)
        after = by_origin[repr((None, None, key.run)), repr((None, None, key.kind))]
        own = {a: rows for a, rows in before.items() if not a[0].startswith("sys/")}
        kept = {a: rows for a, rows in after.items() if not a[0].startswith(("sys/", "import/"))}
        assert kept == own
        of_server = {a: rows for a, rows in before.items() if a[0].startswith("sys/")}
        assert {a: rows for a, rows in after.items() if a[0].startswith("import/sys/")} == {
            _moved(*a): _as_text(a[1], rows) for a, rows in of_server.items()
        }
    everything = by_origin[repr((None, None, written[0])), repr((None, None, "run"))]
    assert everything["sys/name", "string"] == [repr((None, None, "one of everything"))]
    [tags] = everything["sys/tags", "string_set"]
    assert sorted(literal_eval(tags)[2]) == ["first", "schön"]
    assert {kind for _, kind in everything} >= {"artifact", "file_set", "file_series", "file"}


def _moved(path: str, kind: str) -> tuple[str, str]:
    return f"import/{path}", "string" if kind == "string_set" else kind


def _as_text(kind: str, rows: list[str]) -> list[str]:
    if kind != "string_set":
        return rows
    return [
        repr((None, None, json.dumps(literal_eval(row)[2], ensure_ascii=False))) for row in rows
    ]
