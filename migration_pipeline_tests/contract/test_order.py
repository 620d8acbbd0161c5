"""Neither the order of runs nor the number of workers changes what a store holds in the end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline_tests.contract.backends import BACKENDS
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    param,
)

PARENTS = {"child": "root", "grandchild": "child", "other child": "root"}
RUNS = DataSet(
    "several runs",
    tuple(
        RunData(
            name,
            (
                *curve("m/a", 30 + number),
                param("p", "int", number),
                Row("log", "string_series", name, "1", START),
                Row("file", "file", name.encode()),
            ),
            parent=PARENTS.get(name),
        )
        for number, name in enumerate(("a", "b", "c", "root", "child", "grandchild", "other child"))
    ),
)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_order_and_workers_change_nothing(name: str, tmp_path: Path) -> None:
    backend, archive = BACKENDS[name], build(tmp_path, RUNS)
    stores = []
    for workers in (1, 4):
        folder = tmp_path / f"{workers} workers"
        target = backend.make(folder)
        plan = plan_load(target, archive, PROJECT)
        keys = plan.due
        if workers > 1:
            random.Random(5).shuffle(keys)
            assert keys != plan.due
        result = load_runs(target, archive, plan.mapping, keys, parallel=workers)
        assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
        assert [run.key for run in result.runs] == keys
        stores.append(backend.whole(folder))
    assert stores[0] == stores[1]
    assert stores[0]
