"""Named hostile data sets: what every target must carry, or say beforehand that it cannot.

Each is one or more runs, written into an archive by the package's own writer. A target passes when
each run is loaded, read back and found equal, but for the losses that its capabilities name.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.archive.schema import VALUE_COLUMN, make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.mapping.steps import step_micros

PROJECT = "team/project"
START = 1_700_000_000_000
"""Creation time of every run, ms."""
INF, NAN = math.inf, math.nan
PUNCTUATION = "!\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~ "


@dataclass(frozen=True)
class Row:
    """One row; a file's value is its bytes, a directory's a dict of name → bytes.

    A file has the extension of its attribute unless `extension` says another.
    """

    path: str
    type: str
    value: Any
    step: str | None = None
    time: int | None = None
    extension: str | None = None


@dataclass(frozen=True)
class RunData:
    """One run of a data set."""

    run: str
    rows: tuple[Row, ...] = ()
    project: str = PROJECT
    kind: Kind = "run"
    parent: str | None = None
    plain: bool = False
    """Without the sys attributes that every real run has."""


@dataclass(frozen=True)
class DataSet:
    name: str
    runs: tuple[RunData, ...] = field(default_factory=tuple)


def param(path: str, kind: str, value: Any) -> Row:
    return Row(path, kind, value)


def floats(path: str, points: Iterable[tuple[str | None, int | None, float | None]]) -> list[Row]:
    return [Row(path, "float_series", value, step, time) for step, time, value in points]


def curve(path: str, count: int = 20, start: int = START) -> list[Row]:
    return floats(path, ((str(i), start + i, 1 / (i + 1)) for i in range(count)))


def of(name: str, *rows: Row | list[Row], **run: Any) -> DataSet:
    """A data set of one run."""
    flat = [r for row in rows for r in (row if isinstance(row, list) else [row])]
    return DataSet(name, (RunData("RUN-1", tuple(flat), **run),))


def _histogram(kind: str, edges: list[float], values: list[float]) -> dict[str, Any]:
    return {"type": kind, "edges": edges, "values": values}


_DENORMAL = struct.unpack("<d", struct.pack("<Q", 1))[0]

DATASETS = [
    of("empty run", plain=True),
    of("only sys attributes"),
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
        "large integers",
        *(
            param(f"i/{i}", "int", value)
            for i, value in enumerate((2**31, 2**53 + 1, 2**63 - 1, -(2**63), -1, 0))
        ),
    ),
    of(
        "odd doubles as parameters",
        *(
            param(f"f/{i}", "float", value)
            for i, value in enumerate((NAN, INF, -INF, -0.0, _DENORMAL, 1e308, 1 / 3, 1e22))
        ),
    ),
    of(
        "odd doubles as points",
        floats(
            "m/odd",
            (
                (str(i), START + i, value)
                for i, value in enumerate(
                    (NAN, INF, -INF, -0.0, 0.0, _DENORMAL, 1.7976931348623157e308, 0.1, NAN)
                )
            ),
        ),
    ),
    of(
        "stand-ins that meet",
        floats(
            "m/meet",
            [
                ("1", START, INF),
                ("1", START, 1.7976931348623157e308),
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
        "texts",
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
    of(
        "names that collide",
        *(
            param(f"n/{name}", "int", i)
            for i, name in enumerate(("a b", "a?b", "a*b", "a_b", "a.b", "A_B", "ä_b", "a_b "))
        ),
        *(row for n in ("x?", "x*", "x_", "X_") for row in curve(f"m/{n}", 3)),
        *(Row(f"f/{n}", "file", n.encode()) for n in ("a#b", "a%2eb", "a_b", "A_b", "a\\b")),
        *(Row(f"s/{n}", "string_series", n, "1", START) for n in ("l#", "l%", "l_")),
    ),
    of(
        "long names",
        *(param(f"long/{'n' * 1000}{i}", "int", i) for i in range(3)),
        *(row for i in range(2) for row in curve(f"long/{'m' * 1000}{i}", 2)),
        *(Row(f"{'d' * 300}/{'é' * 300}{i}", "file", b"%d" % i) for i in range(2)),
        Row("deep/" + "/".join(["d"] * 200), "file", b"deep"),
    ),
    of(
        "punctuation and scripts",
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
    of("many attributes", *(param(f"many/{i}", "int", i) for i in range(1000))),
    of(
        "many tags",
        param("sys/tags", "string_set", [f"tag, {i}" for i in range(1000)]),
        param("sys/group_tags", "string_set", ["a,b", "ü", "'q'", '"']),
        param("sys/description", "string", "d" * 9000),
    ),
    of(
        "dates and status",
        param("sys/creation_time", "datetime", START - 5_000_000),
        param("sys/modification_time", "datetime", START + 5_000_000),
        param("sys/failed", "bool", True),
        param("sys/owner", "string", "ada"),
        param("sys/description", "string", "what it was for\nand why"),
        param("sys/name", "string", "an experiment"),
    ),
    DataSet(
        "equal run ids in two projects",
        (
            RunData("RUN-1", tuple(curve("m/a", 3))),
            RunData("RUN-1", tuple(curve("m/a", 5)), project="team/project2"),
        ),
    ),
    DataSet(
        "odd run ids",
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
        "odd experiment names",
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
        Row("f/set", "file_set", {"a.txt": b"a", "sub/b.txt": b"b", "sub/we#ird %2e": b"c"}),
        Row("f/art", "artifact", b'[{"path": "s3://x"}]'),
    ),
    of(
        "histograms",
        Row("h/one bin", "histogram_series", _histogram("COUNTING", [0.0, 1.0], [3.0]), "1", START),
        Row(
            "h/uneven",
            "histogram_series",
            _histogram("DENSITY", [-INF, -1.0, 0.1, 1e300, INF], [0.1, NAN, -0.0, _DENORMAL]),
            "0.5",
            START,
        ),
        *(
            Row(
                "h/many",
                "histogram_series",
                _histogram("COUNTING", [float(e) for e in range(1001)], [float(i)] * 1000),
                str(i),
                START + i,
            )
            for i in range(20)
        ),
        Row("h/no time", "histogram_series", _histogram("COUNTING", [0.0, 1.0], [1.0]), "1"),
    ),
    of(
        "text series",
        *(Row("log/out", "string_series", f"line {i}\n", str(i), START + i) for i in range(20_000)),
        Row("log/odd", "string_series", "", "1", START),
        Row("log/odd", "string_series", "\u2028\r\n\0😀", "1.000001", None),
        Row("log/odd", "string_series", "x" * 100_000, "-2", START),
    ),
]


def build(root: Path, dataset: DataSet) -> Archive:
    """Writes a data set into a new archive."""
    archive = Archive(root / "data", root / "files")
    for run in dataset.runs:
        write_run(archive, run)
    return archive


def write_run(archive: Archive, run: RunData) -> RunKey:
    """Writes one run, in two batches, so that series are cut in the middle."""
    key = RunKey(run.project, run.run, run.kind)
    rows = [*run.rows] if run.plain else [*_sys(run), *run.rows]
    with RunWriter(archive, key, "test") as writer:
        made = [_row(writer, row, i) for i, row in enumerate(rows)]
        half = len(made) // 2
        for part in (made[:half], made[half:]):
            if part:
                writer.write(make_batch(run.project, run.run, part))
        writer.commit(parent=run.parent)
    for row, item in zip(rows, made, strict=True):
        if isinstance(row.value, dict) and row.type in ("file", "file_set"):
            # The writer takes files only; directories come with archives of other tools.
            _fill(archive.files_root(run.project) / item["value"], row.value)
    return key


def _fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _sys(run: RunData) -> list[Row]:
    given = {row.path for row in run.rows}
    usual = [
        param("sys/creation_time", "datetime", START),
        param("sys/modification_time", "datetime", START + 1000),
        param("sys/custom_run_id", "string", run.run),
        param("sys/failed", "bool", False),
        param("sys/tags", "string_set", ["one", "two, three"]),
    ]
    return [row for row in usual if row.path not in given]


def _row(writer: RunWriter, row: Row, number: int) -> dict[str, Any]:
    value = row.value
    if VALUE_COLUMN[row.type] == "file_value":
        value = _file(writer, row, number)
    return {
        "path": row.path,
        "type": row.type,
        "value": value,
        "step": None if row.step is None else step_micros(row.step),
        "timestamp": row.time,
    }


def _file(writer: RunWriter, row: Row, number: int) -> str:
    staged = writer.staging_path(str(number))
    if isinstance(row.value, dict):
        _fill(staged, row.value)
    else:
        staged.write_bytes(row.value)
    extension = Path(row.path).suffix if row.extension is None else row.extension
    return writer.add_file(staged, row.path, row.step or "", extension)
