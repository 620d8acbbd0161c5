"""Hostile names of attributes."""

from __future__ import annotations

from migration_pipeline_tests.contract.making import (
    START,
    Row,
    curve,
    of,
    param,
)

PUNCTUATION = "!\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~ "

DATASETS = [
    of(
        "names that collide once cleaned",
        *(
            param(f"n/{name}", "int", i)
            for i, name in enumerate(("a b", "a?b", "a*b", "a_b", "a.b", "A_B", "ä_b", "a_b "))
        ),
        *(row for n in ("x?", "x*", "x_", "X_") for row in curve(f"m/{n}", 3)),
        *(Row(f"f/{n}", "file", n.encode()) for n in ("a#b", "a%2eb", "a_b", "A_b", "a\\b")),
        *(Row(f"s/{n}", "string_series", n, "1", START) for n in ("l#", "l%", "l_")),
    ),
    of(
        "names of 1,000 characters",
        *(param(f"long/{'n' * 1000}{i}", "int", i) for i in range(3)),
        *(row for i in range(2) for row in curve(f"long/{'m' * 1000}{i}", 2)),
        *(Row(f"{'d' * 300}/{'é' * 300}{i}", "file", b"%d" % i) for i in range(2)),
        Row("deep/" + "/".join(["d"] * 200), "file", b"deep"),
    ),
    of(
        "names with every punctuation and in other scripts",
        *(param(f"p/{c}x{c}", "string", c) for c in PUNCTUATION),
        *(row for c in PUNCTUATION for row in curve(f"m/{c}{c}", 1)),
        *(Row(f"f/{c}{c}", "file", c.encode()) for c in PUNCTUATION),
        param("данные/обучение", "float", 1.0),
        *curve("損失/訓練", 2),
        Row("файлы/картинка", "file", b"1"),
    ),
    of(
        "names like paths",
        *(
            param(name, "int", i)
            for i, name in enumerate(
                ("a//b", "/a", "a/", ".", "..", "../x", "a/./b", "a/../b", "a")
            )
        ),
        *(row for n in ("c//d", "/c", "c/.", "..", "c") for row in curve(n, 2)),
        *(Row(n, "file", n.encode()) for n in ("f//g", "/f", "f/..", "../f", "f", "f/g/h", "con")),
        *(
            Row(n, "string_series", n, "1", START)
            for n in ("l", "l/m", "l.jsonl", "../l", "l/m/..")
        ),
    ),
    of(
        "a file that is also a directory",
        Row("a", "file", b"1"),
        Row("a/b", "file", b"2"),
        Row("a/b/c", "file", b"3"),
        Row("a/b/c.txt", "file", b"4"),
        Row("a/b", "file_series", b"5", "1", START),
    ),
    of(
        "one path, two types",
        param("mixed", "int", 1),
        param("mixed", "string", "one"),
        *curve("mixed", 3),
        Row("mixed", "file", b"m"),
    ),
    of(
        "a name that is also another's prefix",
        param("p", "int", 1),
        param("p/q", "int", 2),
        param("p/q/r", "int", 3),
        *curve("m", 3),
        *curve("m/n", 4),
        *curve("m/n/o", 5),
        Row("s", "string_series", "s", "1", START),
        Row("s/t", "string_series", "t", "1", START),
    ),
]
