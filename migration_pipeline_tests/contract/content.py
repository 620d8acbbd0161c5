"""Much of everything, and files, histograms, text series."""

from __future__ import annotations

from migration_pipeline_tests.contract.making import (
    DENORMAL,
    INF,
    NAN,
    START,
    Row,
    curve,
    histogram,
    lines,
    of,
    param,
)

DATASETS = [
    of(
        "1,000 tags, tags with commas",
        param("sys/tags", "string_set", [f"tag, {i}" for i in range(1000)]),
        param("sys/group_tags", "string_set", ["a,b", "ü", "'q'", '"']),
        param("sys/description", "string", "d" * 9000),
    ),
    of(
        "files",
        Row("f/empty", "file", b""),
        Row("f/20 MB.bin", "file", bytes(range(256)) * 80_000),
        Row("f/text.txt", "file", b"text"),
        Row("f/same/a", "file", b"the same"),
        Row("f/same/b", "file", b"the same"),
        *(Row("f/series", "file_series", b"%d" % i, f"{i}.5", START + i) for i in range(10)),
        Row("f/again", "file_series", b"first", "1", START),
        Row("f/again", "file_series", b"second", "1", START),
        Row("f/timeless", "file_series", b"x", "1", None),
        Row("f/art", "artifact", b'[{"path": "s3://x"}]'),
    ),
    of(
        "the same file names in two sets",
        Row("f/one", "file_set", {"a.txt": b"a", "sub/b.txt": b"b", "sub/we#ird %2e": b"c"}),
        Row("f/two", "file_set", {"a.txt": b"A", "sub/b.txt": b"b"}),
        Row("f/same", "file", b"one", extension=".txt"),
        Row("F/same", "file", b"two", extension=".txt"),
    ),
    of(
        "directories",
        Row("f/deep", "file", {"/".join("abcdefgh"): b"deep", "a/x": b"", "x": b"x"}),
        Row("f/many", "file_set", {f"{i % 7}/{i}.bin": b"%d" % i for i in range(100)}),
        Row("f/empty", "file_set", {}),
    ),
    of(
        "histograms",
        Row("h/one bin", "histogram_series", histogram("COUNTING", [0.0, 1.0], [3.0]), "1", START),
        Row(
            "h/uneven",
            "histogram_series",
            histogram("DENSITY", [-INF, -1.0, 0.1, 1e300, INF], [0.1, NAN, -0.0, DENORMAL]),
            "0.5",
            START,
        ),
        *(
            Row(
                "h/many",
                "histogram_series",
                histogram("COUNTING", [float(e) for e in range(1001)], [float(i)] * 1000),
                str(i),
                START + i,
            )
            for i in range(20)
        ),
        Row("h/no time", "histogram_series", histogram("COUNTING", [0.0, 1.0], [1.0]), "1"),
    ),
    of(
        "text series of 100,000 lines",
        *lines("log/out", 100_000),
        Row("log/odd", "string_series", "", "1", START),
        Row("log/odd", "string_series", "\u2028\r\n\0😀", "1.000001", None),
        Row("log/odd", "string_series", "x" * 100_000, "-2", START),
    ),
    of(
        "5,000 attributes",
        *(param(f"many/{i}", "int", i) for i in range(4000)),
        *(row for i in range(1000) for row in curve(f"many series/{i}", 1, START + i)),
    ),
]
