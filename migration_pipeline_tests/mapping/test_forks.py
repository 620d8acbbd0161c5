"""Families: whole, parents first; cycles and absent parents break nothing."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.mapping.forks import families, without_cycles


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


@given(st.dictionaries(st.integers(0, 20), st.integers(0, 25) | st.none()), st.randoms())
def test_cycles_are_cut_once_each_whatever_the_order(
    parents: dict[int, int | None], chance: random.Random
) -> None:
    cut = without_cycles(parents)
    assert not any(in_cycle(key, cut) for key in cut)
    for key in parents:
        assert cut[key] == parents[key] or in_cycle(key, parents)
    shuffled = list(parents.items())
    chance.shuffle(shuffled)
    assert without_cycles(dict(shuffled)) == cut


def test_of_a_cycle_the_smallest_has_no_parent() -> None:
    parents = {"c": "b", "b": "a", "a": "c", "own": "own", "x": "a"}
    assert without_cycles(parents) == {"c": "b", "b": "a", "a": None, "own": None, "x": "a"}
