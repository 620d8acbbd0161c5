"""Cards: whatever the names and values, none is too long, and all can be read back from them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.points import Points
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.zenml import capabilities, naming
from migration_pipeline.targets.zenml.cards import (
    Card,
    CardWriter,
    Summary,
    card_value,
    named_values,
    value_of_card,
)

SEGMENTS = st.sampled_from(["a", "b", "", ".", "ü", "count", "long" * 20])
NAMES = st.one_of(
    st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join),
    st.integers(15, 30).map(lambda depth: "/".join(["d"] * depth)),
    st.text(min_size=1, max_size=20),
)
SUMMARIES = st.just({"count": 1, "min": 0.5, "max": 0.5, "last": "nan"})
VALUES = st.one_of(st.integers(), st.text(max_size=50), st.booleans(), st.lists(st.text()))


def written(values: dict[str, Any], limit: int) -> dict[str, Card]:
    cards: dict[str, Card] = {}
    writer = CardWriter("params", set(values), limit, cards.__setitem__)
    for name, value in values.items():
        writer.add(name, value)
    writer.close()
    return cards


@given(st.dictionaries(NAMES, VALUES, max_size=30), st.sampled_from([300, 2000]))
def test_names_and_values_come_back(values: dict[str, Any], limit: int) -> None:
    cards = written(values, limit)
    sent = json.loads(json.dumps(cards))
    assert named_values({**sent, "series": {"x": 1}, "paramsx": {"x": 1}}, "params") == values


@given(st.dictionaries(NAMES, SUMMARIES, max_size=30))
def test_summaries_come_back(values: dict[str, Any]) -> None:
    assert named_values(written(values, 300), "params", summaries=True) == values


@given(st.dictionaries(NAMES, st.text(max_size=200), max_size=40))
def test_no_card_is_too_long(values: dict[str, Any]) -> None:
    cards = written(values, 4000)
    assert all(len(json.dumps(card)) <= 4000 for card in cards.values())
    titles = list(cards)
    several = [f"params/{i:03d}" for i in range(len(titles))]
    assert titles == (several if len(titles) > 1 else ["params"] if values else [])


def test_the_longest_value_fits() -> None:
    can = capabilities.CAPABILITIES
    assert can.parameter_max_length is not None
    longest = {"😀" * can.key_max_length: "😀" * can.parameter_max_length, "b": 1}
    cards = written(longest, capabilities.CARD_MAX_LENGTH)
    assert len(cards) == 2
    assert max(len(json.dumps(card)) for card in cards.values()) < 65_535


def test_names_stand_as_a_person_expects_them() -> None:
    values = {"lr": 0.1, "model/depth": 3, "model/width": 4, "lr/decay": 1, "a//b": 2, "/x": 3}
    assert written(values, 60_000) == {
        "params": {
            "lr": 0.1,
            "model": {"depth": 3, "width": 4},
            "lr/decay": 1,
            "a": {"": {"b": 2}},
            "": {"x": 3},
        }
    }


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("int", 2**53, 2**53),
        ("int", 2**53 + 1, "9007199254740993"),
        ("int", -(2**63), "-9223372036854775808"),
        ("float", 1 / 3, 1 / 3),
        ("float", math.inf, "inf"),
        ("float", -0.0, -0.0),
        ("bool", False, False),
        ("string", "nan", "nan"),
        ("string_set", ["b", "a, c"], ["b", "a, c"]),
        ("datetime", -62_000_000_000_001, "0005-04-19T09:46:39.999Z"),
    ],
)
def test_values_on_cards(kind: str, value: Any, shown: Any) -> None:
    assert repr(card_value(kind, value)) == repr(shown)
    back = value_of_card(kind, json.loads(json.dumps(card_value(kind, value))))
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("int", True), ("bool", 1), ("string", 1), ("int", "x"), ("float", []), ("string_set", "a")],
)
def test_what_is_not_of_the_type(kind: str, shown: Any) -> None:
    with pytest.raises(ValueError, match=r"is not of type|invalid literal"):
        value_of_card(kind, shown)


def _points(steps: list[float | None], values: list[float]) -> Points:
    none = np.array([step is None for step in steps])
    micros = np.array([int((step or 0) * 1_000_000) for step in steps])
    zeros, no = np.zeros(len(steps), dtype=np.int64), np.zeros(len(steps), dtype=bool)
    return Points(micros, none, zeros, no, np.array(values), no)


def test_summary_of_a_series() -> None:
    """The last value is that of the largest step, the later one of two, wherever it comes."""
    summary = Summary()
    summary.update(_points([2, 9, 9], [5.0, math.nan, 1.5]))
    summary.update(_points([3, -1], [-math.inf, 7.0]))
    assert summary.shown() == {"count": 5, "min": "-inf", "max": 7.0, "last": 1.5}
    empty = Summary()
    empty.update(_points([None, 1], [1.0, math.nan]))
    assert empty.shown() == {"count": 2, "min": 1.0, "max": 1.0, "last": "nan"}


# --- names ------------------------------------------------------------------------------------

IDS = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(["1", "٣", "latest", "Latest", "a/b", "a_b", "a b", " a", "x" * 300, "\n"]),
)


@given(st.lists(IDS, unique=True, max_size=20))
def test_no_two_runs_have_one_name(ids: list[str]) -> None:
    keys = [RunKey("p/q", run, kind) for run in ids for kind in ("run", "model")]
    names = [naming.version_name(key) for key in keys]
    assert len(set(names)) == len(names)
    for name in names:
        assert 0 < len(name) <= capabilities.NAME_MAX_LENGTH
        assert not name.isnumeric()
        assert name.lower() not in naming.STAGES
        assert not set(name) & set("\t\n\r\v\f:")


def test_names_are_those_of_neptune_exporter() -> None:
    plain, prefixed = ProjectMapping(), ProjectMapping(name_prefix="old")
    assert naming.model_name("team/project", plain) == "neptune-export-team-project"
    assert naming.model_name("team/project", prefixed) == "old-neptune-export-team-project"
    assert naming.version_name(RunKey("p/q", "v1.2")) == "v1.2"
    assert naming.version_name(RunKey("p/q", "RUN-12")) == "RUN-12"


def test_names_that_would_meet() -> None:
    """`a-b/c` and `a/b-c` are two projects; what looks like a digest is none."""
    mapping = ProjectMapping()
    first, second = (naming.model_name(p, mapping) for p in ("a-b/c", "a/b-c"))
    assert second == "neptune-export-a-b-c"
    assert first.startswith("neptune-export-a-b-c-")
    assert naming.model_name(f"a/b-c-{first[-16:]}", mapping) != first
    own = naming.version_name(RunKey("p/q", "a/b"))
    assert naming.version_name(RunKey("p/q", own)) != own


def test_limits_are_those_of_the_installed_zenml() -> None:
    from zenml import __version__, constants
    from zenml.enums import ModelStages

    assert capabilities.CARD_MAX_LENGTH < constants.TEXT_FIELD_MAX_LENGTH
    assert capabilities.DESCRIPTION_MAX_LENGTH * 4 < constants.TEXT_FIELD_MAX_LENGTH
    assert constants.STR_FIELD_MAX_LENGTH == capabilities.NAME_MAX_LENGTH
    assert constants.STR_FIELD_MAX_LENGTH == capabilities.TAG_MAX_LENGTH
    assert capabilities.LIST_PAGE <= constants.PAGE_SIZE_MAXIMUM
    assert set(ModelStages.values()) == naming.STAGES
    assert __version__.startswith(capabilities.TESTED)
