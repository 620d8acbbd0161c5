"""Names: legal, never two alike, the same in any order; what is legal already stays."""

from __future__ import annotations

import posixpath
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.mapping.names import NameRules, assign_names

KEYS = NameRules(r"\w.\- :/", 250, path=True)
FILES = NameRules(r"\w .=,()@+\-/", 250, path=True, tree=True)
STRICT = NameRules("A-Za-z0-9_", 40, first="A-Za-z_")
RULES = pytest.mark.parametrize("rules", [KEYS, FILES, STRICT], ids=["keys", "files", "strict"])
NAMES = st.sets(
    st.one_of(
        st.text(max_size=12),
        st.text(alphabet="aAäb/._-# ?", max_size=8),
        st.lists(st.sampled_from(["a", "b", "A", "..", "", ".", "a.b"]), max_size=5).map("/".join),
        st.text(alphabet="ab/", min_size=240, max_size=300),
    ),
    max_size=12,
)


def same(names: set[str]) -> dict[str, str]:
    return {name: name for name in names}


def folded(name: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return plain.casefold()


@RULES
@given(names=NAMES)
def test_injective_legal_and_within_limits(rules: NameRules, names: set[str]) -> None:
    given_names = assign_names(same(names), rules)
    assert given_names.keys() == names
    assert len({folded(n) for n in given_names.values()}) == len(names)
    for name in given_names.values():
        assert 0 < len(name) <= rules.max_length
        assert re.fullmatch(f"[{rules.characters}]+", name)
        if rules.path:
            assert posixpath.normpath(name) == name
            assert not name.startswith(("/", ".."))
            assert name != "."
        if rules.first:
            assert re.match(f"[{rules.first}]", name)
        if rules.tree:
            assert all(0 < len(s.encode()) <= 255 for s in name.split("/"))


@given(names=NAMES)
def test_no_file_is_a_directory(names: set[str]) -> None:
    paths = {folded(n) for n in assign_names(same(names), FILES).values()}
    for path in paths:
        parent = posixpath.dirname(path)
        while parent:
            assert parent not in paths
            parent = posixpath.dirname(parent)


@RULES
@given(names=NAMES, order=st.randoms(use_true_random=False))
def test_order_changes_nothing(rules: NameRules, names: set[str], order: object) -> None:
    shuffled = sorted(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign_names({n: n for n in shuffled}, rules) == assign_names(same(names), rules)


@RULES
@given(names=NAMES)
def test_legal_names_stay(rules: NameRules, names: set[str]) -> None:
    once = set(assign_names(same(names), rules).values())
    assert assign_names(same(once), rules) == same(once)


def test_examples() -> None:
    names = assign_names(same({"a/b", "a?b", "a*b", "a_b", "loss", "Loss"}), KEYS)
    assert names["a/b"] == "a/b"
    assert names["a_b"] == "a_b"
    assert re.fullmatch("a_b-[0-9a-f]{8}", names["a?b"])
    assert {names["loss"], names["Loss"]} != {"loss", "Loss"}
    files = assign_names(same({"f/a", "f/a/b.txt", "f/x#.png", "f/x%.png"}), FILES)
    assert files["f/a/b.txt"] == "f/a/b.txt"
    assert re.fullmatch("f/a-[0-9a-f]{8}", files["f/a"])
    assert sorted(files[n] for n in ("f/x#.png", "f/x%.png"))[1] == "f/x_.png"
    assert re.fullmatch("f/x_-[0-9a-f]{8}.png", min(files["f/x#.png"], files["f/x%.png"]))
