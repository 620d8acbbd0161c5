"""Values as text come back with the same bits; facts are shown as far as a tracker can."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.terms import RunFacts
from migration_pipeline.mapping.values import (
    cut,
    float_from_json,
    float_json,
    from_text,
    shown,
    tags_text,
    to_text,
)


def bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


@given(st.floats())
def test_floats(value: float) -> None:
    assert bits(from_text("float", to_text("float", value))) == bits(value)
    through = json.loads(json.dumps(float_json(value), allow_nan=False))
    again = float_from_json(through)
    assert again is not None
    assert bits(again) == bits(value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_and_times(value: int) -> None:
    assert from_text("int", to_text("int", value)) == value
    if abs(value) < 2**62:  # the smallest int64 is numpy's "not a time"
        assert from_text("datetime", to_text("datetime", value)) == value


def test_a_time_can_be_read_by_a_person() -> None:
    assert to_text("datetime", 1_735_689_600_123) == "2025-01-01T00:00:00.123Z"


@given(st.lists(st.text()))
def test_string_sets(value: list[str]) -> None:
    assert from_text("string_set", to_text("string_set", value)) == value
    assert list(parse_tags(tags_text(value, None))) == value


@pytest.mark.parametrize(
    ("kind", "text"), [("int", "1.0"), ("bool", "yes"), ("float", "x"), ("string_set", "[1]")]
)
def test_text_of_another_type(kind: str, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 — Python's own messages
        from_text(kind, text)


@given(st.text(max_size=300), st.integers(60, 200))
def test_cut_is_visible(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short) <= limit
    assert short == text or f"cut: {len(text)} characters" in short


@given(st.lists(st.text(max_size=80), max_size=50), st.integers(200, 500))
def test_tags_that_do_not_fit(tags: list[str], limit: int) -> None:
    text = tags_text(tags, limit)
    assert len(text) <= limit
    held = json.loads(text)
    assert held == tags or held[:-1] == tags[: len(held) - 1]


def test_shown_is_what_remains() -> None:
    facts = RunFacts("r", tags=("a", "b" * 300), description="d" * 300, owner="o")
    short = shown(facts, 200)
    assert (short.name, short.owner, short.tags[0]) == ("r", "o", "a")
    assert len(short.description) == 200
    assert "1 more" in short.tags[1]
