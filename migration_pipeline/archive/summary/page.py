"""The HTML page of a project: one file that opens from disk, without a server or a network.

Everything that comes from the archive stands in the page as JSON and is put on it as text by
`page.js`; its content security policy allows that script, plotly.js, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any, TextIO

import numpy as np
from plotly.offline import get_plotlyjs

from migration_pipeline.archive.summary import as_json
from migration_pipeline.archive.summary.curves import Curve, Curves, Floats
from migration_pipeline.archive.summary.figures import RunFigures

_FOLDER = Path(__file__).parent
_DATA = "<!-- data -->"


def write_page(
    file: TextIO, head: Mapping[str, Any], runs: Iterable[RunFigures], curves: Curves
) -> None:
    """
    Args:
        head: figures of the project, as `summary.json` has them, and who wrote them.
        runs: in the listing's order, by which curves name them.
    """
    before, after = _frame(str(head["project"]), bool(curves.curves))
    about_curves = {"limit": curves.limit, "left_out": curves.left_out}
    file.write(before)
    _block(file, "head", [as_json.dump({**head, "curves": about_curves})])
    _block(file, "runs", _listed(as_json.dump(as_json.run(run)) for run in runs))
    _block(file, "curves", _listed(as_json.dump(_curve(curve)) for curve in curves.curves))
    file.write(after)


def _listed(items: Iterable[str]) -> Iterable[str]:
    yield "["
    for number, item in enumerate(items):
        yield ("," if number else "") + item
    yield "]"


def _block(file: TextIO, name: str, pieces: Iterable[str]) -> None:
    """A script element of JSON. Without a `<` nothing in it can end it."""
    file.write(f'<script type="application/json" id="{name}">')
    file.writelines(piece.replace("<", "\\u003c") + "\n" for piece in pieces)
    file.write("</script>\n")


def _curve(curve: Curve) -> list[Any]:
    drawable = curve.values[np.isfinite(curve.values)]
    extremes = [float(drawable.min()), float(drawable.max())] if len(drawable) else None
    return [
        curve.run,
        curve.metric,
        curve.points,
        curve.hidden,
        _number(curve.last),
        extremes,
        _exact(curve.steps),
        _exact(curve.values),
    ]


def _number(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinities."""
    return value if value is None or np.isfinite(value) else str(value)


def _exact(numbers: Floats) -> dict[str, str]:
    """As plotly takes arrays: the bits of doubles, or of 32-bit integers where that is the same."""
    with np.errstate(invalid="ignore"):
        whole = numbers.astype("<i4")
    same = np.array_equal(whole, numbers)
    data = whole if same else numbers.astype("<f8")
    bits = base64.b64encode(data.tobytes()).decode("ascii")
    return {"dtype": "i4" if same else "f8", "bdata": bits}


def _frame(project: str, with_plotly: bool) -> tuple[str, str]:
    """What stands before and after the data."""
    scripts = [(_FOLDER / "page.js").read_text(encoding="utf-8")]
    if with_plotly:
        scripts.insert(0, get_plotlyjs())
    page = Template((_FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(project),
        script_hashes=" ".join(f"'sha256-{_sha256(script)}'" for script in scripts),
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )
    before, _, after = page.partition(_DATA)
    return before, after


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
