"""The query language on single runs."""

from __future__ import annotations

import pytest

from migration_pipeline.neptune_server.nql import NqlError, compile_query
from migration_pipeline.neptune_server.store import HistogramValue, Run, Store


@pytest.fixture(scope="module")
def run() -> Run:
    run = Store().project("w/p").create_run("run-1", experiment="first")
    run.set("lr", "float", 0.1)
    run.set("nan", "float", float("nan"))
    run.set("epochs", "int", 2**53 + 1)
    run.set("name", "string", 'a "quoted" \\ name')
    run.set("odd name: (x)", "string", "found")
    run.set("amp", "bool", True)
    run.set("started", "datetime", 1_704_110_400_000)  # 2024-01-01T12:00:00Z
    run.set("tags", "string_set", ("best", "final"))
    run.set("state", "run_state", "running")
    run.set("art", "artifact", "00ff")
    run.set_file("file", b"", "a.txt", "text/plain")
    run.extend_float_series("loss", [0, 1, 2], [1, 2, 3], [3.0, 1.0, 2.0])
    run.extend_series("log", "string_series", [(0, 1, "start"), (1, 2, "done")])
    run.extend_series(
        "hist", "histogram_series", [(0, 1, HistogramValue("COUNTING", (0, 1), (1,)))]
    )
    return run


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('`lr`:float == "0.1"', True),
        ('`lr`:float > "0.1"', False),
        ('`lr`:float >= "0.1"', True),
        ('`lr`:float < "1e3"', True),
        ('`lr`:float != "0.2"', True),
        ('`nan`:float == "nan"', False),
        ('`nan`:float < "1"', False),
        ('`epochs`:int == "9007199254740993"', True),
        ('`epochs`:int == "9007199254740992"', False),
        ('`epochs`:int > "0.5"', True),
        (r'`name`:string == "a \"quoted\" \\ name"', True),
        (r'`name`:string MATCHES "^a .quoted. \\\\ name$"', True),
        ('`name`:string CONTAINS "quoted"', True),
        ('`name`:string NOT CONTAINS "quoted"', False),
        ('`odd name: (x)`:string == "found"', True),
        ('`amp`:bool == "True"', True),
        ('`amp`:bool == "false"', False),
        ('`started`:datetime == "2024-01-01T13:00:00+01:00"', True),
        ('`started`:datetime > "2024-01-01T12:00:00Z"', False),
        ('`tags`:stringSet CONTAINS "best"', True),
        ('`tags`:stringSet CONTAINS "bes"', False),
        ('`tags`:stringSet NOT CONTAINS "worst"', True),
        ('`no/tags`:stringSet CONTAINS "best"', False),
        ('`no/tags`:stringSet NOT CONTAINS "best"', True),
        ('`loss`:floatSeries == "2.0"', True),
        ('last(`loss`:floatSeries) == "2"', True),
        ('min(`loss`:floatSeries) == "1"', True),
        ('max(`loss`:floatSeries) == "3"', True),
        ('average(`loss`:floatSeries) == "2"', True),
        ('variance(`loss`:floatSeries) < "0.67"', True),
        ('`log`:stringSeries == "done"', True),
        ('`log`:stringSeries == "start"', False),
        ("`lr`:float EXISTS", True),
        ("`lr`:int EXISTS", False),
        ("`lr` EXISTS", True),
        ("NOT (`missing`:int EXISTS)", True),
        ('`missing`:int == "1"', False),
        ('(`lr`:float > "0") AND (NOT (`amp`:bool == "False"))', True),
        ('(`lr`:float > "1") OR (`sys/name`:string == "first")', True),
        ('`lr`:float > "1" AND `lr`:float > "1" OR `lr`:float > "0"', True),
        ('`sys/custom_run_id`:string == "run-1"', True),
        ('(`sys/custom_run_id`:string == "x") OR (`sys/custom_run_id`:string == "run-1")', True),
        ('(`sys/custom_run_id`:string == "x") OR (`sys/custom_run_id`:string == "y")', False),
        ('`sys/id`:string == "P-1"', True),
        # As 2.x writes it.
        ('(`lr`:float = "0.1")', True),
        ("lr: float=0.1", True),
        ("(lr:float != 0.1)", False),
        ("epochs:integer = 9007199254740993", True),
        ("amp:boolean = true", True),
        ("tags:stringSet CONTAINS 'best'", True),
        ("name:string = 'a \"quoted\" \\\\ name'", True),
        (r"(name:string CONTAINS 'don\'t')", False),
        ("started:datetime >= 2024-01-01T12:00:00Z", True),
        ("(started:datetime > 2024-01-01T12:00:00+00:00)", False),
        ("state:experimentState = running", True),
        ("(state:experimentState != running)", False),
        ("art:artifact = 00ff", True),
        ("sys/name:string=first", True),
        ("(file:string = x) OR (missing = 1) OR file > 3", False),
    ],
)
def test_query(run: Run, query: str, expected: bool) -> None:
    assert compile_query(query)(run) is expected


@pytest.mark.parametrize(
    "query",
    [
        '`lr`:float > "many"',
        '`lr`:decimal == "1"',
        "`lr`:float == ",
        "`lr`:float",
        '(`lr`:float == "1"',
        '`lr`:float == "1") AND',
        '`lr`:float NOT == "1"',
        '`name`:string MATCHES "("',
        "`hist`:histogramSeries EXISTS",
        "`files`:fileRefSeries EXISTS",
        '`amp`:bool == "maybe"',
        '`started`:datetime > "soon"',
        "`unclosed:string EXISTS",
        "lr:float = 'unclosed",
        "lr:float =< 1",
        "lr:float = > 1",
        "(lr:float = 1))",
        "lr:float = 1 2",
        "lr:double = 1",
    ],
)
def test_what_is_not_a_query(query: str) -> None:
    with pytest.raises(NqlError):
        compile_query(query)


def test_ten_thousand_names_are_one_look_up(run: Run) -> None:
    names = " OR ".join(f'(`sys/custom_run_id`:string == "run-{n}")' for n in range(10_000))
    assert compile_query(names)(run)
