"""Archives of small runs that Neptune 3.x can carry: any type, any name, any value it allows."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from hypothesis import strategies as st

from migration_pipeline_tests.archive.making import Row, row

MAX_EXACT_STEP = 2**33 * 10**6 - 1
"""In millionths; above it the protocol's doubles do not tell two of them apart."""
TIMES = st.sampled_from([0, -1, 1_700_000_000_123]) | st.integers(-(10**13), 10**14)
TEXTS = st.text(max_size=20)
FLOATS = st.floats(width=64) | st.sampled_from([nan, -0.0, float("inf"), 5e-324])
PATHS = st.one_of(
    st.text("ab./_- é", min_size=1, max_size=6),
    st.text(min_size=1, max_size=12),
).filter(lambda path: not path.startswith("sys/"))
RUN_IDS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=12)

HISTOGRAMS = st.integers(1, 5).flatmap(
    lambda bins: st.fixed_dictionaries(
        {
            "type": st.sampled_from(["COUNTING", "DENSITY"]),
            "edges": st.lists(FLOATS, min_size=bins + 1, max_size=bins + 1),
            "values": st.lists(FLOATS, min_size=bins, max_size=bins),
        }
    )
)
VALUES = {
    "float": FLOATS,
    "int": st.integers(-(2**63), 2**63 - 1) | st.just(2**53 + 1),
    "string": TEXTS,
    "bool": st.booleans(),
    "datetime": TIMES,
    "string_set": st.lists(TEXTS, max_size=4, unique=True),
    "float_series": FLOATS,
    "string_series": TEXTS,
    "histogram_series": HISTOGRAMS,
    "file": st.binary(max_size=30),
    "file_series": st.binary(max_size=30),
}


@dataclass(frozen=True)
class MadeRun:
    """A run id, its rows with the contents of files in them, and the run it is forked from."""

    run: str
    rows: list[Row]
    parent: str | None = None


@st.composite
def attributes(draw: st.DrawFn, path: str) -> list[Row]:
    """The rows of one attribute; steps of a series increase."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    if not kind.endswith("_series"):
        return [row(path, kind, draw(VALUES[kind]))]
    steps = draw(st.lists(st.integers(0, MAX_EXACT_STEP), min_size=1, max_size=6, unique=True))
    return [row(path, kind, draw(VALUES[kind]), step, draw(TIMES)) for step in sorted(steps)]


@st.composite
def runs(draw: st.DrawFn) -> list[MadeRun]:
    """One to three runs of a project; later ones may be forks of earlier ones."""
    made: list[MadeRun] = []
    for run in draw(st.lists(RUN_IDS, min_size=1, max_size=3, unique=True)):
        paths = draw(st.lists(PATHS, max_size=6, unique=True))
        rows = [one for path in paths for one in draw(attributes(path))]
        parent = draw(st.sampled_from([None, *(m.run for m in made)]))
        if parent is not None:
            rows.append(row("sys/forking/parent", "string", parent))
            rows.append(row("sys/forking/step", "float", draw(st.floats(0, 1e9))))
        made.append(MadeRun(run, rows, parent))
    return made
