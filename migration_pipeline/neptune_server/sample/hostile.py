"""`acme/hostile`: what Neptune 3.x can hold and migrations lose.

Each run is about one kind of trouble, named by its tag, under a run id that is trouble of its own.
Only what the protocol carries: steps from 0 to below 1e12 with six decimals, run ids without a
slash and up to 730 bytes, attribute paths up to 1024 bytes, histograms up to 512 bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from migration_pipeline.neptune_server.sample.record import Run, micros, milliseconds

_START = milliseconds("2025-06-02T08:00:00.123")
_MINUTE = 60_000

INTEGERS = {
    "2**53+1": 2**53 + 1,
    "2**60+7": 2**60 + 7,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "zero": 0,
}
"""A double holds the last only."""
FLOATS = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-0.0": -0.0,
    "smallest denormal": 5e-324,
    "largest": 1.7976931348623157e308,
    "one third": 1 / 3,
    "0.1+0.2": 0.1 + 0.2,
}
COLLIDING = ("a.b", "a_b", "a/b", "a b", "a-b", "A/b", "a/B", "A_B", "a__b", "a:b", "a%2Fb")
"""They meet when cleaned, or when case does not count."""
LONG_NAME = "long/" + "n" * 895
WIDEST_NAME = "ж" * 512
NAMES = (
    *COLLIDING,
    LONG_NAME,
    LONG_NAME[:-1] + "m",  # equal to the one before in its first 899 characters
    WIDEST_NAME,
    "m",
    "m/x",
    "m/x/y",
    "punctuation !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~",
    "!negated & and | or",  # operators of neptune-query's extended regular expressions
    "^anchored.*$",
    " padded ",
    "日本語/損失",
    "обучение/потеря",
    "العربية/خسارة",
    "🚀/🧪",
    "café",  # one code point for é, and below two
    "cafe\u0301",
    "system/cpu",
    "params",
    "con",
    "../../escape",
    "_step",
    "step",
)
TEXTS = {
    "empty": "",
    "space": " ",
    "lines": "first\nsecond\r\nthird\n\n",
    "controls": "bell \x07, escape \x1b[31mred\x1b[0m, tab \t, backspace \x08, form feed \x0c",
    "10 kB": "".join(chr(ord("a") + n % 26) for n in range(10_240)),
    "over 5999 characters": "ü" * 6_001,
    "scripts": "日本語, обучение, العربية, 🧪, 🏳\ufe0f\u200d🌈, e\u0301 ≠ é",
    "marks": "\u202eright to left\u202c, \ufeffbyte order mark, zero\u200bwidth",
    "quotes": 'it\'s "quoted", `ticked`, back\\slash, {braces}, ${HOME}, %s, <b>tag</b>',
    "looks like null": "null",
    "looks like NaN": "NaN",
    "looks like a number": "007",
    "looks like a formula": "=1+1",
    "json": '{"a": [1, 2, {"b": null}]}',
    "line separators": "next\u0085line\u2028paragraph\u2029end",
}


def _times(run: Run, n: int) -> int:
    """The time of the n-th point: uneven and in milliseconds."""
    return run.created + 1_000 + n * 733 + n * n % 17


def _every_type(run: Run) -> None:
    run.configs({"all/float": 0.5, "all/int": 7, "all/string": "text", "all/bool": True})
    run.config("all/datetime", "datetime", milliseconds("2025-02-28T23:59:59.999"))
    run.config("all/string_set", "string_set", ["b", "a", "c"])
    run.file("all/file", b"a file\n", ".txt")
    run.config("mixed", "int", 1)
    for n in range(12):
        step, time = micros(n), _times(run, n)
        run.point("all/float_series", step, time, 1 / (n + 1))
        run.text("all/string_series", step, time, f"line {n}")
        run.histogram("all/histogram_series", step, time, range(5), [n, n + 1, 0, 2])
        if n % 4 == 0:
            run.file_at("all/file_series", step, time, f"{n}\n".encode(), ".txt")


def _steps(run: Run) -> None:
    several = {
        "quarters": [f"{n // 4}.{n % 4 * 25:02d}" for n in range(40)],
        "tenths": [f"{n // 10}.{n % 10}" for n in range(50)],
        "millionths": ["0.000001", "0.000002", "0.000010", "0.999999", "1.000001"],
        # as doubles not whole when multiplied by 100: 28.999999999999996 …
        "inexact as doubles": ["0.29", "0.57", "0.58", "1.15", "4.35", "8.21", "16.08", "64.1"],
        # below 2**33 each millionth is a double of its own, and the protocol sends doubles
        "far": ["0", "4294967296.000001", "8589934591.999999", "999999999999"],
        "one point": ["3"],
        "sparse": [str(n * n * n) for n in range(30)],
    }
    for name, steps in several.items():
        for n, step in enumerate(steps):
            run.point(f"steps/{name}", micros(step), _times(run, n), math.sin(n))
    for n, step in enumerate(several["inexact as doubles"]):
        run.text("steps/text", micros(step), _times(run, n), f"at {step}")
        run.file_at("steps/file", micros(step), _times(run, n), f"at {step}".encode(), ".txt")
        run.histogram("steps/histogram", micros(step), _times(run, n), [0, 1], [n])
    for n in range(4):  # all points at one time
        run.point("steps/same time", micros(n), _times(run, 0), n)
    for n in range(6):  # a clock that was set back
        run.point("steps/time runs back", micros(n), _times(run, 6 - n), n)


def _numbers(run: Run) -> None:
    for name, integer in INTEGERS.items():
        run.config(f"int/{name}", "int", integer)
    for n, (name, number) in enumerate(FLOATS.items()):
        run.config(f"float/{name}", "float", number)
        run.point("points/all", micros(n), _times(run, n), number)
    for name in ("nan", "inf", "-inf"):
        for n in range(5):
            run.point(f"points/only {name}", micros(n), _times(run, n), FLOATS[name])
    for n in range(20):  # the gaps of a loss that was not always logged
        run.point("points/holes", micros(n), _times(run, n), math.nan if n % 3 else n / 7)
    run.config("mixed", "float", 1.5)
    run.config("bool/true", "bool", True)
    run.config("bool/false", "bool", False)
    for name, when in {
        "before 1970": "1969-07-20T20:17:40.001",
        "first": "1970-01-01T00:00:00.000",
        "far": "2261-12-31T23:59:59.999",
    }.items():
        run.config(f"datetime/{name}", "datetime", milliseconds(when))


def _names(run: Run) -> None:
    for n, name in enumerate(NAMES):
        run.config(f"config/{name}" if len(name) < 512 else name, "int", n)
    for n, name in enumerate(name for name in NAMES if len(name.encode()) < 1000):
        for step in range(2):
            run.point(f"metric/{name}", micros(step), _times(run, step), n + step / 2)
    for step in range(3):  # without a folder before them
        for name in ("m", "m/x", "A/b", "a/B", "a.b"):
            run.point(name, micros(step), _times(run, step), step)


def _texts(run: Run) -> None:
    for name, text in TEXTS.items():
        run.config(f"text/{name}", "string", text)
    run.config("mixed", "string", "text")
    for n, text in enumerate(TEXTS.values()):
        run.text("texts", micros(n), _times(run, n), text)
    for n in range(2_000):
        line = "" if n % 50 == 49 else f"[{n:04d}] läuft … {n % 7 * '▇'} {math.cos(n):.6f}"
        run.text("log", micros(n), _times(run, n), line)
    run.text("one line", micros(0), _times(run, 0), "alone")


def _sets(run: Run) -> None:
    run.config("sets/empty", "string_set", [])
    run.config("sets/of the empty string", "string_set", [""])
    run.config("sets/order", "string_set", ["z", "a", "m", "B", "b"])
    run.config("sets/commas", "string_set", ["a,b", "a", "b", "a, b", ","])
    run.config("sets/quotes", "string_set", ["it's", '"quoted"', "[list]", "back\\slash", "\n"])
    run.config("sets/scripts", "string_set", ["🧪", "日本語", "é", "e\u0301"])
    run.config("sets/many", "string_set", [f"tag {n}" for n in range(300)])


def _files(run: Run) -> None:
    run.file("files/empty", b"", ".txt")
    for name in ("files/a.b", "files/a_b", "files/A_b"):
        run.file(name, f"the bytes of {name}\n".encode(), ".txt")
    for name in ("files/twin 1", "files/twin 2"):
        run.file(name, b"the same bytes\n", ".bin")
    run.file("files/no extension", b"#!/bin/sh\necho hello\n")
    run.file("files/日本語 🧪", "内容\n".encode(), ".txt")
    run.file("files/../../escape", b"must stay below the run\n", ".txt")
    run.file("files/all bytes.bin", bytes(range(256)) * 16, ".bin")
    run.file("files/model.tar.gz", b"\x1f\x8b not really", ".gz")
    run.file(f"files/{'deep/' * 20}leaf", b"deep\n", ".txt")
    run.file(f"files/{'n' * 700}", b"long name\n", ".txt")
    for n in range(6):
        content = b"" if n == 2 else b"same" if n > 3 else f"frame {n}".encode()
        run.file_at("files/series", micros(f"{n}.5"), _times(run, n), content, ".txt")
    run.file_at("files/series of one", micros(0), _times(run, 0), b"one", ".json")


def _histograms(run: Run) -> None:
    several: dict[str, tuple[list[float], list[float], str]] = {
        "uneven": ([-10, -1, -0.1, 0, 0.001, 1000], [1, 20, 300, 4000, 5], "COUNTING"),
        "one bin": ([0, 1], [42], "COUNTING"),
        "all zero": ([0, 1, 2, 3], [0, 0, 0], "COUNTING"),
        "large counts": ([0, 1, 2], [2.0**53, 2.0**62], "COUNTING"),
        "density": ([0, 0.25, 0.5, 1], [0.4, 1.2, 1.2], "DENSITY"),
        "tiny": ([0, 5e-324, 1e-300, 1e300], [1, 2, 3], "COUNTING"),
        "widest": ([n / 512 for n in range(513)], [n % 97 for n in range(512)], "COUNTING"),
    }
    for name, (edges, values, kind) in several.items():
        for n in range(3):
            grown = [value * (n + 1) if kind == "COUNTING" else value for value in values]
            run.histogram(f"histograms/{name}", micros(n), _times(run, n), edges, grown, kind)


def _little(run: Run) -> None:
    run.point("loss", micros(0), _times(run, 0), 0.5)
    run.config("name of its own", "string", run.run_id)


def _nothing(run: Run) -> None:
    """Only what the service adds."""


LONG_ID = "long-" + "0123456789" * 29 + "-last"
_RUNS: dict[str, tuple[str, Callable[[Run], None]]] = {
    "run.1 ü[x]": ("every type", _every_type),
    "run_1 ü[x]": ("steps", _steps),
    'it\'s a "quoted" run': ("numbers", _numbers),
    "comma, and; semicolon": ("names", _names),
    "...": ("texts", _texts),
    "100%2Fpercent%": ("files", _files),
    "acme|hostile|run": ("histograms", _histograms),
    " leading and trailing ": ("sets", _sets),
    LONG_ID: ("little", _little),
    "CON": ("little", _little),
    "con": ("little", _little),
    "🚀 café": ("little", _little),
    "🚀 cafe\u0301": ("little", _little),
    "back\\slash $HOME `tick` *?": ("little", _little),
    "empty run": ("nothing", _nothing),
}
"""Run id → what it is about."""


def hostile_runs() -> list[Run]:
    """The runs of the project, in the order of their creation."""
    runs = []
    for n, (run_id, (about, fill)) in enumerate(_RUNS.items()):
        run = Run(run_id, _START + n * 7 * _MINUTE, tags=[] if about == "nothing" else [about])
        run.experiment = None if run_id == "CON" else f"hostile {about}"
        run.archived = run_id == "con"
        run.failed = about == "sets"
        fill(run)
        runs.append(run)
    runs[0].description = TEXTS["lines"] + TEXTS["scripts"]
    runs[0].group_tags = ["a,b", "sweep 1"]
    return runs + _forks(_START + 3 * 60 * _MINUTE)


def _forks(start: int) -> list[Run]:
    """A root with two children, one of them with a fork of a fork of a fork.

    `third` forks at a step that is not whole, `sibling` beyond its parent's last point; `first`
    logs at the fork step itself. `first` stays in its parent's experiment, the others leave it.
    """
    root = Run("fork: root", start, experiment="lineage")
    first = Run("fork: 1", start + 20 * _MINUTE, experiment="lineage", parent=root)
    first.fork_step = micros("4")
    second = Run("fork: 1.2", start + 40 * _MINUTE, experiment="lineage, left", parent=first)
    second.fork_step = micros("8")
    third = Run("fork: 1.2.3", start + 60 * _MINUTE, parent=second)
    third.fork_step = micros("9.29")
    sibling = Run("fork: 2 ü|x", start + 61 * _MINUTE, experiment="lineage", parent=root)
    sibling.fork_step = micros("100.5")
    own_steps = {
        root: [str(n) for n in range(10)],
        first: [str(n) for n in range(4, 9)],
        second: ["8.5", "9", "9.25", "9.5", "10"],
        third: ["9.3", "9.31", "10", "11"],
        sibling: ["100.500001", "101"],
    }
    for run, steps in own_steps.items():
        run.tags = [f"depth {run.depth}"]
        run.config("depth", "int", run.depth)
        for n, step in enumerate(steps):
            run.point("loss", micros(step), _times(run, n), 1 / (1 + float(step)) + run.depth)
            run.text("log", micros(step), _times(run, n), f"{run.run_id} at {step}")
        run.histogram("weights", micros(steps[-1]), _times(run, 9), [0, 1, 2], [run.depth, 1])
        run.file_at("frames", micros(steps[-1]), _times(run, 9), run.run_id.encode(), ".txt")
    return list(own_steps)
