"""`python odd.py`: names and values that are legal in Neptune 2.x and break migrations."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

import neptune
from neptune.types import File

NAMES = ("a.b", "a_b", "A_b", "a b", "ä/b", "日本 語", "100%", "a:b", "#1")
TEXTS = {
    "empty": "",
    "lines": "first\nsecond\r\n\tthird",
    "scripts": "日本語 עברית 😀 e\u0301",
    "json": '{"a": "\\"", "b": null}',
    "longest": "x" * 16_384,
}
INTEGERS = {"least": -(2**31), "most": 2**31 - 1, "zero": 0}
FLOATS = {"third": 1 / 3, "least": 5e-324, "most": 1.7976931348623157e308, "negative zero": -0.0}


def quiet_run(name: str, **more: Any) -> Any:
    return neptune.init_run(
        name=name,
        source_files=[],
        git_ref=False,
        capture_hardware_metrics=False,
        capture_stdout=False,
        capture_stderr=False,
        **more,
    )


def odd_values(at: float) -> None:
    run = quiet_run("odd names and values", custom_run_id="odd one, 'quoted'")
    for number, name in enumerate(NAMES):
        run[f"names/{name}"] = number
        run[f"series/{name}"].append(number + 0.5, step=0.29, timestamp=at)
        content = f"the bytes of {name}"
        run[f"files/{name}"].upload(File.from_content(content, extension="txt"))
    for kind, values in (("text", TEXTS), ("int", INTEGERS), ("float", FLOATS)):
        for name, value in values.items():
            run[f"{kind}/{name}"] = value
    run["when"] = datetime(1999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
    for step in (0.000001, 0.29, 0.57, 0.58, 1.0, 4294967296.5):
        run["steps/decimal"].append(step * 2, step=step, timestamp=at + step % 60)
    run["texts"].extend(
        ["", "x" * 1000, "日本語\n"], steps=[0, 1, 2.5], timestamps=[at, at + 1, at + 2]
    )
    run["files/no extension"].upload(File.from_content(b"\0\1\2", extension=""))
    run["files/empty"].upload(File.from_content(b"", extension="bin"))
    run["sets/emptied"].upload_files(["README.md"])
    run["sets/emptied"].delete_files(["README.md"])
    run["sets/nested"].upload_files(["conf", "data/val.csv"])
    run["sys/tags"].add(["with, comma", "ü"])
    run.stop()


def old_names(at: float) -> None:
    """What the client 0.x wrote lies under these prefixes."""
    run = quiet_run("from an old client")
    run["parameters/learning rate"] = 0.1
    run["properties/text of a file"] = "1"
    run["logs/batch loss"].append(0.7, step=1, timestamp=at)
    run["artifacts/dir/text file artifact"].upload(File.from_content("old"))
    run.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", type=float, required=True, help="seconds since 1970")
    at = parser.parse_args().at
    odd_values(at)
    old_names(at)
    quiet_run("nothing logged").stop()


if __name__ == "__main__":
    main()
