"""The terms in which archive and targets are spoken of: what a target can hold, what is lost there,
how a project is mapped, what a run is beside its attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

Holds = Literal["native", "file", "tag", "no"]
"""How a target holds something: as its own kind of thing, as a file, as a tag, or not."""


class Rate(BaseModel):
    """How much a target takes in how much time. Each rate counts by itself."""

    model_config = ConfigDict(frozen=True)

    what: Literal["points", "parameters", "files"]
    """Points of float series, parameters, or uploads."""
    count: int
    seconds: float
    says: str
    """Where the figure comes from, to be read after "by": `published limit of …`."""

    def __str__(self) -> str:
        period = {1.0: "second", 60.0: "minute", 3600.0: "hour"}.get(self.seconds)
        return f"{self.count:,} {self.what} a {period or f'{self.seconds:g} seconds'}"


class Capabilities(BaseModel):
    """What a target can hold, and how much at a time. Every number names its source beside it."""

    model_config = ConfigDict(frozen=True)

    verbatim: bool = False
    """Keeps the archive's rows as they are: nothing is renamed, changed or kept beside."""
    key_max_length: int
    """Characters of a metric's or parameter's name."""
    key_characters: str
    """The allowed characters, as the inside of a regular expression's class."""
    key_first_character: str = ""
    """The same for the first character; empty: as the others."""
    key_is_path: bool = True
    """Whether a name must be a normalised path (no `//`, `.`, `..`, leading or trailing `/`)."""
    key_folded: bool = True
    """Names that differ only in case or accents are told apart with a digest, for back ends whose
    databases compare so."""
    key_reserved: tuple[str, ...] = ()
    """Names that mean something else there."""
    key_moved: tuple[tuple[str, str], ...] = ()
    """Beginnings of names that are the target's own or ours there → what stands for them."""
    keys_together: bool = False
    """Parameters, series and files are one kind of thing: no two have the same name."""
    keys_apart: bool = False
    """What is a name is not the beginning of others: with `a/b` there is no `a`."""
    integer_steps: bool
    """Float series take whole steps only."""
    double_steps: bool = False
    """Decimal steps are doubles: what a double does not hold exactly is kept beside."""
    one_point_per_step: bool = False
    """A series has one point a step; further ones are kept beside."""
    monotonic_steps: bool = False
    """Steps of a float series grow; points whose step does not are kept beside."""
    step_range: tuple[int, int] | None = None
    """Whole steps that can be shown; points beyond are kept beside. None: any."""
    steps_shown_every: int = 1
    """Points of other steps than multiples of this are kept beside and not shown."""
    repeated_points: bool
    """Whether two equal points (step, time, value) of one series are kept as two."""
    nan: bool
    infinity: bool
    negative_zero: bool
    """Whether -0.0 comes back with its sign."""
    point_times: Literal["optional", "required", "dropped"]
    earliest_time_ms: int | None = None
    """Points before this time (ms since 1970) are refused; None: no limit."""
    latest_time_ms: int | None = None
    """The same for points after it."""
    parameter_max_length: int | None = None
    """Characters of a parameter's value; longer ones are kept in full beside it."""
    parameter_nul: bool = True
    """Whether U+0000 may stand in text."""
    parameter_types: Literal["text", "native"] = "text"
    string_series: Holds
    text_points: bool = False
    """Text series have steps and times as float series do, by the same rules; lines that do not fit
    are kept beside (`texts`)."""
    text_point_max_length: int | None = None
    """Characters of one of their lines."""
    histogram_series: Holds
    files: Holds
    forks: Holds
    tag_max_length: int | None = None
    points_per_request: int
    parameters_per_request: int
    rates: tuple[Rate, ...] = ()
    """What the vendor limits. Only for estimates of time, as is `measured`."""
    measured: Rate | None = None
    """What was reached where nothing is limited."""
    points_kept_per_series: int | None = None
    """Of a float series with more points the target keeps a sample."""
    series_per_run: int | None = None
    parameters_per_run: int | None = None
    runs_per_project: int | None = None
    file_characters: str = r"\w .=,-"
    """The allowed characters in the path of a file, beside `/`."""
    file_path_max_length: int = 700
    files_per_run: int | None = None
    """Files of a run beyond so many are left out: a cap that the user set."""
    beside: str = ""
    """Where what it cannot hold is kept; empty: in files beside the run (`sidecar`)."""
    parallel_runs: int = 4
    """How many runs may be loaded at the same time; more gives nothing or is refused."""
    assumed: tuple[str, ...] = ()
    """Fields above that no public source settles: the cautious value stands there."""


@dataclass(frozen=True)
class Loss:
    """What a target cannot hold as it is, by name; decided from capabilities before the load.

    Args:
        attribute: the path it concerns.
        reason: the field's term for it, such as `infinity` or `parameter too long`.
        count: values concerned.
        kept: where the exact values are kept at the target; empty: they are not.
    """

    attribute: str
    reason: str
    count: int
    kept: str = ""


@dataclass(frozen=True)
class ProjectMapping:
    """Decisions that hold for all runs of a project at one target.

    Args:
        step_multiplier: whole steps = steps × this, exactly; 1 where steps stay as they are.
        name_prefix: put before the names of projects or experiments.
    """

    step_multiplier: int = 1
    name_prefix: str = ""


@dataclass(frozen=True)
class Content:
    """What a run was loaded from; goes into the mark of completion.

    Args:
        digest: of the content (`archive.digest`), however and by whomever it was written.
        fingerprint: of the parts' footers; set for runs without a manifest only, so that "is
            anything new?" can be answered without reading all their rows again.
        step_decimals: how many decimals the finest step of its float series has.
    """

    digest: str
    fingerprint: str = ""
    step_decimals: int = 0


@dataclass(frozen=True)
class RunFacts:
    """What a tracker shows of a run beside its attributes. Times in ms since 1970, UTC."""

    name: str
    start: int | None = None
    end: int | None = None
    failed: bool = False
    tags: tuple[str, ...] = ()
    description: str = ""
    owner: str = ""
    parent: str = ""
    """What it was forked from, as the archive says it: a run id, or a sys/id."""
    group_tags: tuple[str, ...] = ()
    experiment: str = ""
    """`sys/name`: what Neptune 3.x calls the experiment."""
    sys_id: str = ""
    fork_step: float | None = None
