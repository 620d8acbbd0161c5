"""Keys: injective, reversible, and such that Dagster and a database carry them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.manifest import KINDS, Kind
from migration_pipeline.defs.partitions import (
    MAX_BYTES,
    key_of,
    prefix_of,
    project_of,
    project_partition,
    run_partition,
)

PROJECTS = st.from_regex(r"[a-zA-Z0-9_.|%, é-]{1,40}/[a-zA-Z0-9_.-]{1,40}", fullmatch=True)
# Any text, lone surrogates included, and texts of the characters that the rules are about.
IDS = st.one_of(
    st.text(st.characters(), max_size=60),
    st.text("%,.|~2CE\n\u2028é", max_size=60),
    st.sampled_from(["%model|x", "model|x", "%model_version|", "%project|%model|x"]),
    st.builds(lambda text, n: text * n, st.text(min_size=1, max_size=9), st.integers(1, 300)),
)
KEYS = st.builds(RunKey, PROJECTS, IDS, st.sampled_from(KINDS))


@given(KEYS)
def test_no_run_is_refused_and_its_key_can_be_carried(run: RunKey) -> None:
    key = run_partition(run)
    assert len(key.encode()) <= MAX_BYTES
    assert "..." not in key
    assert "," not in key
    assert all(c.isprintable() or c.isspace() or ord(c) > 159 for c in key)
    assert not set(key) & set("\0\a\b\f\n\r\t\v\u2028\u2029")
    assert key.startswith(prefix_of(run.project))


@given(KEYS)
def test_a_key_is_read_back_unless_it_was_cut(run: RunKey) -> None:
    key = run_partition(run)
    assert project_of(key) == run.project
    if "%~" in key:
        with pytest.raises(ValueError, match="was cut"):
            key_of(key)
    else:
        assert key_of(key) == run


@given(KEYS, KEYS)
def test_two_runs_have_two_keys(one: RunKey, other: RunKey) -> None:
    assert len({run_partition(one), run_partition(other)}) == len({one, other})


@given(PROJECTS, IDS)
def test_kinds_of_one_id_have_keys_of_their_own(project: str, run: str) -> None:
    assert len({run_partition(RunKey(project, run, kind)) for kind in KINDS}) == len(KINDS)


@given(st.text("ab", min_size=600, max_size=700), st.text("ab", max_size=3))
def test_long_runs_that_differ_in_their_end_have_two_keys(run: str, end: str) -> None:
    assert (run_partition(RunKey("w/p", run + end)) == run_partition(RunKey("w/p", run))) == (
        end == ""
    )


@pytest.mark.parametrize(
    ("project", "run", "key"),
    [
        ("ws/digits", "run 1 | ä/b", "ws/digits|run 1 | ä/b"),
        ("ws/digits", "a,b", "ws/digits|a%2Cb"),
        ("ws/digits", "a....b", "ws/digits|a%2E%2E%2E.b"),
        ("ws/digits", "100%", "ws/digits|100%25"),
        ("ws/digits", "a\nb", "ws/digits|a%0Ab"),
        ("w|s/digits", "a", "w%7Cs/digits|a"),
    ],
)
def test_keys_stay_readable(project: str, run: str, key: str) -> None:
    assert run_partition(RunKey(project, run)) == key
    assert project_partition(project) == key.partition("|")[0]


@pytest.mark.parametrize(
    ("kind", "run", "key"),
    [
        ("model", "TAB-MOD", "acme/tabular|%model|TAB-MOD"),
        ("model_version", "TAB-MOD-1", "acme/tabular|%model_version|TAB-MOD-1"),
        ("project", "TAB", "acme/tabular|%project|TAB"),
        ("run", "%model|TAB-MOD", "acme/tabular|%25model|TAB-MOD"),
    ],
)
def test_other_kinds_are_named(kind: Kind, run: str, key: str) -> None:
    assert run_partition(RunKey("acme/tabular", run, kind)) == key
