"""Makes the sample workspace: `python -m migration_pipeline.neptune_server.sample.make_sample`.

Needs scikit-learn and git. The trainings are seeded, so another run of this script gives the same
curves with the same versions of numpy and scikit-learn; the hostile project is the same everywhere.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.neptune_server.sample import SAMPLE_ZIP
from migration_pipeline.neptune_server.sample.hostile import hostile_runs
from migration_pipeline.neptune_server.sample.record import write_project

_EPOCH = (2025, 1, 1, 0, 0, 0)
"""The time of every entry, so that equal files give equal zips."""


def make_hostile(archive: Archive) -> list[Manifest]:
    """`acme/hostile`: deterministic, without scikit-learn."""
    return write_project(archive, "acme/hostile", "HOS", hostile_runs())


def make_digits(archive: Archive) -> list[Manifest]:
    """`acme/digits`: trains; takes about a minute of CPU."""
    from migration_pipeline.neptune_server.sample.trainings import training_runs

    return write_project(archive, "acme/digits", "DIG", training_runs())


def make_tabular(archive: Archive) -> list[Manifest]:
    """`acme/tabular`, of Neptune 2.x: the client writes it, the job `migrate` exports it."""
    from migration_pipeline.neptune_server.sample import tabular

    return tabular.make_tabular(archive)


def pack(root: Path, out: Path) -> None:
    """`data/` and `files/` below `root` as a zip, sorted, without times."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            target.writestr(entry, path.read_bytes())


def summary(manifests: list[Manifest]) -> str:
    """Counts of one project, a line per attribute type."""
    attributes: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for manifest in manifests:
        for kind, count in manifest.types.items():
            attributes[kind] += count.attributes
            rows[kind] += count.rows
    lines = [
        f"{manifests[0].project}: {len(manifests)} runs, {sum(m.points for m in manifests)} points,"
        f" {sum(len(m.files) for m in manifests)} files of {sum(m.bytes for m in manifests)} bytes"
    ]
    lines += [f"  {kind}: {attributes[kind]} attributes, {rows[kind]} rows" for kind in attributes]
    return "\n".join(lines)


MAKERS = {"digits": make_digits, "hostile": make_hostile, "tabular": make_tabular}


def unpack_others(archive: Archive, root: Path, name: str) -> None:
    """The shipped sample, without one of its projects."""
    with zipfile.ZipFile(SAMPLE_ZIP) as shipped:
        shipped.extractall(root)
    for folder in (archive.project_directory(f"acme/{name}"), archive.files_root(f"acme/{name}")):
        shutil.rmtree(str(folder), ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=SAMPLE_ZIP, help="the zip to write")
    parser.add_argument("--only", choices=MAKERS, help="the other projects stay as they are")
    given = parser.parse_args()
    out: Path = given.out
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        archive = Archive(root / "data", root / "files")
        if given.only:
            unpack_others(archive, root, given.only)
        for name, make in MAKERS.items():
            if given.only in (None, name):
                print(summary(make(archive)))
        pack(root, out)
    print(f"{out}: {out.stat().st_size} bytes, made in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
