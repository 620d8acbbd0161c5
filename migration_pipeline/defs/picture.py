"""A small picture of some curves, so that a person sees at a glance that data arrived."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from migration_pipeline.archive.archive import ArchivedRun
from migration_pipeline.archive.schema import micros_from_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SERIES = 4
MAX_RUNS = 6
_MAX_ROWS = 200_000
"""Read of each run; a series is drawn as far as these rows go."""
_MAX_POINTS = 300
"""Drawn of each curve."""
_LARGEST = 1e300
"""Infinities and what no axis can show are left out: a picture must not stop an export."""

Floats = npt.NDArray[np.float64]
Curves = dict[str, list[tuple[str, Floats, Floats]]]
"""Path → (run, steps, values)."""


def some_curves(runs: Sequence[ArchivedRun]) -> Curves:
    """A few series of a few runs, sorted by step and thinned out."""
    curves: Curves = {}
    for run in runs[:MAX_RUNS]:
        for path, (steps, values) in _read(run, set(curves)).items():
            curves.setdefault(path, []).append((run.key.run, steps, values))
    return curves


def _read(run: ArchivedRun, wanted: set[str]) -> dict[str, tuple[Floats, Floats]]:
    pieces: dict[str, list[tuple[Floats, Floats]]] = {}
    rows = 0
    columns = ["attribute_path", "step", "float_value"]
    for batch in run.batches(columns=columns, types=["float_series"]):
        paths = batch.column(0)
        codes, names = np.asarray(paths.indices), paths.dictionary.to_pylist()
        micros, _ = micros_from_steps(batch.column(1))
        values = np.asarray(batch.column(2))
        for code in dict.fromkeys(codes.tolist()):
            name = names[code]
            if name in wanted or name in pieces or (not wanted and len(pieces) < MAX_SERIES):
                here = codes == code
                pieces.setdefault(name, []).append((micros[here] / 1e6, values[here]))
        rows += batch.num_rows
        if rows >= _MAX_ROWS:
            break
    return {name: _thinned(parts) for name, parts in pieces.items()}


def _thinned(parts: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    steps = np.concatenate([p[0] for p in parts])
    values = np.concatenate([p[1] for p in parts])
    order = np.argsort(steps, kind="stable")[:: max(1, len(steps) // _MAX_POINTS)]
    return steps[order], values[order]


def draw(curves: Curves) -> str:
    """The curves as Markdown with a PNG in it; empty when there are none."""
    if not curves:
        return ""
    # Imported here: it takes half a second, and most starts of this package draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2 * ((len(curves) + 1) // 2)), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    _fill(figure, curves)
    png = io.BytesIO()
    with warnings.catch_warnings():
        # The font lacks most scripts; a name in another one is drawn as boxes.
        warnings.simplefilter("ignore")
        figure.savefig(png, format="png")
    return f"![curves](data:image/png;base64,{base64.b64encode(png.getvalue()).decode()})"


def _plain(path: str) -> str:
    """A title that the font and the picture can hold."""
    shown = "".join(c if c.isprintable() else "?" for c in path)
    return shown if len(shown) <= 60 else f"…{shown[-59:]}"


def _fill(figure: Figure, curves: Curves) -> None:
    rows = (len(curves) + 1) // 2
    for index, (path, lines) in enumerate(sorted(curves.items())):
        axes = figure.add_subplot(rows, 2, index + 1)
        for _, steps, values in lines:
            shown = np.where(np.abs(values) < _LARGEST, values, np.nan)
            axes.plot(steps, shown, linewidth=0.9, marker="." if len(steps) < 3 else None)
        axes.set_title(_plain(path), fontsize=8, parse_math=False)
        axes.tick_params(labelsize=6)
