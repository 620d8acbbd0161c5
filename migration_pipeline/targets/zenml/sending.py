"""Sends one run to ZenML: cards, all rows as Parquet, files, and what was done.

The parts of the archive are copied as they are, since the artifact's format is the archive's; the
rows are read once more only for what a person sees, and nothing of a run is held but the names of
its attributes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq

from migration_pipeline.archive.archive import footer_rows
from migration_pipeline.archive.schema import SCHEMA, in_memory_form
from migration_pipeline.archive.store_files import on_this_machine
from migration_pipeline.mapping import sidecar
from migration_pipeline.mapping.keys import Attribute, key_names
from migration_pipeline.mapping.losses import series_losses
from migration_pipeline.mapping.migration import migration_of
from migration_pipeline.mapping.parameters import REPEATED, ParameterMapper
from migration_pipeline.mapping.scan import Cut, RunScan
from migration_pipeline.mapping.steps import step_text
from migration_pipeline.mapping.terms import Loss
from migration_pipeline.mapping.uploads import Upload, upload_names
from migration_pipeline.targets.target import LoadReport, Meter
from migration_pipeline.targets.zenml.capabilities import CARD_MAX_LENGTH, CARDS_PER_REQUEST
from migration_pipeline.targets.zenml.cards import Card, CardWriter, Summary, card_value
from migration_pipeline.targets.zenml.folders import Folder
from migration_pipeline.targets.zenml.records import Records

PARAMS, SYS, SERIES = "params", "sys", "series"
"""Titles of cards."""
SYS_PATH = "sys/"
MIGRATION, FILES = "_migration.json", "_files.jsonl"
"""Beside the Parquet; whoever reads the folder as one table passes over names with a `_`."""


@dataclass
class Sender:
    """Sends the content of one run.

    Args:
        version: the id of its model version.
        data, files: folders of its own in the artifact store.
        cards: that go there as well.
    """

    records: Records
    scan: RunScan
    version: UUID
    data: Folder
    files: Folder
    meter: Meter | None
    cards: dict[str, Card]
    losses: list[Loss] = field(default_factory=list)
    _in_data: list[Attribute] = field(default_factory=list)
    _summaries: dict[str, Summary] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._mapper = ParameterMapper(self.scan.capabilities)
        self._names = key_names(self.scan.attributes, self.scan.capabilities)
        self._writers = {
            title: CardWriter(title, names, CARD_MAX_LENGTH, self._put)
            for title, names in _names_by_card(self._names).items()
        }

    def send(self) -> LoadReport:
        """Everything but what marks the run as complete."""
        scan = self.scan
        self.losses = series_losses(scan)
        for batch in scan.run.batches():
            self._rows(Cut(batch))
        for path, summary in sorted(self._summaries.items()):
            self._writers[SERIES].add(self._names[path, "float_series"], summary.shown())
        for writer in self._writers.values():
            writer.close()
        self._flush()
        self._data()
        size = self._files()
        self._migration()
        return LoadReport.of(scan, self._names, self.losses, size)

    # --- cards ------------------------------------------------------------------------------

    def _rows(self, cut: Cut) -> None:
        for path, points in cut.series():
            self._summaries.setdefault(path, Summary()).update(points)
        for path, kind, values in cut.parameters():
            for value in values:
                self._parameter(path, kind, value)

    def _parameter(self, path: str, kind: str, value: Any) -> None:
        shown, reason = self._mapper.shown(path, kind, value)
        self.losses += self._mapper.losses(path, reason, value)
        if shown is None or reason == REPEATED:
            return
        if reason:
            self._in_data.append((path, kind))
        title, name = card_of(self._names[path, kind])
        self._writers[title].add(name, shown if reason else card_value(kind, value))

    def _put(self, title: str, card: Card) -> None:
        self.cards[title] = card
        if len(self.cards) >= CARDS_PER_REQUEST:
            self._flush()

    def _flush(self) -> None:
        if self.cards:
            self.records.put_cards(self.version, self.cards)
            self.cards = {}

    # --- data and files ---------------------------------------------------------------------

    def _data(self) -> None:
        run, left = self.scan.run, self._points
        if run.damage:  # its parts hold what cannot be read
            with self.data.writing(part_name(0)) as stream, pq.ParquetWriter(stream, SCHEMA) as to:
                for batch in run.batches():
                    to.write_batch(in_memory_form(batch, SCHEMA))
            self._count(points=left)
            return
        for number, part in enumerate(run.parts):
            with on_this_machine(part) as source:
                self.data.put(source, part_name(number))
            # Which of its rows are points no footer says; the sum is right.
            points = min(footer_rows(part), left) if number + 1 < len(run.parts) else left
            self._count(points=points)
            left -= points

    @property
    def _points(self) -> int:
        return sum(n for (_, kind), n in self.scan.attributes.items() if kind.endswith("_series"))

    @property
    def _parts(self) -> int:
        return 1 if self.scan.run.damage else len(self.scan.run.parts)

    def _files(self) -> int:
        """Sends the files; returns their bytes."""
        uploads = upload_names(self.scan)
        total = 0
        for row, inside in uploads:
            for child, name in inside.items():
                file = self.scan.run.file(row.path or "")
                with on_this_machine(file / child if child else file) as source:
                    size = self.files.put(source, name)
                self._count(size=size)
                total += size
        if uploads:
            with self.data.writing(FILES) as stream:
                for upload in uploads:
                    sidecar.write_line(stream, _file_line(upload))
        return total

    def _migration(self) -> None:
        migration = migration_of(self.scan, self._names, {}, self.losses).model_dump()
        migration["parts"] = [part_name(number) for number in range(self._parts)]
        migration["whole_in_data_only"] = sorted(self._in_data)
        with self.data.writing(MIGRATION) as stream:
            stream.write(json.dumps(migration, ensure_ascii=False, indent=1).encode())

    def _count(self, points: int = 0, size: int = 0) -> None:
        if self.meter:
            self.meter.add(points=points, size=size)


def part_name(number: int) -> str:
    return f"part_{number}.parquet"


def card_of(name: str) -> tuple[str, str]:
    """(title of the card, name on it) of a parameter."""
    if name.startswith(SYS_PATH):
        return SYS, name.removeprefix(SYS_PATH)
    return PARAMS, name


def _names_by_card(names: Mapping[Attribute, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {PARAMS: set(), SYS: set(), SERIES: set()}
    for (_, kind), given in names.items():
        title, name = (SERIES, given) if kind == "float_series" else card_of(given)
        found[title].add(name)
    return found


def _file_line(upload: Upload) -> dict[str, Any]:
    row, inside = upload
    return {
        "attribute": row.attribute,
        "type": row.type,
        "step": None if row.step is None else step_text(row.step),
        "time": row.time,
        "path": row.path,
        "names": inside,
    }
