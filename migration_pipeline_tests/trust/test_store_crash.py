"""Whatever stops an export to an object store, what is published is whole, and the next makes up.

As `test_export_crash` for folders, in a small number; moments are also requests to the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_pipeline.archive.store import StorePath
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline_tests.archive.making import archive_in, contents
from migration_pipeline_tests.sources.neptune_backend import make_neptune2
from migration_pipeline_tests.stores import Server, left_over
from migration_pipeline_tests.trust.crashes import (
    Moment,
    export_everything,
    random_moments,
    run_export,
)

SEED = 20261122


KEPT = {"TAB", "TAB-5", "TAB-CANCER", "TAB-CANCER-1"}


@pytest.fixture
def server(sample: Path) -> Iterator[RunningServer]:
    """A few objects of the sample: one of each kind, with files and series."""
    store = Store()
    load_archive(store, sample / "data", sample / "files")
    del store.projects["acme/hostile"], store.projects["acme/digits"]
    runs = store.projects["acme/tabular"].runs
    for name in set(runs) - KEPT:
        del runs[name]
    with running_server(store) as running:
        yield running


@pytest.mark.timeout(3600)
def test_stopped_exports_publish_only_whole_runs_and_converge(
    server: RunningServer,
    store: Server,
    bucket: StorePath,
    pytestconfig: pytest.Config,
) -> None:
    arguments, environment = (server.token,), store.environment
    code, last, seconds = run_export(
        make_neptune2, arguments, bucket / "whole", environment=environment
    )
    failures, operations = last
    assert (code, failures) == (0, [])
    expected = contents(archive_in(bucket / "whole"))
    assert len(expected) == len(KEPT)
    assert not left_over(archive_in(bucket / "whole"))

    count = max(2, pytestconfig.getoption("--crashes") // 3)
    for i, moment in enumerate(random_moments(count, SEED, operations)):
        place = bucket / f"stopped-{i}"
        run_export(make_neptune2, arguments, place, moment, seconds, environment)
        left = contents(archive_in(place))
        assert left.items() <= expected.items(), f"{moment}: something published is not whole"
        code, last, _ = run_export(make_neptune2, arguments, place, environment=environment)
        assert (code, last[0]) == (0, []), f"{moment}: the next export failed"
        assert contents(archive_in(place)) == expected, (
            f"{moment}: the next export did not converge"
        )
        assert not left_over(archive_in(place)), f"{moment}: something was left behind"


def test_a_swap_that_is_cut_off_at_any_request_is_finished(
    server: RunningServer,
    store: Server,
    bucket: StorePath,
    pytestconfig: pytest.Config,
) -> None:
    """The old export stays until the new one is whole, or the new one is finished by the next."""
    every = 1 if pytestconfig.getoption("--crashes") >= 100 else 13
    archive = archive_in(bucket)
    assert export_everything(make_neptune2(server.token), archive) == []
    key = next(iter(archive.runs(archive.projects()[0])))
    run = server.store.projects[key.project].runs[key.run]
    for number, operations in enumerate(range(2, 35, every)):
        before = contents(archive)
        run.set("config/added_later", "int", number)
        moment = Moment("kill", operations)
        run_export(make_neptune2, (server.token,), bucket, moment, environment=store.environment)
        left = contents(archive)
        assert {k: v for k, v in left.items() if k != key} == {
            k: v for k, v in before.items() if k != key
        }
        assert export_everything(make_neptune2(server.token), archive) == []
        after = contents(archive)
        assert after.keys() == before.keys()
        assert after[key] != before[key], f"{moment}"
        assert not left_over(archive), f"{moment}"
