"""Families: whole, parents first; cycles and absent parents break nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.mapping.forks import families


@given(st.dictionaries(st.integers(0, 20), st.integers(0, 25) | st.none()))
def test_families(parents: dict[int, int | None]) -> None:
    groups = families(parents, parents)
    where = {key: i for i, group in enumerate(groups) for key in group}
    assert sorted(where) == sorted(parents)
    for key, parent in parents.items():
        if parent in parents:
            assert where[key] == where[parent]
    for group in groups:
        for key in group:
            parent = parents[key]
            if parent in parents and not in_cycle(key, parents):
                assert group.index(parent) < group.index(key)


def in_cycle(key: int, parents: dict[int, int | None]) -> bool:
    seen: set[int] = set()
    at: int | None = key
    while at is not None and at in parents and at not in seen:
        seen.add(at)
        at = parents[at]
    return at in seen and at == key


def test_examples() -> None:
    parents = {"c": "b", "b": "a", "a": None, "x": "gone", "y": "x", "m": "n", "n": "m"}
    assert families(parents, parents) == [("a", "b", "c"), ("x", "y"), ("n", "m")]
    assert families(["a", "b"], {"a": None, "b": None}) == [("a",), ("b",)]
