"""Reads one run from Pluto in the archive's terms, independently of what wrote it.

Points come from `/api/runs/metrics`, which people's own scripts ask too (`pluto.query`): 10,000 of
a metric at most, and a sample of more, so that a long one is asked for in stretches of steps. Text
and histograms are shown to no API key; they are read from their files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.mapping.values import from_text
from migration_pipeline.targets.pluto.capabilities import METRIC_POINTS_PER_PAGE
from migration_pipeline.targets.pluto.connection import Connection
from migration_pipeline.targets.pluto.finding import MARKS, FoundRun
from migration_pipeline.targets.pluto.sending import SERIES_FILE, listed_files
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.reading import RemoteReader

_TOGETHER = 50_000
"""Points of a run whose metrics are all asked for at once."""
_LAST_STEP = 2**63 - 1
_FLAGS = {"NaN": np.nan, "Inf": np.inf, "-Inf": -np.inf}

_FOLDERS = 16
"""Folders whose files' addresses are held."""


class PlutoReader(RemoteReader):
    """Reads one run.

    Args:
        details: what Pluto says of it.
    """

    def __init__(
        self,
        to: Connection,
        run: FoundRun,
        details: Mapping[str, Any],
        key: RunKey,
        can: Capabilities,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self._to, self._run, self._details = to, run, details
        self._folders: dict[str, dict[str, str]] = {}
        super().__init__(key, to.address, can, into, only)

    # --- parameters -----------------------------------------------------------------------------

    def shown_parameters(self) -> Mapping[str, Any]:
        config = self._details.get("config") or {}
        return {name: value for name, value in config.items() if name != MARKS}

    def decode(self, kind: str, shown: Any) -> Any:
        if kind == "bool":
            return shown if isinstance(shown, bool) else _no(shown)
        if kind == "string_set":
            texts = isinstance(shown, list) and all(isinstance(item, str) for item in shown)
            return shown if texts else _no(shown)
        number = isinstance(shown, int | float) and not isinstance(shown, bool)
        if kind == "float" and number:
            return float(shown)
        if kind == "int" and isinstance(shown, int) and number:
            return shown
        return from_text(kind, shown) if isinstance(shown, str) else _no(shown)

    # --- points ---------------------------------------------------------------------------------

    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        expected = {e.name: e.rows for e in self.migration.attributes if e.type == "float_series"}
        found = set(names)
        if others and sum(expected.values()) <= _TOGETHER:
            rows = _by_name(self._rows())
            for name in rows:
                if len(rows[name]) <= _surely_all():
                    yield _piece(name, rows[name])
            found = {name for name in rows if len(rows[name]) > _surely_all()}
        elif others:
            found |= {
                log["logName"]
                for log in self._details.get("logNames") or ()
                if log.get("logType") == "METRIC"
            }
        for name in sorted(found):
            yield from self._stretch(name, 0, _LAST_STEP, expected.get(name, 0))

    def _stretch(self, name: str, low: int, high: int, expected: int = 0) -> Iterator[Piece]:
        """All points of these steps. Where the answer may be a sample, its steps cut the stretch
        into shorter ones."""
        # No bound where there is none: 2**63 is no safe integer of what reads it.
        bounds = {"stepMin": low} if low else {}
        if high < _LAST_STEP:
            bounds["stepMax"] = high
        rows = self._rows(logName=name, **bounds)
        steps = sorted({int(row["step"]) for row in rows})
        if len(rows) <= _surely_all() or len(steps) < 2:
            if rows:
                yield _piece(name, rows)
            return
        parts = min(max(2, 1 + expected // _surely_all()), len(steps))
        cuts = sorted({steps[len(steps) * part // parts] for part in range(1, parts)} - {low})
        for start, end in zip([low, *cuts], [*(cut - 1 for cut in cuts), high], strict=True):
            yield from self._stretch(name, start, end)

    def _rows(self, **asked: Any) -> list[dict[str, Any]]:
        answer = self._to.get(
            "/api/runs/metrics",
            "reading points",
            runId=self._run.id,
            projectName=self._run.project,
            limit=METRIC_POINTS_PER_PAGE,
            **asked,
        )
        rows: list[dict[str, Any]] = answer.get("metrics", [])
        return rows

    # --- files ----------------------------------------------------------------------------------

    def fetch(self, name: str, to: Path) -> bool:
        folder, file = posixpath.split(name)
        logs = (folder, name) if file.startswith(SERIES_FILE) else (name,)
        for log in logs:
            url = self._addresses(log, keep=log == folder).get(file)
            if url is not None and self._to.fetch(url, to):
                return True
        return False

    def _addresses(self, log: str, keep: bool) -> dict[str, str]:
        if log in self._folders:
            return self._folders[log]
        found = listed_files(self._to, self._run, log)
        if keep:
            if len(self._folders) >= _FOLDERS:
                self._folders.clear()
            self._folders[log] = found
        return found


def _surely_all() -> int:
    """An answer of so many points is no sample: of one more than a page every second one is."""
    return METRIC_POINTS_PER_PAGE // 2


def _by_name(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        names.setdefault(str(row["logName"]), []).append(row)
    return names


def _piece(name: str, rows: list[dict[str, Any]]) -> Piece:
    """Rows of one metric. Where a step came twice the one with the highest time counts, as on
    Pluto's pages."""
    steps = np.array([int(row["step"]) for row in rows], dtype=np.int64)
    times = _times([str(row["time"]) for row in rows])
    values = np.array([_value(row) for row in rows], dtype=np.float64)
    order = np.lexsort((times, steps))
    steps, times, values = steps[order], times[order], values[order]
    last = np.append(steps[1:] != steps[:-1], True)
    return Piece(name, steps[last], times[last], values[last])


def _value(row: Mapping[str, Any]) -> float:
    """What is not finite is shown as 0 with a flag."""
    flag = row.get("valueFlag")
    return _FLAGS[flag] if flag else float(row["value"])


def _times(texts: list[str]) -> np.ndarray:
    """ms of `2026-01-31 12:00:00.123`, UTC as ClickHouse has it, or of ISO 8601."""
    plain = [text.removesuffix("Z") for text in texts]
    return np.array(plain, dtype="datetime64[ms]").astype(np.int64)


def _no(shown: Any) -> Any:
    raise ValueError(f"{shown!r} is not of the expected type")
