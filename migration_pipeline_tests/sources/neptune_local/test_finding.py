"""Which directories are found below a folder, and of which run each is, in every layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import AdoptedRunError, ConfigError, UnknownProjectError
from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig, run_ids
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.machine import obeying_permissions
from migration_pipeline_tests.sources.neptune_local.left import add_run, exported, line

ID = "0b8a5a8c-1111-2222-3333-444444444444"
POINT = {"value": 1.5, "step": 3, "ts": 1_700_000_000}
LAYOUTS = {
    f"offline/run__{ID}__77__abcdefgh": ("run", ID),
    f"offline/model__{ID}": ("model", ID),
    f"offline/{ID}": ("run", ID),
    f"async/model_version__{ID}__77__abcdefgh": ("model_version", ID),
    f"async/run__{ID}/exec-1690000000-2023-07-22_04.26.40.000": ("run", ID),
    f"async/{ID}/exec-1690000000-2023-07-22_04.26.40.000": ("run", ID),
    f"async/project__{ID}__77__abcdefgh__1": ("project", ID),
    "offline/renamed by somebody__": ("run", "renamed by somebody__"),
}


def write(directory: Path, *operations: str) -> None:
    directory.mkdir(parents=True)
    (directory / "data-1.log").write_text("".join(operations))
    (directory / "last_put_version").write_text(str(len(operations)))


def source(*paths: Path, **settings: str) -> NeptuneLocalSource:
    return NeptuneLocalSource(NeptuneLocalConfig(paths=paths, **settings))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("start", [".", "home/training", "home/training/.neptune"])
def test_a_layout(tmp_path: Path, layout: str, start: str) -> None:
    write(
        tmp_path / "home/training/.neptune" / layout,
        line(1, type="LogFloats", path=["loss"], values=[POINT]),
    )
    kind, run = LAYOUTS[layout]
    made = exported(tmp_path / "out", tmp_path / start)
    assert made.found() == [RunKey("local/training", run, kind)]  # type: ignore[arg-type]
    assert made.series("loss") == [(3 * 10**6, 1_700_000_000_000, 1.5)]


def test_lines_of_clients_that_noted_no_time(tmp_path: Path) -> None:
    """`at` came later; other fields of a point were always there."""
    old = [
        json.dumps({"obj": {"type": "LogFloats", "path": ["loss"], "values": [one]}, "version": i})
        for i, one in enumerate([POINT, POINT | {"step": 4}, POINT | {"step": None}], 1)
    ]
    write(tmp_path / ".neptune/async/x/exec-1", "\n".join(old) + "\n")
    (tmp_path / ".neptune/async/x/exec-1/last_put_version").write_text("3")
    made = exported(tmp_path / "out", tmp_path)
    assert [step for step, *_ in made.series("loss")] == [3 * 10**6, 4 * 10**6, 5 * 10**6]
    assert made.manifest().damage == []


def test_executions_of_one_run_are_one_run(tmp_path: Path) -> None:
    """The later one goes on, and may take back what the earlier one wrote."""
    top = tmp_path / ".neptune/async" / f"run__{ID}"
    write(
        top / "exec-1",
        line(1, type="LogFloats", path=["loss"], values=[POINT]),
        line(2, type="LogFloats", path=["gone"], values=[POINT]),
        line(3, type="AssignInt", path=["n"], value=1),
        line(4, type="AddStrings", path=["sys", "tags"], values=["a", "b"]),
    )
    write(
        top / "exec-2",
        line(1, type="LogFloats", path=["loss"], values=[POINT | {"step": None}]),
        line(2, type="DeleteAttribute", path=["gone"]),
        line(3, type="AssignInt", path=["n"], value=2),
        line(4, type="RemoveStrings", path=["sys", "tags"], values=["a"]),
        line(5, type="AssignFloat", path=["loss"], value=9.0),
        line(6, type="LogFloats", path=["loss"], values=[POINT | {"step": 1}]),
    )
    made = exported(tmp_path / "out", tmp_path)
    assert [step for step, *_ in made.series("loss")] == [10**6, 3 * 10**6, 4 * 10**6]
    assert made.values() == {"n": ("int", 2), "sys/tags": ("string_set", ["b"])}
    notes = "\n".join(made.manifest().notes)
    assert "another type, as a server refuses them: loss (float, it is float_series): 1" in notes
    assert "1 points have a step that is not beyond the one before" in notes


def test_several_paths_and_what_is_not_there(tmp_path: Path) -> None:
    add_run(tmp_path / "one", 1)
    add_run(tmp_path / "two", 2)
    (tmp_path / "empty").mkdir()
    both = source(tmp_path / "one", tmp_path / "two", tmp_path)
    assert both.list_projects() == ["local/one", "local/two"]
    with pytest.raises(ConfigError, match=r"empty.*lies nothing that a Neptune client left"):
        source(tmp_path / "one", tmp_path / "empty").list_projects()
    with pytest.raises(ConfigError, match="no folder"):
        source(tmp_path / "nowhere").list_projects()
    with pytest.raises(UnknownProjectError, match="acme/other"):
        both.list_runs("acme/other", Selection())
    with pytest.raises(ConfigError, match="runs_query"):
        both.list_runs("local/one", Selection(runs_query="x = 1"))


def test_a_selection(tmp_path: Path) -> None:
    for number in range(3):
        add_run(tmp_path, number)
    made = source(tmp_path, project="a/b")
    ids = [run.key.run for run in made.list_runs("a/b", Selection())]
    assert len(ids) == 3
    chosen = made.list_runs("a/b", Selection(run_ids=(ids[1],)))
    assert [run.key.run for run in chosen] == [ids[1]]
    assert [r.key.run for r in made.list_runs("a/b", Selection(run_regex="2$"))] == [ids[2]]
    assert made.list_runs("a/b", Selection(kinds=("model",))) == []


def test_a_run_of_an_adopted_archive_is_refused_by_name(tmp_path: Path) -> None:
    """It counts as exported, so what is here of it would be left out."""
    add_run(tmp_path / "training", 1)
    made = exported(tmp_path, tmp_path / "training")
    [part] = (tmp_path / "data").rglob("*_part_0.parquet")
    pq.write_table(pq.read_table(part).replace_schema_metadata(None), part)  # no manifest
    for merge in ("", "archive"):
        made.source.config = made.source.config.model_copy(update={"merge": merge})
        with pytest.raises(AdoptedRunError, match=r"local/training\|0000") as raised:
            made.source.list_runs("local/training", Selection())
        assert "MIGRATION_DATA_PATH" in str(raised.value)


def test_a_directory_of_mode_sync_is_a_run_where_it_has_something_to_upload(
    tmp_path: Path,
) -> None:
    """It keeps no log: operations are sent at once."""
    add_run(tmp_path, 1)
    directory = tmp_path / ".neptune/sync" / f"run__{ID}__77__abcdefgh"
    (directory / "upload_path").mkdir(parents=True)
    (directory / "metadata.json").write_text(json.dumps({"mode": "sync", "containerId": ID}))
    found = source(tmp_path, project="a/b")
    assert [run.key.run for run in found.list_runs("a/b", Selection())] != [ID]
    assert len(found.list_runs("a/b", Selection())) == 1
    (directory / "upload_path/f_x-1.5-2024.txt").write_bytes(b"unsent")
    made = exported(tmp_path / "out", tmp_path, project="a/b")
    assert made.values(ID) == {"unsent_uploads/f_x-1.5-2024.txt": ("file", b"unsent")}
    assert any("no log of operations" in text for text in made.manifest(ID).damage)


def test_run_ids_are_pairs() -> None:
    assert run_ids(" a = RUN-1, b=x=y ,") == {"a": "RUN-1", "b": "x=y"}
    with pytest.raises(ConfigError, match="MIGRATION_LOCAL_RUN_IDS"):
        run_ids("a")


def test_a_log_that_may_not_be_read_is_damage_of_its_run_alone(tmp_path: Path) -> None:
    for number in range(2):
        directory = add_run(tmp_path / "training", number)
    os.chmod(directory / "data-1.log", 0)
    made = obeying_permissions(lambda: exported(tmp_path / "out", tmp_path / "training"))
    whole, damaged = made.found()
    assert made.manifest(whole.run).damage == []
    assert any("cannot be read: Permission denied" in d for d in made.manifest(damaged.run).damage)
