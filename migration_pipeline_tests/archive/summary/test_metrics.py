"""Which series are drawn: those asked for by name or expression, else a few by a rule of thumb."""

from __future__ import annotations

import pytest

from migration_pipeline.archive.summary.metrics import MOST_METRICS, choose
from migration_pipeline.errors import InvalidRegexError

SERIES = [
    ("eval/f1", 9, 90),
    ("layers/1/norm", 10, 999),
    ("layers/2/norm", 10, 998),
    ("monitoring/cpu_error", 10, 9999),
    ("train/loss", 10, 900),
    ("val (1)/loss", 8, 80),
    ("val/loss", 3, 30),
]


def test_by_itself_it_takes_telling_names_that_most_runs_have() -> None:
    chosen = choose(SERIES, [])
    assert chosen.paths == ("eval/f1", "train/loss", "val (1)/loss", "val/loss")
    assert not chosen.asked


def test_without_telling_names_it_takes_what_most_runs_have() -> None:
    series = [("a", 1, 1), ("b", 2, 1), ("c", 2, 5), ("d", 3, 3), ("e", 1, 9), ("sys/y", 8, 9)]
    assert choose(series, []).paths == ("b", "c", "d", "e")


def test_the_machine_is_drawn_only_where_nothing_else_is() -> None:
    machine = [("monitoring/x", 9, 9), ("sys/y", 8, 9)]
    assert choose([("a", 1, 1), *machine], []).paths == ("a",)
    assert choose(machine, []).paths == ("monitoring/x", "sys/y")


def test_a_name_is_a_path_before_it_is_an_expression() -> None:
    assert choose(SERIES, ["val (1)/loss"]).paths == ("val (1)/loss",)
    assert choose([("a.b", 1, 1), ("axb", 1, 1)], ["a.b"]).paths == ("a.b",)
    assert choose([("axb", 1, 1)], ["a.b"]).paths == ("axb",)


def test_expressions_are_searched_and_nothing_is_drawn_twice() -> None:
    chosen = choose(SERIES, ["^val", "loss$", "no such"])
    assert chosen.paths == ("val (1)/loss", "val/loss", "train/loss")
    assert (chosen.asked, chosen.unmatched, chosen.left_out) == (True, ("no such",), 0)


def test_more_than_a_page_holds_are_counted() -> None:
    series = [(f"m{i:03}", 1, 1) for i in range(MOST_METRICS + 7)]
    chosen = choose(series, ["m"])
    assert chosen.paths == tuple(path for path, _, _ in series[:MOST_METRICS])
    assert chosen.left_out == 7


def test_neither_a_path_nor_an_expression() -> None:
    with pytest.raises(InvalidRegexError, match=r"metrics: 'loss\(' is not a regular expression"):
        choose(SERIES, ["loss("])
    assert choose([("loss(", 1, 1)], ["loss("]).paths == ("loss(",)
