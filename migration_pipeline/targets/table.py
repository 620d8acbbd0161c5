"""The README's table of what each target holds and loses, made from the capabilities.

`python -m migration_pipeline.targets.table` writes it between its two marks in README.md; a test
fails while it is not what the capabilities say. No SDK is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from migration_pipeline.errors import ConfigError
from migration_pipeline.mapping.terms import Capabilities, Holds
from migration_pipeline.targets.registry import capabilities_of, target_names

BEGIN, END = "<!-- targets:begin -->", "<!-- targets:end -->"
COMMAND = "python -m migration_pipeline.targets.table"
_BESIDE = "kept beside"
_SIDECAR = "files `neptune/…` of the run"


def table(targets: Iterable[str] | None = None) -> str:
    """Markdown: a row a subject, a column a target; None: all registered ones."""
    names = sorted(target_names() if targets is None else targets)
    held = [capabilities_of(name) for name in names]
    lines = [["", *names], ["---"] * (len(names) + 1)]
    lines += [[subject, *(said(can) for can in held)] for subject, said in SUBJECTS.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def written(readme: str) -> str:
    """The README with the table as it is to be.

    Raises:
        ConfigError: its two marks are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(
            f"the README has no table of targets: {BEGIN} and {END} are not in it",
            f"Put both lines where the table is to be, then run `{COMMAND}`.",
        )
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _names(can: Capabilities) -> str:
    if can.verbatim:
        return "as they are"
    said = f"up to {can.key_max_length:,} characters"
    return f"{said}, normalised paths" if can.key_is_path else said


def _steps(can: Capabilities) -> str:
    said = "exact"
    if can.integer_steps:
        said = "whole numbers: × a power of ten"
    elif can.double_steps:
        said = f"doubles; further digits {_BESIDE}"
    if can.monotonic_steps:
        said += "; growing only"
    if can.step_range:
        low, high = can.step_range
        said += f"; from {low:,} to {high:,}, others {_BESIDE}"
    if can.one_point_per_step:
        said += f"; one point a step, further ones {_BESIDE}"
    return said


def _value(field: str) -> Callable[[Capabilities], str]:
    def said(can: Capabilities) -> str:
        return "held" if getattr(can, field) else _lost(can)

    return said


def _lost(can: Capabilities) -> str:
    return "lost" if can.files == "no" else _BESIDE


def _times(can: Capabilities) -> str:
    if can.point_times == "dropped":
        return _lost(can)
    said = "held" if can.point_times == "optional" else f"held; that there is none is {_lost(can)}"
    dates = [_date(ms) for ms in (can.earliest_time_ms, can.latest_time_ms) if ms is not None]
    if len(dates) == 2:
        said += f"; from {dates[0]} to {dates[1]}"
    elif can.earliest_time_ms is not None:
        said += f"; from {dates[0]}"
    return said


def _date(milliseconds: int) -> str:
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return str((start + timedelta(milliseconds=milliseconds)).year)


def _parameters(can: Capabilities) -> str:
    said = "own types" if can.parameter_types == "native" else "text"
    if can.parameter_max_length is not None:
        said += f" up to {can.parameter_max_length:,} characters, longer ones {_lost(can)}"
    return said


def _holds(field: str) -> Callable[[Capabilities], str]:
    words: dict[Holds, str] = {
        "native": "as such",
        "file": "as a file",
        "tag": "as a tag",
        "no": "not",
    }

    def said(can: Capabilities) -> str:
        how: Holds = getattr(can, field)
        return words[how]

    return said


def _limits(can: Capabilities) -> str:
    counts = {
        "points a series, of more a sample": can.points_kept_per_series,
        "series a run": can.series_per_run,
        "parameters a run": can.parameters_per_run,
        "runs a project": can.runs_per_project,
    }
    said = [f"{count:,} {what}" for what, count in counts.items() if count is not None]
    return "; ".join([*said, *map(str, can.rates)]) or "none known"


def _beside(can: Capabilities) -> str:
    if can.verbatim:
        return "nothing"
    if can.files == "no":
        return "nowhere"
    return can.beside or _SIDECAR


SUBJECTS: dict[str, Callable[[Capabilities], str]] = {
    "names": _names,
    "steps of float series": _steps,
    "equal points, repeated": _value("repeated_points"),
    "NaN": _value("nan"),
    "±infinity": _value("infinity"),
    "−0.0": _value("negative_zero"),
    "times of points": _times,
    "parameters": _parameters,
    "text series": _holds("string_series"),
    "histogram series": _holds("histogram_series"),
    "files": _holds("files"),
    "forks": _holds("forks"),
    "published limits": _limits,
    "what is kept beside lies in": _beside,
}
"""Subject → what capabilities say of it, in a few words."""


def main(path: str = "README.md") -> None:
    """Writes the table into the README."""
    readme = Path(path)
    readme.write_text(written(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
