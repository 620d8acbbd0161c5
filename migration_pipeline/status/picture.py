"""The picture of a status: a bar a stage, as an SVG that page and file show alike.

Drawn by hand, for a chart of four colours is no reason to load a plotting library at the end of
every job; and the reader's own fonts then write names of every script.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from migration_pipeline.status.figures import STATES, Stage, in_order

MAX_BARS = 40
WIDTH, NAMES, BAR, ROW, TOP = 900, 330, 420, 22, 30
COLOURS = {
    "verified": "#1f8a4c",
    "exported": "#2f6fd6",
    "loaded": "#86b1ef",
    "failed": "#d2453d",
    "damaged": "#e0a030",
    "missing": "#d9dde3",
}


def segments(stage: Stage) -> list[tuple[str, int]]:
    """(what, runs) from left to right; together at least the stage's total."""
    good = stage.there - stage.damaged if stage.verified is None else stage.verified
    first = "exported" if stage.verified is None else "verified"
    rest = max(0, stage.total - good)
    failed = min(stage.failed, rest)
    damaged = min(stage.damaged, rest - failed)
    loaded = min(max(0, stage.there - good - damaged), rest - failed - damaged)
    parts = [(first, good), ("loaded", loaded), ("failed", failed), ("damaged", damaged)]
    return [*parts, ("missing", rest - failed - damaged - loaded)]


def shown(stages: Sequence[Stage]) -> list[Stage]:
    """All, or those that need a look first, in the order of projects."""
    if len(stages) <= MAX_BARS:
        return in_order(stages)
    return in_order(sorted(stages, key=lambda s: STATES.index(s.state))[:MAX_BARS])


def svg(stages: Sequence[Stage]) -> str:
    """Empty when there is nothing to draw."""
    drawn = shown(stages)
    if not drawn:
        return ""
    height = TOP + ROW * len(drawn) + 8
    rows = [piece for number, stage in enumerate(drawn) for piece in _row(number, stage)]
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" '
            'font-size="12" role="img" aria-label="runs of each project at each place">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *_legend(len(drawn), len(stages)),
            *rows,
            "</svg>",
        ]
    )


def as_image(drawing: str) -> str:
    """Markdown with the picture in it."""
    return f"![status](data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()})"


def _legend(drawn: int, there: int) -> list[str]:
    pieces, x = [], 8
    for name, colour in COLOURS.items():
        pieces.append(f'<rect x="{x}" y="9" width="11" height="11" rx="2" fill="{colour}"/>')
        pieces.append(f'<text x="{x + 16}" y="19" fill="#333">{name}</text>')
        x += 34 + 7 * len(name)
    if drawn < there:
        pieces.append(f'<text x="{x + 20}" y="19" fill="#777">{drawn} of {there} bars</text>')
    return pieces


def _row(number: int, stage: Stage) -> list[str]:
    y = TOP + ROW * number
    pieces = [
        f'<text x="{NAMES - 8}" y="{y + 15}" text-anchor="end" fill="#222">'
        f"{escape(_short(stage.project, 34))} <tspan fill='#777'>{escape(stage.place)}</tspan>"
        "</text>"
    ]
    parts, x = segments(stage), float(NAMES)
    whole = sum(count for _, count in parts)
    for what, count in parts:
        if count:
            width = BAR * count / whole
            pieces.append(
                f'<rect x="{x:.1f}" y="{y + 3}" width="{max(width, 1):.1f}" height="{ROW - 6}" '
                f'fill="{COLOURS[what]}"><title>{what}: {count:,}</title></rect>'
            )
            x += width
    said = f"{stage.there:,} of {stage.total:,} · {stage.state}"
    pieces.append(f'<text x="{NAMES + BAR + 8}" y="{y + 15}" fill="#222">{escape(said)}</text>')
    return pieces


def _short(name: str, most: int) -> str:
    """What can be drawn of a name: XML takes no control characters and no lone surrogates."""
    clean = "".join(c if c.isprintable() else "�" for c in name)
    return clean if len(clean) <= most else f"{clean[: most // 2]}…{clean[-(most // 2) :]}"
