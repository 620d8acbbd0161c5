"""Keys: injective, reversible, and such that Dagster and a database carry them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs.partitions import (
    MAX_BYTES,
    prefix_of,
    project_of,
    project_partition,
    run_of,
    run_partition,
)

PROJECTS = st.from_regex(r"[a-zA-Z0-9_.|%, é-]{1,40}/[a-zA-Z0-9_.-]{1,40}", fullmatch=True)
# Any text, lone surrogates included, and texts of the characters that the rules are about.
IDS = st.one_of(
    st.text(st.characters(), max_size=60),
    st.text("%,.|~2CE\n\u2028é", max_size=60),
    st.builds(lambda text, n: text * n, st.text(min_size=1, max_size=9), st.integers(1, 300)),
)


@given(PROJECTS, IDS)
def test_no_run_is_refused_and_its_key_can_be_carried(project: str, run: str) -> None:
    key = run_partition(RunKey(project, run))
    assert len(key.encode()) <= MAX_BYTES
    assert "..." not in key
    assert "," not in key
    assert all(c.isprintable() or c.isspace() or ord(c) > 159 for c in key)
    assert not set(key) & set("\0\a\b\f\n\r\t\v\u2028\u2029")
    assert key.startswith(prefix_of(project))


@given(PROJECTS, IDS)
def test_a_key_is_read_back_unless_it_was_cut(project: str, run: str) -> None:
    key = run_partition(RunKey(project, run))
    assert project_of(key) == project
    if "%~" in key:
        with pytest.raises(ValueError, match="was cut"):
            run_of(key)
    else:
        assert run_of(key) == run


@given(st.tuples(PROJECTS, IDS), st.tuples(PROJECTS, IDS))
def test_two_runs_have_two_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = {run_partition(RunKey(*one)), run_partition(RunKey(*other))}
    assert len(keys) == len({one, other})


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
