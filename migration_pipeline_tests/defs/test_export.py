"""`neptune/export` over a source in memory: what is recorded, what is repeated, what fails how."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.manifest import KINDS
from migration_pipeline.defs import partitions
from migration_pipeline.errors import SourceUnavailableError
from migration_pipeline_tests.defs.conftest import Execute
from migration_pipeline_tests.defs.fakes import (
    MODIFIED,
    FakeSource,
    failure_of,
    latest,
    records_of,
    refused,
)

RUN, EXPORT = ["neptune", "run"], ["neptune", "export"]


@pytest.fixture(autouse=True)
def known_projects(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(partitions.projects.name), ["ws/alpha", "ws/beta"])


def test_each_run_is_recorded_with_its_figures(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    assert migrate_project("ws/alpha").success
    assert records_of(instance, RUN) == {f"ws/alpha|a-{n}" for n in (1, 2, 3, 4)}
    record = latest(instance, RUN, "ws/alpha|a-1")
    assert (record["rows"], record["points"], record["files"]) == (23, 20, 1)
    project = latest(instance, EXPORT, "ws/alpha")
    assert (project["runs"], project["exported now"], project["unchanged"]) == (4, 4, 0)
    assert project["curves"] == "![curves](data:,metrics/loss)"
    assert "path" not in project


def test_a_second_time_nothing_is_read_and_the_picture_stays(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    migrate_project("ws/alpha")
    curves = latest(instance, EXPORT, "ws/alpha")["curves"]
    source.read_runs.clear()
    result = migrate_project("ws/alpha")
    assert result.success
    assert source.read_runs == []
    again = latest(instance, EXPORT, "ws/alpha")
    assert (again["runs"], again["exported now"], again["unchanged"]) == (4, 0, 4)
    assert again["curves"] == curves
    recorded_again = [
        e
        for e in result.all_events
        if e.is_step_materialization and e.asset_key == dg.AssetKey(RUN)
    ]
    assert recorded_again == []


def test_a_changed_run_is_exported_and_recorded_again(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    migrate_project("ws/alpha")
    source.read_runs.clear()
    source.modified["a-3"] = MODIFIED + timedelta(hours=1)
    assert migrate_project("ws/alpha").success
    assert source.read_runs == ["a-3"]
    assert latest(instance, EXPORT, "ws/alpha")["exported again"] == 1


def test_one_bad_run_fails_by_name_and_the_next_time_does_just_that_one(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    source.errors["a-2"] = [refused("a-2")]
    result = migrate_project("ws/alpha")
    assert not result.success
    assert "ws/alpha|a-2" in failure_of(result)
    assert "the server answered 400" in failure_of(result)
    assert source.read_runs == ["a-1", "a-2", "a-3", "a-4"]  # terminal: not tried again
    assert records_of(instance, RUN) == {"ws/alpha|a-1", "ws/alpha|a-3", "ws/alpha|a-4"}
    assert records_of(instance, EXPORT) == set()

    source.read_runs.clear()
    assert migrate_project("ws/alpha").success
    assert source.read_runs == ["a-2"]
    assert len(records_of(instance, RUN)) == 4
    assert records_of(instance, EXPORT) == {"ws/alpha"}


def test_what_may_pass_is_retried_for_the_missing_runs_only(
    migrate_project: Execute, source: FakeSource, quick_retries: None
) -> None:
    source.errors["a-2"] = [SourceUnavailableError("run a-2: 503", "Wait.")]
    assert migrate_project("ws/alpha").success
    assert source.read_runs == ["a-1", "a-2", "a-3", "a-4", "a-2"]


def test_an_interrupted_export_is_taken_up_where_it_stopped(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    def press_control_c(run: str) -> None:
        if run == "a-3":
            os.kill(os.getpid(), signal.SIGINT)

    source.during = press_control_c
    result = migrate_project("ws/alpha", chunk_size=1)
    assert not result.success
    assert source.read_runs == ["a-1", "a-2"]
    source.during = lambda run: None
    source.read_runs.clear()
    assert migrate_project("ws/alpha").success
    assert source.read_runs == ["a-3", "a-4"]
    assert records_of(instance, RUN) == {f"ws/alpha|a-{n}" for n in (1, 2, 3, 4)}


def test_runs_that_lie_on_disk_without_a_record_are_recorded(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    migrate_project("ws/alpha")
    instance.wipe_assets([dg.AssetKey(RUN)])
    assert records_of(instance, RUN) == set()
    assert migrate_project("ws/alpha").success
    assert len(records_of(instance, RUN)) == 4


def test_an_unknown_partition_is_refused_before_any_work(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    result = migrate_project("ws/nope")
    assert not result.success
    assert "'ws/nope' is not a known project partition" in failure_of(result)
    assert "ws/alpha, ws/beta" in failure_of(result)
    assert source.listings == 0
    assert records_of(instance, RUN) == set()


def test_a_start_without_a_partition_says_what_to_do(
    migrate_project: Execute, source: FakeSource
) -> None:
    result = migrate_project(None)
    assert not result.success
    assert "without a project" in failure_of(result)
    assert source.listings == 0


@pytest.mark.parametrize("harm", ["file gone", "file cut", "part cut"])
def test_the_check_names_what_is_not_whole_and_stops_the_run(
    migrate_project: Execute,
    source: FakeSource,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    harm: str,
) -> None:
    migrate_project("ws/alpha")
    file = next((tmp_path / "files").rglob("note-*.txt"))
    if harm == "file gone":
        file.unlink()
    elif harm == "file cut":
        file.write_text("")
    else:
        part = next((tmp_path / "data").rglob("*a-1*_part_0.parquet"))
        part.write_bytes(part.read_bytes()[:-10])
        source.errors["a-1"] = [refused("a-1")]
    result = migrate_project("ws/alpha")
    assert not result.success
    checks = result.get_asset_check_evaluations()
    if harm == "part cut":  # it is due again, and this time the source refuses it
        assert "ws/alpha|a-1" in failure_of(result)
    else:
        (check,) = checks
        assert not check.passed
        assert check.partition == "ws/alpha"
        assert check.metadata["findings"].value == 1


def test_objects_of_one_id_are_exported_and_recorded_apart(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    source.others = [RunKey("ws/alpha", "a-1", kind) for kind in KINDS if kind != "run"]
    source.parents = {"a-1": "a-4"}
    assert migrate_project("ws/alpha", chunk_size=1).success
    assert records_of(instance, RUN) == {
        *(f"ws/alpha|a-{n}" for n in (1, 2, 3, 4)),
        *(f"ws/alpha|%{kind}|a-1" for kind in ("model", "model_version", "project")),
    }
    for kind, mark in (("run", ""), ("model", "%model|"), ("project", "%project|")):
        assert latest(instance, RUN, f"ws/alpha|{mark}a-1")["kind"] == kind
    figures = latest(instance, EXPORT, "ws/alpha")
    assert figures["runs"] == 7
    assert {name: n for name, n in figures.items() if name.startswith("of them")} == {
        "of them models": 1,
        "of them model versions": 1,
        "of them project metadata": 1,
    }
    assert sorted(file.read_text() for file in (tmp_path / "files").rglob("*.txt")) == sorted(
        f"note of {key}"
        for key in [*(RunKey("ws/alpha", f"a-{n}") for n in (1, 2, 3, 4)), *source.others]
    )

    source.read_runs.clear()
    assert migrate_project("ws/alpha").success
    assert source.read_runs == []


def test_what_fails_is_named_with_its_kind_and_done_the_next_time(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    source.others = [RunKey("ws/alpha", "MOD-1", "model_version")]
    source.errors["MOD-1"] = [refused("MOD-1")]
    result = migrate_project("ws/alpha")
    assert "ws/alpha|MOD-1 (model version)" in failure_of(result)
    source.read_runs.clear()
    assert migrate_project("ws/alpha").success
    assert source.read_runs == ["MOD-1"]
    assert "ws/alpha|%model_version|MOD-1" in records_of(instance, RUN)


def test_what_the_source_could_not_give_is_counted_and_recorded(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    source.notes = {"a-2": ["The bytes of 'data' are elsewhere."]}
    assert migrate_project("ws/alpha").success
    assert latest(instance, EXPORT, "ws/alpha")["runs with notes"] == 1
    assert latest(instance, RUN, "ws/alpha|a-2")["notes"] == "The bytes of 'data' are elsewhere."
    assert "notes" not in latest(instance, RUN, "ws/alpha|a-1")


def test_kinds_can_be_chosen(
    migrate_project: Execute, source: FakeSource, instance: dg.DagsterInstance
) -> None:
    source.others = [RunKey("ws/alpha", "MOD", "model")]
    assert migrate_project("ws/alpha", kinds=["model"]).success
    assert records_of(instance, RUN) == {"ws/alpha|%model|MOD"}
    assert "there is no kind of object 'modle'" in failure_of(
        migrate_project("ws/alpha", kinds=["modle"])
    )


def test_the_check_names_what_is_not_whole_with_its_kind(
    migrate_project: Execute, source: FakeSource, tmp_path: Path
) -> None:
    source.others = [RunKey("ws/alpha", "a-1", "model")]
    migrate_project("ws/alpha")
    next((tmp_path / "files").rglob("models/*/note-*.txt")).unlink()
    result = migrate_project("ws/alpha")
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    (finding,) = check.metadata["findings (table)"].records  # type: ignore[union-attr]
    assert finding.data["where"] == "ws/alpha|a-1 (model)"


def test_families_share_a_chunk_parents_first(migrate_project: Execute, source: FakeSource) -> None:
    source.parents = {"a-1": "a-4", "a-4": "a-3"}
    assert migrate_project("ws/alpha", chunk_size=1).success
    assert source.read_runs == ["a-3", "a-4", "a-1", "a-2"]
