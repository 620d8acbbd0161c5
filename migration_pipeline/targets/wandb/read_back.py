"""Reads one run from W&B in the archive's terms: config, history, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.mapping.values import from_text
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.reading import RemoteReader
from migration_pipeline.targets.wandb.histograms import digest, kept_in, merged, shown_in
from migration_pipeline.targets.wandb.rows import Row, pieces_of
from migration_pipeline.targets.wandb.runs import FoundRun, Place
from migration_pipeline.targets.wandb.sending import NOT_EVERY_RUN_HAS


class Reader(RemoteReader):
    """Reads one run."""

    def __init__(
        self,
        place: Place,
        run: FoundRun,
        key: RunKey,
        can: Capabilities,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self._place, self._run = place, run
        super().__init__(key, place.address, can, into, only)

    def shown_parameters(self) -> Mapping[str, Any]:
        return self._run.parameters

    def decode(self, kind: str, shown: Any) -> Any:
        number = isinstance(shown, int | float) and not isinstance(shown, bool)
        if kind == "float" and number:
            return float(shown)
        if kind == "int" and number and int(shown) == shown:
            return int(shown)
        if kind == "bool" and isinstance(shown, bool):
            return shown
        if kind == "string_set" and isinstance(shown, list):
            return from_text(kind, dumps(shown))
        if isinstance(shown, str) and kind != "string_set" and kind != "bool":
            return from_text(kind, shown)
        raise ValueError(f"{shown!r} is no {kind}")

    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        """History is asked for whole: asked for several names, W&B shows the rows that have all of
        them."""
        histograms = [entry.name for entry in self.entries("histogram_series")]
        if not names and not histograms and not others:
            return
        asked = frozenset(names)
        for rows in self._place.rows(self._run):
            yield from pieces_of(rows, lambda name: others or name in asked)
            for name in histograms:
                self._put_aside(name, rows)

    def _put_aside(self, name: str, rows: Sequence[Row]) -> None:
        """Notes what history shows of a histogram series, which comes back after the points."""
        found = [shown for row in rows if name in row and (shown := shown_in(row, name))]
        if not found:
            return
        with self._aside(name).open("ab") as stream:
            for shown in found:
                sidecar.write_line(stream, shown)

    def _aside(self, name: str) -> Path:
        folder = self.into / "shown histograms"
        folder.mkdir(exist_ok=True)
        return folder / layout.digest(name)

    def shown_lines(self, entry: sidecar.AttributeEntry) -> Iterator[dict[str, Any]]:
        if entry.type != "histogram_series":
            yield from super().shown_lines(entry)
            return
        aside, counts = self._aside(entry.name), Counter[bytes]()
        aside.touch()
        for row in sidecar.read_lines(aside):
            counts[digest(row["step"], row["timestamp"], row["edges"], row["values"])] += 1
        base = {"path": entry.path, "type": entry.type}
        shown = ({**base, **row} for row in sidecar.read_lines(aside))
        kept = self.download(kept_in(entry.path))
        lines = sidecar.read_lines(kept) if kept else iter(())
        exact = sidecar.series_rows(entry.path, entry.type, lines)
        yield from merged(exact, counts, shown, self.migration.start)
        aside.unlink()

    def fetch(self, name: str, to: Path) -> bool:
        """Those that a fork has of its parent are not its own."""
        theirs = self._run.branch and name in NOT_EVERY_RUN_HAS
        if theirs and name not in self._run.mark.get("beside", ()):
            return False
        return self._place.fetch(self._run, name, to)
