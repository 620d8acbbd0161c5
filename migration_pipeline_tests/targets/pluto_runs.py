"""What the tests of Pluto load."""

from __future__ import annotations

from migration_pipeline.targets.loading import LoadResult
from migration_pipeline.targets.target import ProjectMapping
from migration_pipeline_tests.contract.making import (
    INF,
    NAN,
    START,
    Row,
    floats,
    param,
)
from migration_pipeline_tests.contract.making import histogram as of_neptune

NO_MAPPING = ProjectMapping()
EVEN = of_neptune("COUNTING", [0.0, 1.0, 2.0], [3.0, 4.0])
UNEVEN = of_neptune("COUNTING", [0.0, 1.0, 9.0], [3.0, 4.0])
ROWS = (
    param("lr", "float", 0.1),
    param("layers", "int", 2**53 + 1),
    param("width", "int", 7),
    param("on", "bool", True),
    param("born", "datetime", START + 5),
    param("odd", "float", NAN),
    param("names", "string_set", ["a", "b,c"]),
    param("sys/tags", "string_set", ["b", "a, c", "group:other"]),
    param("sys/group_tags", "string_set", ["g"]),
    param("sys/description", "string", "what for"),
    param("sys/owner", "string", "someone"),
    param("sys/name", "string", "an experiment"),
    param("sys/id", "string", "ABC-1"),
    param("sys/failed", "bool", True),
    *floats("loss", [("0.5", START + 1, 0.25), ("1", START + 2, NAN), ("2", START + 3, INF)]),
    *floats("acc", [("0.5", START + 1, 0.5), ("-1", START + 2, 0.75), ("0.5", START + 9, 0.125)]),
    Row("log", "string_series", "line ü", "1", START + 4),
    Row("log", "string_series", "without time", "2", None),
    Row("even", "histogram_series", EVEN, "1", START),
    Row("uneven", "histogram_series", UNEVEN, "1", START),
    Row("f/weights", "file", b"weights", extension=".bin"),
    Row("f/images", "file_series", b"one", "3", START + 6, extension=".png"),
    Row("f/images", "file_series", b"two", "3.5", START + 7, extension=".png"),
)


def wrong(result: LoadResult) -> list[str]:
    return [str(run.error or run.verdict) for run in result.runs if not run.good]
