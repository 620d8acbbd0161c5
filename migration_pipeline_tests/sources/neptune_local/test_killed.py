"""Clients killed while they logged: what reached the disk is read, the rest is named."""

from __future__ import annotations

import pytest

from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline_tests.sources.neptune_local import left, writing
from migration_pipeline_tests.sources.neptune_local.conftest import Killed
from migration_pipeline_tests.sources.neptune_local.left import Exported, exported
from migration_pipeline_tests.sources.neptune_local.writing import NOON, PROJECT3, START

LEAST = 900
"""Of 1,000 points that were logged before the end, so many must have reached the disk."""


@pytest.fixture(scope="module")
def of_2x(killed2: Killed, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    before = left.tree(killed2.folder)
    made = exported(tmp_path_factory.mktemp("of_2x"), killed2.folder)
    assert left.tree(killed2.folder) == before
    return made


@pytest.fixture(scope="module")
def of_3x(killed3: Killed, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    before = left.tree(killed3.folder)
    made = exported(tmp_path_factory.mktemp("of_3x"), killed3.folder)
    assert left.tree(killed3.folder) == before
    return made


def test_2x_acknowledged_operations_are_read_too(of_2x: Exported, killed2: Killed) -> None:
    [directory] = (killed2.folder / ".neptune/async").iterdir()
    assert int((directory / "last_ack_version").read_text()) > 0, "nothing had been sent"
    assert of_2x.values()["p/int"] == ("int", 7)
    loss, log = of_2x.series("m/loss"), of_2x.series("log")
    assert len(loss) >= LEAST
    assert loss == [(i * 10**6, (NOON + i) * 1000, i * 0.5) for i in range(len(loss))]
    assert log == [(i * 10**6, (NOON + i) * 1000, f"line {i}") for i in range(len(log))]
    assert len(loss) - len(log) in (0, 1)


def test_2x_what_the_client_counted_and_never_wrote_is_damage(
    of_2x: Exported, killed2: Killed
) -> None:
    [directory] = (killed2.folder / ".neptune/async").iterdir()
    counted = int((directory / "last_put_version").read_text())
    lines = (directory / "data-1.log").read_bytes().count(b"\n")
    manifest = of_2x.manifest()
    said = f"the client counted {counted} operations, and those after {lines} are not in its log"
    assert [said in text for text in manifest.damage].count(True) == (counted > lines)
    [run] = examine(of_2x.archive, manifest.project, thorough=True).runs
    assert run.grade == ("damaged" if manifest.damage else "complete")
    assert [reason.text for reason in run.reasons] == manifest.damage


def test_2x_the_run_is_named_as_the_server_knows_it(of_2x: Exported, killed2: Killed) -> None:
    [run] = killed2.server.store.projects[writing.PROJECT2]
    assert of_2x.manifest().run == run.uuid


def test_3x_what_was_not_sent_is_read(of_3x: Exported, killed3: Killed) -> None:
    assert of_3x.key().project == PROJECT3
    loss, other = of_3x.series("loss"), of_3x.series("other")
    steps = [step // 10**6 for step, _, _ in loss]
    noon = int(START.timestamp())
    assert steps == list(range(steps[0], steps[0] + len(steps)))
    assert loss == [(i * 10**6, (noon + i) * 1000, i * 0.5) for i in steps]
    assert other == [(i * 10**6, (noon + i) * 1000, float(-i)) for i in steps]
    # What is not here is at the server: nothing is lost between the two.
    run = killed3.server.store.projects[PROJECT3].find("killed")
    assert run is not None
    sent = run.float_series("loss").steps
    assert steps[0] <= (len(sent) and sent[-1] + 1)
    assert steps[-1] + 1 >= LEAST


def test_3x_what_was_sent_and_removed_is_damage(of_3x: Exported) -> None:
    first = of_3x.series("loss")[0][0] // 10**6
    damage = of_3x.manifest().damage
    gone = [text for text in damage if "only the server has them" in text]
    assert len(gone) == (first > 0 or "int" not in of_3x.values())
