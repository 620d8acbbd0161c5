"""Files of a run and of its artifacts, from wherever they come: their places in the archive."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_pipeline.archive.layout import extension_of
from migration_pipeline.archive.location import writing
from migration_pipeline.archive.schema import make_batch
from migration_pipeline.sources.reading import Item, Selected
from migration_pipeline.sources.source import DownloadedFile, Rows, RunRef, Selection
from migration_pipeline.sources.wandb.attributes import Attributes
from migration_pipeline.sources.wandb.history import Medium
from migration_pipeline.sources.wandb.names import STDOUT

REFERENCES = "{count} files of artifacts lie elsewhere and were not fetched: {list}"
_DATE = (1980, 1, 1, 0, 0, 0)
_LINES = 5_000
_CHUNK = 1 << 20


def as_file(run: RunRef, attribute: str, path: Path, name: str) -> DownloadedFile:
    """A single file of a run."""
    base = name.rpartition("/")[2]
    return DownloadedFile(
        run, attribute, "file", path, extension_of(base, "", attribute), name=base
    )


def as_medium(run: RunRef, medium: Medium, path: Path) -> DownloadedFile:
    """A file that a row of history names."""
    base = medium.name.rpartition("/")[2]
    return DownloadedFile(
        run,
        medium.attribute,
        "file_series",
        path,
        extension_of(base, "", medium.attribute),
        step=medium.step,
        timestamp=medium.timestamp,
        name=base,
    )


def lines_of(run: RunRef, log: Path, selection: Selection) -> Iterator[Item]:
    """A text log as a string series: a line a point, its number the step; it has no times."""
    if not selection.wants(STDOUT, "string_series"):
        return
    rows: list[dict[str, Any]] = []
    place = 0
    with log.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for place, line in enumerate(lines, 1):
            text = line.removesuffix("\n")
            row = {"path": STDOUT, "type": "string_series", "value": text}
            rows.append(row | {"step": (place - 1) * 10**6})
            if len(rows) == _LINES:
                yield Rows(run, make_batch(run.key.project, run.key.run, rows))
                rows = []
    if rows:
        yield Rows(run, make_batch(run.key.project, run.key.run, rows))
    yield Selected(run, bool(place))


@dataclass(frozen=True)
class ArtifactFacts:
    """An artifact that a run logged.

    Args:
        name: `<collection>:<version>`, as W&B writes it.
        said: what is known of it, by name.
        files: what its manifest lists: path, size, digest (base64 of an MD5) and, for what lies
            elsewhere, `ref`.
    """

    name: str
    said: dict[str, Any]
    files: Sequence[dict[str, Any]]

    @property
    def path(self) -> str:
        return f"artifacts/{self.name}"


def artifact_items(
    run: RunRef, artifact: ArtifactFacts, selection: Selection, listing: Path
) -> Iterator[Item]:
    """What is known of an artifact, and the list of its files in the form of Neptune's artifacts.

    Args:
        listing: where the list is written.
    """
    attributes = Attributes(run, selection)
    for key, value in artifact.said.items():
        if value not in (None, "", ()):
            attributes.put((artifact.path, key), value)
    yield from attributes.items()
    if not selection.wants(f"{artifact.path}/files", "artifact"):
        return
    files = [_listed(entry) for entry in artifact.files]
    content = {"hash": artifact.said.get("digest") or "", "files": files}
    with writing(listing):
        listing.write_text(json.dumps(content, sort_keys=True, indent=1), encoding="ascii")
    yield Selected(run, 1)
    yield DownloadedFile(run, f"{artifact.path}/files", "artifact", listing, ".json")


def _listed(entry: dict[str, Any]) -> dict[str, Any]:
    """As the 2.x protocol lists a file of an artifact."""
    ref = entry.get("ref")
    return {
        "filePath": entry["path"],
        "fileHash": entry.get("digest") or "",
        "size": entry.get("size"),
        "type": ref.partition(":")[0] if ref else "W&B",
        "metadata": [{"key": "location", "value": ref}] if ref else [],
    }


def pack(packed: Path, files: Iterator[tuple[str, Path]]) -> bool:
    """Writes a zip of files, each of which is removed afterwards; False: there was none. The same
    files always give the same bytes."""
    some = False
    with writing(packed), zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            some = True
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr, info.file_size = 0o644 << 16, path.stat().st_size
            with path.open("rb") as content, archive.open(info, "w") as entry:
                shutil.copyfileobj(content, entry, _CHUNK)
            path.unlink()
    if not some:
        packed.unlink()
    return some
