"""The real SDK and what is loaded without it: its read API shows a run, its `wandb sync` sends an
offline one, its code still has what this target took from it, and Pluto's hook sees nothing."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline import wandb_sdk
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import StoreNotWritableError
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import plan_load, verify_runs
from migration_pipeline.targets.target import LoadState
from migration_pipeline.targets.wandb import capabilities, documents
from migration_pipeline.targets.wandb.client import WandbTarget
from migration_pipeline_tests.contract.disturbing import load_all
from migration_pipeline_tests.contract.making import (
    NAN,
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    floats,
    histogram,
    param,
    write_run,
)
from migration_pipeline_tests.listening import listening_pluto
from migration_pipeline_tests.machine import obeying_permissions
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.servers.wandb.runs import Run
from migration_pipeline_tests.targets import wandb_backend

KEY = RunKey(PROJECT, "RUN-1")
NO_MAPPING = ProjectMapping()
ROWS = (
    param("lr", "float", 0.5),
    param("a.b/c", "string_set", ["x"]),
    param("sys/failed", "bool", True),
    *floats("m/a.b", [("0.5", START, 1.0), ("0.25", START + 5, NAN), ("3", START + 7, 2.0)]),
    *floats("m/late", [("7", START + 9, 2.5), ("7", START + 9, 2.5), ("7", START + 9, 2.75)]),
    Row("h", "histogram_series", histogram("DENSITY", [0.0, 1.0, 3.0], [2.0, 5.0]), "1", START),
    Row("log", "string_series", "a line", "1", START),
    Row("file", "file", b"content"),
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build(tmp_path, DataSet("one", (RunData(KEY.run, ROWS),)))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process that uses the SDK with the account of a folder, and nobody's home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "PYTHONPATH") if k in os.environ}
    return kept | {
        "HOME": str(home),
        "WANDB_BASE_URL": wandb_backend.server().url,
        "WANDB_API_KEY": account_key(folder),
        "WANDB_DIR": str(home),
        "WANDB_CACHE_DIR": str(home),
        "WANDB_ERROR_REPORTING": "false",
        **more,
    }


def python(folder: Path, code: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(folder, **more),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(target: WandbTarget, archive: Archive) -> None:
    assert [str(r.error or r.verdict) for r in load_all(target, archive).runs if not r.good] == []


def shown(folder: Path) -> Run:
    (project,) = wandb_backend.account(folder).projects.values()
    (run,) = project.of.values()
    return run


READ = """
import json, wandb
api = wandb.Api()
(run,) = api.runs("team/team_project", filters={"config.lr": 0.5})
run = api.run("/".join(run.path))
print(json.dumps({
    "config": {k: run.config[k] for k in ("lr", "a.b/c", "sys/failed")},
    "state": run.state, "name": run.name, "tags": run.tags,
    "rows": [dict(row) for row in run.scan_history(page_size=2)],
    "files": sorted(file.name for file in run.files()),
    "file": [file.size for file in run.files() if file.name == "files/file"],
}))
"""


def test_the_sdk_reads_what_was_loaded(tmp_path: Path, archive: Archive) -> None:
    loaded(wandb_backend.make(tmp_path), archive)
    said = json.loads(python(tmp_path, READ).splitlines()[-1])
    assert said["config"] == {"lr": 0.5, "a.b/c": ["x"], "sys/failed": True}
    assert (said["state"], said["name"], said["tags"]) == ("failed", "RUN-1", ["one", "two, three"])
    points = [
        (row["neptune_step"], row["_timestamp"], row.get("m/a.b"), row.get("m/late"))
        for row in said["rows"]
        if "h" not in row
    ]
    base = START / 1000
    assert points == [
        (0.25, base + 0.005, "NaN", None),
        (0.5, base, 1.0, None),
        (3.0, base + 0.007, 2.0, None),
        (7.0, base + 0.009, None, 2.5),
        (7.0, base + 0.009, None, 2.75),
    ]
    (cell,) = (row["h"] for row in said["rows"] if "h" in row)
    assert cell == {"_type": "histogram", "bins": [0.0, 1.0, 3.0], "values": [2.0, 5.0]}
    assert said["file"] == [7]
    assert {"files/file", "neptune/migration.json", "series/log.jsonl"} < set(said["files"])


# --- offline --------------------------------------------------------------------------------------


def offline(folder: Path) -> WandbTarget:
    where = folder / "offline"
    return wandb_backend.make(folder, mode="offline", directory=str(where), entity="team")


def synced(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("wandb"), "sync", *options]
        + [str(path) for path in sorted(folder.glob("offline/wandb/offline-run-*"))],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_offline_nothing_is_sent_and_nothing_loaded_twice(tmp_path: Path, archive: Archive) -> None:
    target = offline(tmp_path)
    target.check()
    loaded(target, archive)
    assert wandb_backend.account(tmp_path).projects == {}
    plan = plan_load(offline(tmp_path), archive, PROJECT)
    assert (plan.due, plan.unverified, plan.complete) == ([], [], [KEY])
    folders = [path.name for path in (tmp_path / "offline/wandb").iterdir() if path.is_dir()]
    (name,) = target.find(KEY, NO_MAPPING).ids
    assert folders == [f"offline-run-20231114_221320-{name}"]


def test_an_offline_run_that_was_synced_is_equal(tmp_path: Path, archive: Archive) -> None:
    loaded(offline(tmp_path), archive)
    synced(tmp_path)
    online = wandb_backend.make(tmp_path)
    plan = plan_load(online, archive, PROJECT)
    assert (plan.due, plan.complete) == ([], [KEY])
    assert [r.good for r in verify_runs(online, archive, NO_MAPPING, [KEY]).runs] == [True]
    facts = online.facts(KEY, NO_MAPPING)
    assert (facts.failed, facts.start, facts.end) == (True, START, START + 1000)
    run = shown(tmp_path)
    internal = json.loads(run.config)["_wandb"]["value"]
    axes = {m["1"]: m.get("5") for m in internal["m"]}
    assert set(axes) == {"neptune_step", "m/a.b", "m/late"}
    assert axes["m/late"]
    assert run.host is None
    assert "e" not in internal  # what ran where

    # A second sync finds the marker of the first one. Without it rows are there twice, for the
    # vendor's sync goes on behind those that the server has; which the read-back says.
    assert "Skipped 1 synced" in synced(tmp_path)
    assert run.historyLineCount == 6
    synced(tmp_path, "--no-skip-synced")
    assert run.historyLineCount == 12
    (result,) = verify_runs(online, archive, NO_MAPPING, [KEY]).runs
    assert result.verdict
    assert {f.attribute for f in result.verdict.findings} == {"m/a.b", "m/late", "h"}


def test_what_was_synced_and_changed_gets_another_id(tmp_path: Path, archive: Archive) -> None:
    target = offline(tmp_path)
    loaded(target, archive)
    (first,) = target.find(KEY, NO_MAPPING).ids
    (folder,) = (tmp_path / "offline/wandb").glob("offline-run-*")
    (folder / f"run-{first}.wandb.synced").touch()
    write_run(archive, RunData(KEY.run, ROWS[1:]))
    loaded(target, archive)
    assert target.find(KEY, NO_MAPPING).ids == (f"{first}-2",)
    target.discard(KEY, NO_MAPPING)
    assert target.find(KEY, NO_MAPPING).state is LoadState.ABSENT
    loaded(target, archive)
    assert target.find(KEY, NO_MAPPING).ids == (f"{first}-2",)  # never synced, so it is free


def test_what_was_synced_and_cleaned_gets_another_id(tmp_path: Path, archive: Archive) -> None:
    """`wandb sync --clean` leaves no folder; under its old id the rows would be there twice."""
    target = offline(tmp_path)
    loaded(target, archive)
    (first,) = target.find(KEY, NO_MAPPING).ids
    (folder,) = (tmp_path / "offline/wandb").glob("offline-run-*")
    shutil.rmtree(folder)
    loaded(offline(tmp_path), archive)
    assert target.find(KEY, NO_MAPPING).ids == (f"{first}-2",)


def test_an_offline_load_that_fails_leaves_nothing_to_sync(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = offline(tmp_path)
    monkeypatch.setattr(target._place, "finish", lambda *_: 1 / 0)
    (run,) = load_all(target, archive).runs
    assert "ZeroDivisionError" in str(run.error)
    assert list((tmp_path / "offline/wandb").glob("offline-run-*")) == []
    loaded(offline(tmp_path), archive)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir(mode=0o500)

    def check() -> str:
        with pytest.raises(StoreNotWritableError, match="WANDB_DIR") as error:
            offline(tmp_path).check()
        return str(error.value)

    assert "cannot write" in obeying_permissions(check)


# --- Pluto ----------------------------------------------------------------------------------------


@pytest.fixture
def pluto() -> Iterator[tuple[dict[str, str], list[Any]]]:
    with listening_pluto() as found:
        yield found


LOAD = """
import sys
from pathlib import Path
from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.registry import open_target
from migration_pipeline.targets.loading import load_runs, plan_load
root = Path(ROOT)
archive, target = Archive(root / "data", root / "files"), open_target("wandb")
plan = plan_load(target, archive, "team/project")
result = load_runs(target, archive, plan.mapping, plan.due)
assert [run.good for run in result.runs] == [True], result.runs
loaded = sys.modules.get("wandb")
print("patched" if loaded and "pluto" in loaded.init.__module__ else "left alone")
"""
HOOKED = "import wandb; print('patched' if 'pluto' in wandb.init.__module__ else 'left alone')"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_nothing_goes_to_pluto(
    tmp_path: Path, archive: Archive, pluto: tuple[dict[str, str], list[Any]], mode: str
) -> None:
    """With the credentials of both, under which pluto-ml patches `wandb` wherever it is
    imported."""
    settings, came = pluto
    code = LOAD.replace("ROOT", repr(str(tmp_path)))
    where = {"WANDB_MODE": mode, "WANDB_ENTITY": "team"}
    assert python(tmp_path, code, **settings, **where).split()[-2:] == ["left", "alone"]
    assert came == []
    assert len(wandb_backend.account(tmp_path).projects) == (mode == "online")


def test_pluto_would_have_patched_it(
    tmp_path: Path, pluto: tuple[dict[str, str], list[Any]]
) -> None:
    """Without this the test above would say nothing."""
    settings, _ = pluto
    assert python(tmp_path, HOOKED, **settings).split()[-1] == "patched"


# --- what was taken from the SDK ------------------------------------------------------------------


def installed(module: str) -> str:
    """The source of a module of the SDK, without importing it here."""
    import importlib.util

    spec = importlib.util.find_spec("wandb")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / module).read_text()


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_fields_are_those_that_the_sdk_asks_for() -> None:
    runs, files = installed("apis/public/runs.py"), installed("apis/public/files.py")
    internal, api = installed("sdk/internal/internal_api.py"), installed("apis/public/api.py")
    ours = {"RunParts", "FindRun", "Run", "on", "fragment", "query", "mutation", "Viewer"}
    for document in (documents.RUNS, documents.FIND):
        assert words(document) - words(runs) - ours == set()
    assert words(documents.UPSERT) - words(internal) - words(runs) - ours == set()
    assert words(documents.FILES) - words(files) - words(runs) == set()
    assert words(documents.DELETE) - words(runs) == set()
    assert words(documents.VIEWER) - words(internal) - words(api) - ours == set()


def test_what_wandb_core_sends() -> None:
    """Its own documents are in the program: one that was renamed or has other fields fails here."""
    import importlib.util

    spec = importlib.util.find_spec("wandb")
    assert spec is not None
    assert spec.origin is not None
    program = (Path(spec.origin).parent / "bin" / "wandb-core").read_bytes()
    packed = re.sub(rb"\s+", b" ", program)
    for text in (
        "mutation CreateRunFiles ($entity: String!, $project: String!, $run: String!, "
        "$files: [String!]!) {",
        "mutation MarkRunFilesUploaded ($entity: String!, $project: String!, $run: String!, "
        "$files: [String!]!) {",
        "query HistoryPage ($entity: String!, $project: String!, $run: String!, "
        "$minStep: Int64!, $maxStep: Int64!, $pageSize: Int!) {",
        "history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize)",
        "runID uploadHeaders files { name uploadUrl }",
        "wandb-history.jsonl",
        "wandb-summary.json",
        "branch_point",
    ):
        assert text.encode() in packed, text


def test_limits_are_the_sdks() -> None:
    settings = installed("sdk/wandb_settings.py")
    assert f"{capabilities.PROJECT_MAX_LENGTH}" in settings
    assert re.search(r'"/\\\\#\?%:"', settings)
    histogram_source = installed("sdk/data_types/histogram.py")
    assert f"MAX_LENGTH: int = {capabilities.MOST_BINS}" in histogram_source


def test_calls_fit_the_sdk() -> None:
    records, store = wandb_sdk.records("target")
    for name, arguments in {
        "open_for_write": ("file",),
        "open_for_scan": ("file",),
        "write": ("record",),
        "scan_data": (),
        "close": (),
    }.items():
        inspect.signature(getattr(store, name)).bind(None, *arguments)
    fields = records.Record.DESCRIPTOR.fields_by_name
    assert {"run", "history", "summary", "files", "config", "metric", "exit"} < set(fields)
    run = records.RunRecord.DESCRIPTOR.fields_by_name
    assert {"run_id", "entity", "project", "config", "run_group", "job_type", "display_name"} < set(
        run
    )
    assert {"notes", "tags", "start_time"} < set(run)
    assert records.FilesItem.PolicyType.NOW == 0
    item = records.HistoryItem.DESCRIPTOR.fields_by_name
    assert {"nested_key", "value_json"} < set(item)
    assert {"name", "step_metric"} < set(records.MetricRecord.DESCRIPTOR.fields_by_name)
