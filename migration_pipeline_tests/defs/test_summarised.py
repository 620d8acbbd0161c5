"""Projects with more runs than Dagster should have partitions: one record instead of one a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.defs import partitions, records, status, summarised
from migration_pipeline.status.figures import Stage
from migration_pipeline_tests.defs.fakes import MODIFIED, FakeSource, refused, resources

ALPHA, BETA = "ws/alpha", "ws/beta"  # of four runs and of none, 20 points each
Job = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def job(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    source: FakeSource,
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """`migrate_project` into the dummy, where three runs may have records."""
    monkeypatch.setenv(summarised.VARIABLE, "3")
    instance.add_dynamic_partitions(str(partitions.projects.name), [ALPHA, BETA])

    def run(project: str = ALPHA, verify: str = "new", **dummy: str) -> dg.ExecuteInProcessResult:
        given = resources(tmp_path)
        given["dummy"] = {"config": {"path": str(tmp_path / "dummy"), **dummy}}
        return definitions.project_job(["dummy"]).execute_in_process(
            run_config={
                "resources": given,
                "ops": {
                    "neptune__export": {"config": {"chunk_size": 2}},
                    "dummy__load": {"config": {"verify": verify}},
                },
            },
            tags={"dagster/partition": project},
            instance=instance,
            raise_on_error=False,
        )

    return run


def runs(instance: dg.DagsterInstance) -> list[str]:
    return sorted(instance.get_dynamic_partitions(str(partitions.runs.name)))


def said(instance: dg.DagsterInstance, asset: dg.AssetKey, project: str = ALPHA) -> list[int]:
    """Runs, points, bytes, runs without known points and verified runs of the one record."""
    figures = summarised.last(instance, asset, project)
    return list(summarised.AllRuns.of_figures(figures).figures().values())


def written(instance: dg.DagsterInstance, asset: dg.AssetKey) -> int:
    return len(instance.fetch_materializations(asset, limit=100).records)


def stage(instance: dg.DagsterInstance, place: str, project: str = ALPHA) -> Stage:
    entry = instance.get_latest_materialization_event(status.KEY)
    assert entry
    assert entry.asset_materialization
    figures: Any = entry.asset_materialization.metadata["figures"].value
    found = [Stage.from_plain(plain) for plain in figures["projects"][project]["stages"]]
    return next(stage for stage in found if stage.place == place)


LOADED = records.loaded("dummy")
BYTES = 4 * len("note of ws/alpha|a-1")


def test_one_record_says_what_is_there_and_nothing_is_done_twice(
    job: Job, instance: dg.DagsterInstance, source: FakeSource
) -> None:
    assert job().success
    assert runs(instance) == ["ws/alpha|%all"]
    assert said(instance, records.EXPORTED) == [4, 80, BYTES, 0, 0]
    assert said(instance, LOADED) == [4, 80, BYTES, 0, 4]
    archive, dummy = stage(instance, "archive"), stage(instance, "dummy")
    assert (archive.state, archive.there, archive.points, archive.bytes) == ("done", 4, 80, BYTES)
    assert (dummy.state, dummy.there, dummy.verified, dummy.points) == ("done", 4, 4, 80)
    before = written(instance, records.EXPORTED), written(instance, LOADED)
    read = list(source.read_runs)
    assert job().success
    assert source.read_runs == read
    assert (written(instance, records.EXPORTED), written(instance, LOADED)) == before
    source.projects[ALPHA].append("a-5")
    source.modified["a-1"] = MODIFIED + timedelta(hours=1)
    assert job(verify="all").success
    assert said(instance, records.EXPORTED)[:2] == [5, 100]
    assert said(instance, LOADED)[::4] == [5, 5]
    assert stage(instance, "archive").there == stage(instance, "dummy").verified == 5


def test_what_was_done_before_something_failed_is_counted(
    job: Job, instance: dg.DagsterInstance, source: FakeSource
) -> None:
    source.errors["a-4"] = [refused("a-4")]
    assert not job().success  # the second of two chunks, so the stage has no end
    found = stage(instance, "archive")
    assert (found.state, found.there, found.uncounted, found.total) == ("failed", 2, 2, 4)
    assert said(instance, records.EXPORTED) == [0, 0, 0, 0, 0]
    assert not job(refusal_rate="finish=1").success  # and then the load
    assert said(instance, records.EXPORTED) == [4, 80, BYTES, 0, 0]
    assert stage(instance, "archive").there == 4
    assert said(instance, LOADED) == [0, 0, 0, 0, 0]
    assert stage(instance, "dummy").there == 0
    assert job().success
    assert said(instance, LOADED) == [4, 80, BYTES, 0, 4]


def test_others_have_records_as_long_as_there_is_room(
    job: Job, instance: dg.DagsterInstance, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.projects[BETA] = ["b-1", "b-2"]
    assert job(BETA).success
    each = ["ws/beta|b-1", "ws/beta|b-2"]
    assert runs(instance) == each
    source.projects[ALPHA] = ["a-1", "a-2"]  # three are allowed, and two are taken
    assert job().success
    assert runs(instance) == ["ws/alpha|%all", *each]
    assert said(instance, LOADED)[0] == 2
    assert stage(instance, "dummy", BETA).there == stage(instance, "dummy").there == 2
    source.projects[BETA] += ["b-3", "b-4"]  # it had records, and now has one
    assert job(BETA).success
    assert runs(instance) == ["ws/alpha|%all", "ws/beta|%all", *each]
    assert stage(instance, "archive", BETA).there == stage(instance, "dummy", BETA).verified == 4
    monkeypatch.setenv(summarised.VARIABLE, "100")
    source.projects[BETA].append("b-5")
    assert job(BETA).success  # each again, those included that came meanwhile
    assert runs(instance)[2:] == [f"ws/beta|b-{n}" for n in (1, 2, 3, 4, 5)]
    found = stage(instance, "archive", BETA)
    assert (found.there, found.points, found.uncounted) == (5, 100, 0)
    assert stage(instance, "dummy", BETA).verified == 5


def test_an_adopted_archive_has_its_grades_in_it(
    job: Job, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert job().success
    adopt = definitions.defs.resolve_job_def("adopt")
    given = {"archive": resources(tmp_path)["archive"]}
    for _ in range(2):
        result = adopt.execute_in_process(run_config={"resources": given}, instance=instance)
        assert result.success
    figures = summarised.last(instance, records.EXPORTED, ALPHA)
    assert (figures["runs"], figures["runs complete"], figures["runs damaged"]) == (4, 4, 0)
    assert written(instance, records.EXPORTED) == 3  # at the start, at the end, with the grades
    assert runs(instance) == ["ws/alpha|%all"]
    assert stage(instance, "archive").there == 4


def test_its_key_is_no_runs() -> None:
    key = partitions.all_runs_partition(ALPHA)
    assert partitions.is_all_runs(key)
    assert partitions.project_of(key) == ALPHA
    with pytest.raises(ValueError, match="all runs"):
        partitions.key_of(key)
    for run in ("%all", "all"):
        assert not partitions.is_all_runs(partitions.run_partition(records.RunKey(ALPHA, run)))
