"""Hostile values: integers, doubles, steps, times and texts."""

from __future__ import annotations

from migration_pipeline_tests.contract.making import (
    DENORMAL,
    INF,
    LARGEST,
    NAN,
    START,
    DataSet,
    Row,
    RunData,
    curve,
    floats,
    of,
    param,
)

DATASETS = [
    of(
        "every parameter type",
        param("p/int", "int", 7),
        param("p/float", "float", 0.1),
        param("p/bool", "bool", True),
        param("p/no", "bool", False),
        param("p/string", "string", "text"),
        param("p/datetime", "datetime", START + 1),
        param("p/early", "datetime", -62_000_000_000_001),
        param("p/set", "string_set", ["b", "a", "a, c", ""]),
        param("p/empty set", "string_set", []),
    ),
    of(
        "integers beyond 2**53 and 2**31",
        *(
            param(f"i/{i}", "int", value)
            for i, value in enumerate((2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), -1, 0))
        ),
    ),
    of(
        "NaN, ±inf, −0.0, denormals as parameters",
        *(
            param(f"f/{i}", "float", value)
            for i, value in enumerate((NAN, INF, -INF, -0.0, DENORMAL, 1e308, 1 / 3, 1e22))
        ),
    ),
    of(
        "NaN, ±inf, −0.0, denormals as points",
        floats(
            "m/odd",
            (
                (str(i), START + i, value)
                for i, value in enumerate((NAN, INF, -INF, -0.0, 0.0, DENORMAL, LARGEST, 0.1, NAN))
            ),
        ),
    ),
    of(
        "stand-ins that meet",
        floats(
            "m/meet",
            [
                ("1", START, INF),
                ("1", START, LARGEST),
                ("2", START, -0.0),
                ("2", START, 0.0),
                ("3", None, 1.0),
                ("3", START, 1.0),
                ("4", START, NAN),
                ("4", START, NAN),
            ],
        ),
    ),
    of(
        "decimal, negative, huge steps",
        floats("m/decimal", ((f"{i}.{i:02d}", START + i, float(i)) for i in range(1, 50))),
        floats("m/29", [("0.29", START, 1.0), ("0.57", START, 2.0), ("0.58", START, 3.0)]),
        floats("m/negative", [("-3.25", START, 1.0), ("-0.000001", START, 2.0)]),
        floats("m/huge", [("123456789.123456", START, 1.0), ("999999999999", START, 2.0)]),
    ),
    of(
        "repeated and unordered steps",
        floats(
            "m/disorder",
            [(str(s), START + i, float(v)) for i, (s, v) in enumerate(((5, 1), (1, 2), (5, 3)))],
        ),
        floats("m/equal", [("1", START, 1.0)] * 3 + [("2", START, 1.0)]),
        floats("m/back", [(str(i % 7), START + i, float(i)) for i in range(30)]),
    ),
    of(
        "points without time",
        floats("m/none", [(str(i), None, float(i)) for i in range(5)]),
        floats("m/some", [(str(i), None if i % 2 else START + i, float(i)) for i in range(6)]),
        floats("m/early", [("1", -5, 1.0), ("2", -86_400_000 * 4000, 2.0), ("3", 0, 3.0)]),
    ),
    of("no creation time", curve("m/a"), plain=True),
    of("no time at all", floats("m/a", [("1", None, 1.0), ("2", None, 2.0)]), plain=True),
    of(
        "texts of 10 kB and 1 MB",
        param("t/empty", "string", ""),
        param("t/blank", "string", "  "),
        param("t/10 kB", "string", "x" * 10_000),
        param("t/1 MB", "string", "é" * 1_000_000),
        param("t/6000", "string", "y" * 6000),
        param("t/6001", "string", "z" * 6001),
        param("t/lines", "string", "a\r\nb\n\tc"),
        param("t/null", "string", "a\0b"),
        param("t/scripts", "string", "日本語 עברית 😀 \u2028 e\u0301"),
        param("t/json", "string", '{"a": "\\"}'),
        param("t/long set", "string_set", ["tag " * 50] * 60),
    ),
    # Of one series the second part goes back to steps that the first has, with other values.
    DataSet(
        "two parts that share steps",
        (
            RunData(
                "RUN-1",
                (
                    *curve("m/a", 20),
                    *floats("m/a", ((str(i), START + 50 + i, -float(i)) for i in range(20))),
                    *floats("m/a", [("19", START + 69, -19.0)]),
                ),
                plain=True,
                adopted=True,
            ),
        ),
    ),
    of(
        "empty strings",
        param("t/empty", "string", ""),
        param("t/empty in a set", "string_set", [""]),
        *(Row("log", "string_series", "", str(i), START + i) for i in range(3)),
        param("sys/description", "string", ""),
        param("sys/name", "string", ""),
    ),
]
