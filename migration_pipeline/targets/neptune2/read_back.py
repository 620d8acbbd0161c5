"""Reads one run in the archive's terms: values as the server shows them to its users."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.schema import float_to_micros
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.terms import Capabilities
from migration_pipeline.mapping.texts import text_beside
from migration_pipeline.mapping.values import from_text
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.naming import BESIDE, OURS
from migration_pipeline.targets.neptune2.numbers import decoded
from migration_pipeline.targets.neptune2.placed import Fetcher
from migration_pipeline.targets.neptune2.values import Moment, value_of
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.reading import RemoteReader


class Reader(RemoteReader):
    """Reads a run by the server's id of it."""

    def __init__(
        self,
        api: Api,
        run: str,
        key: RunKey,
        can: Capabilities,
        into: Path,
        only: Collection[str] | None,
    ) -> None:
        self._api, self._run = api, run
        self._there = api.attributes(run)
        self._files_there = Fetcher(api, run, self._there, into / ".placed")
        super().__init__(key, api.to.address, can, into, only)

    def shown_parameters(self) -> Mapping[str, Any]:
        return {
            path: value
            for path, attribute in self._there.items()
            if not is_ours(path) and (value := value_of(attribute)) is not None
        }

    def decode(self, kind: str, shown: Any) -> Any:
        if kind == "float":
            return decoded(shown)
        if kind == "datetime" and isinstance(shown, Moment):
            return int(shown)
        if isinstance(shown, str):
            return from_text(kind, shown)
        if type(shown).__name__ != kind:
            raise TypeError(f"{shown!r} is no {kind}")
        return shown

    def shown_points(self, names: Collection[str], others: bool) -> Iterator[Piece]:
        of_others = [p for p, a in self._there.items() if a["type"] == "floatSeries"]
        for name in sorted({*names, *(of_others if others else ())}):
            if self._there.get(name, {}).get("type") != "floatSeries":
                continue
            for page in self._api.points(self._run, name, "floatSeries"):
                yield Piece(
                    name,
                    float_to_micros(np.array([decoded(one["step"]) for one in page])),
                    np.array([one["timestampMillis"] for one in page], dtype=np.int64),
                    np.array([decoded(one["value"]) for one in page], dtype=np.float64),
                )

    def shown_lines(self, entry: sidecar.AttributeEntry) -> Iterator[dict[str, Any]]:
        if entry.type != "string_series":
            yield from super().shown_lines(entry)
            return
        for page in self._api.points(self._run, entry.name, "stringSeries"):
            steps = float_to_micros(np.array([decoded(one["step"]) for one in page])).tolist()
            for step, one in zip(steps, page, strict=True):
                row = {"path": entry.path, "type": entry.type, "step": step}
                yield {**row, "timestamp": one["timestampMillis"], "value": one["value"]}
        if file := self.download(text_beside(entry.path)):
            lines = sidecar.read_lines(file)
            yield from sidecar.series_rows(entry.path, entry.type, lines)
            file.unlink()

    def fetch(self, name: str, to: Path) -> bool:
        return self._files_there.fetch(name, to)


def is_ours(path: str) -> bool:
    """Whether an attribute is the server's, or says something of the load."""
    return path.startswith(("sys/", *OURS)) or path in ORIGINALS


ORIGINALS = (f"{BESIDE}original_run_id", f"{BESIDE}original_project_id")
