"""Hostile runs: what they are called, what is said of them, what they descend from."""

from __future__ import annotations

from migration_pipeline_tests.contract.making import (
    START,
    DataSet,
    RunData,
    curve,
    of,
    param,
)

DATASETS = [
    of("empty run", plain=True),
    of("only sys attributes"),
    of(
        "a failed run, with dates",
        param("sys/creation_time", "datetime", START - 5_000_000),
        param("sys/modification_time", "datetime", START + 5_000_000),
        param("sys/failed", "bool", True),
        param("sys/owner", "string", "ada"),
        param("sys/description", "string", "what it was for\nand why"),
        param("sys/name", "string", "an experiment"),
    ),
    DataSet(
        "no sys/name",
        (
            RunData("RUN-1", (param("sys/id", "string", "ABC-1"), *curve("m/a", 2))),
            RunData("RUN-2", (param("n", "int", 1),), plain=True),
        ),
    ),
    DataSet(
        "archived runs",
        (
            RunData("OLD-1", (param("sys/archived", "bool", True), *curve("m/a", 2))),
            RunData("OLD-2", (param("sys/trashed", "bool", True), *curve("m/a", 2))),
            RunData("OLD-3", (param("sys/archived", "bool", True),), parent="OLD-1"),
        ),
    ),
    DataSet(
        "equal run ids in two projects",
        (
            RunData("RUN-1", tuple(curve("m/a", 3))),
            RunData("RUN-1", tuple(curve("m/a", 5)), project="team/project2"),
        ),
    ),
    DataSet(
        "quotes and whatever else in run ids",
        tuple(
            RunData(name, (param("n", "int", i),))
            for i, name in enumerate(
                (
                    "it's",
                    'a "b"',
                    "both ' and \"",
                    "back\\slash\\",
                    "100%",
                    "under_score",
                    "underXscore",
                    "semi;colon",
                    "a|b",
                    "`tick`",
                    "日本",
                    "new\nline",
                    "x" * 400,
                    " ",
                )
            )
        ),
    ),
    DataSet(
        "quotes and whatever else in sys/name",
        tuple(
            RunData(f"RUN-{i}", (param("sys/name", "string", name),))
            for i, name in enumerate(("it's", "a/b", "%_", "x" * 600, " ", "\\", "日本"))
        ),
    ),
    DataSet(
        "forks",
        (
            RunData("grandchild", tuple(curve("m/a", 2)), parent="child"),
            RunData("child", tuple(curve("m/a", 2)), parent="root"),
            RunData("root", tuple(curve("m/a", 2))),
            RunData("orphan", tuple(curve("m/a", 2)), parent="not in the archive"),
            RunData("cycle a", tuple(curve("m/a", 2)), parent="cycle b"),
            RunData("cycle b", tuple(curve("m/a", 2)), parent="cycle a"),
            RunData("own parent", tuple(curve("m/a", 2)), parent="own parent"),
        ),
    ),
]
