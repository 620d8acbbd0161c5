"""The dummy's own settings and files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import ConfigError, MigrationError, TargetRefusedError
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.dummy.client import DummyTarget
from migration_pipeline.targets.dummy.config import DummyConfig
from migration_pipeline.targets.dummy.faults import Rates
from migration_pipeline.targets.dummy.store import CALLS, Store, place_of
from migration_pipeline.targets.loading import verify_runs
from migration_pipeline.targets.registry import open_target
from migration_pipeline_tests.contract.datasets import BY_NAME, PROJECT, START, build
from migration_pipeline_tests.targets.loads import load, write

NO_MAPPING = ProjectMapping()


def test_it_is_set_up_as_any_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_target("dummy").address == str(tmp_path / "exports" / "dummy")
    monkeypatch.setenv("MIGRATION_DUMMY_PATH", str(tmp_path / "there"))
    monkeypatch.setenv("MIGRATION_DUMMY_FAILURE_RATE", "check=1")
    target = open_target("dummy")
    assert target.address == str(tmp_path / "there")
    with pytest.raises(MigrationError, match=r"the call `check` failed, as it was made to"):
        target.check()
    assert not target.has_store()
    assert not list(tmp_path.iterdir())


def test_rates() -> None:
    assert DummyConfig(failure_rate="0.25").failing == dict.fromkeys(CALLS, 0.25)
    assert DummyConfig(refusal_rate=" rows=1, finish=.5 ").refused == {"rows": 1.0, "finish": 0.5}
    assert DummyConfig(failure_rate="0.1,rows=0").failing["rows"] == 0.0
    assert (DummyConfig().failing, DummyConfig(seed=" -7 ").seed_number) == ({}, -7)
    rates = Rates({"rows": 0.5}, {"rows": 0.25})
    drawn = [rates.fate("rows", i / 8) for i in range(8)]
    assert Counter(drawn) == {"refused": 2, "fails before": 2, "fails after": 2, "passes": 2}
    assert rates.fate("finish", 0.0) == "passes"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"failure_rate": "2"}, "MIGRATION_DUMMY_FAILURE_RATE: '2' is no share"),
        ({"failure_rate": "often"}, "MIGRATION_DUMMY_FAILURE_RATE: 'often' is no share"),
        ({"refusal_rate": "points=0.1"}, "MIGRATION_DUMMY_REFUSAL_RATE: there is no call 'points'"),
        ({"failure_rate": "1", "seed": "x"}, "MIGRATION_DUMMY_SEED is 'x'"),
    ],
)
def test_malformed_settings(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DummyTarget(DummyConfig(path=str(tmp_path), **settings))


def test_a_seed_repeats_and_a_new_start_meets_other_failures(tmp_path: Path) -> None:
    def outcomes(folder: str) -> list[list[bool]]:
        Store(tmp_path / folder).begin(Path("p/runs/r"), {})
        config = DummyConfig(path=str(tmp_path / folder), failure_rate="check=0.5", seed="3")
        one = DummyTarget(config)
        return [
            [_passes(one) for _ in range(40)],
            [_passes(DummyTarget(config)) for _ in range(40)],
        ]

    assert outcomes("a") == outcomes("b")
    first, starts = outcomes("c")
    assert 5 < sum(first) < 35
    assert 5 < sum(starts) < 35


def _passes(target: DummyTarget) -> bool:
    try:
        target.check()
    except MigrationError:
        return False
    return True


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetRefusedError, match=r"file is no directory.*MIGRATION_DUMMY_PATH"):
        DummyTarget(DummyConfig(path=str(tmp_path / "file" / "below"))).check()


@pytest.mark.parametrize("damage", ["row", "file", "entry"])
def test_what_is_gone_from_the_folder_is_found(tmp_path: Path, damage: str) -> None:
    archive, target = build(tmp_path, BY_NAME["files"]), open_dummy(tmp_path / "store")
    assert load(target, archive) == []
    key = RunKey(PROJECT, "RUN-1")
    folder = tmp_path / "store" / place_of(PROJECT, key)
    if damage == "row":
        rows = folder / "rows.arrows"
        rows.write_bytes(rows.read_bytes()[:-1000])
    elif damage == "file":
        max((folder / "files").iterdir(), key=lambda p: p.stat().st_size).unlink()
    else:
        (folder / "run.json").write_text("{")
        with pytest.raises(TargetRefusedError, match="what is there is damaged"):
            target.runs(PROJECT, NO_MAPPING)
        return
    (run,) = verify_runs(target, archive, NO_MAPPING, [key]).runs
    assert not run.good
    if damage == "file":
        assert run.verdict
        assert [(f.kind, f.attribute) for f in run.verdict.findings] == [("missing", "f/20 MB.bin")]
    else:
        assert "reading a run: what is there is damaged" in str(run.error)


def open_dummy(folder: Path) -> DummyTarget:
    return DummyTarget(DummyConfig(path=str(folder)))


def test_projects_and_prefixes_do_not_meet(tmp_path: Path) -> None:
    archive, target = Archive(tmp_path / "data", tmp_path / "files"), open_dummy(tmp_path / "store")
    key = write(archive, "a", ("1", START, 1.0))
    assert load(target, archive) == []
    assert load(target, archive, name_prefix="old") == []
    entries = sorted((tmp_path / "store").glob("*/*/*/run.json"))
    assert [json.loads(path.read_text())["run"] for path in entries] == ["a", "a"]
    target.discard(key, ProjectMapping(name_prefix="old"))
    assert set(target.runs(PROJECT, NO_MAPPING)) == {key}
    assert target.runs(PROJECT, ProjectMapping(name_prefix="old")) == {}
