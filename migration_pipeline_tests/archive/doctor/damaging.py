"""Ways in which a directory gets damaged, one at a time, at a place that chance chooses.

Each takes an archive of `projects.PROJECT` and returns the run that it damaged, or None when it
found nothing to damage. What it does changes what the archive holds: never only its order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.doctor.diagnosis import ProjectDiagnosis
from migration_pipeline.archive.schema import SCHEMA
from migration_pipeline_tests.archive.doctor.projects import HOUR, PROJECT, key, rewrite

Damage = Callable[[Archive, Random], str | None]
RUNS = [f"run {number}" for number in range(6)]
FLOATS = pa.float64()


def _parts(archive: Archive, run: str) -> list[Path]:
    directory = archive.project_directory(PROJECT)
    return sorted(directory.glob(f"{layout.name_on_disk(run)}_part_*.parquet"))


def _any_part(archive: Archive, chance: Random) -> tuple[str, Path]:
    run = chance.choice(RUNS)
    return run, chance.choice(_parts(archive, run))


def _changed(part: Path, change: Callable[[pa.Table], pa.Table | None]) -> bool:
    """Rewrites a part unless there is nothing to change in it."""
    table = change(pq.read_table(part).cast(SCHEMA))
    if table is not None:
        rewrite(part, lambda _: table)
    return table is not None


def _set(table: pa.Table, name: str, column: object) -> pa.Table:
    at = SCHEMA.get_field_index(name)
    return table.set_column(at, name, pa.array(column, SCHEMA.field(at).type))


def part_deleted(archive: Archive, chance: Random) -> str | None:
    """One of several."""
    run = chance.choice([run for run in RUNS if len(_parts(archive, run)) > 1])
    chance.choice(_parts(archive, run)).unlink()
    return run


def part_truncated(archive: Archive, chance: Random) -> str | None:
    run, part = _any_part(archive, chance)
    content = part.read_bytes()
    part.write_bytes(content[: chance.randrange(len(content))])
    return run


def byte_flipped(archive: Archive, chance: Random) -> str | None:
    """Until one is found that the rows depend on: much of a footer is statistics and hints."""
    run, part = _any_part(archive, chance)
    content = part.read_bytes()
    before = pq.read_table(part).cast(SCHEMA)
    for _ in range(20):
        at = chance.randrange(len(content))
        part.write_bytes(
            content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
        )
        try:
            after = pq.read_table(part).cast(SCHEMA)
            if repr(after.to_pylist()) != repr(before.to_pylist()):
                return run
        except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError):
            return run
    part.write_bytes(content)
    return None


def type_dropped(archive: Archive, chance: Random) -> str | None:
    run = chance.choice(RUNS)
    kinds = ["float_series", "string_series", "histogram_series", "file", "file_series", "float"]
    kind = chance.choice(kinds)
    return _drop(archive, run, lambda t: pc.equal(t["attribute_type"], kind))


def attribute_dropped(archive: Archive, chance: Random) -> str | None:
    run = chance.choice(RUNS)
    path = chance.choice(["train/loss", "train/acc", "log/stdout", "model/weights", "config/lr"])
    return _drop(archive, run, lambda t: pc.equal(t["attribute_path"], path))


def series_cut(archive: Archive, chance: Random) -> str | None:
    """Its last points, more than half of them."""
    run, path = chance.choice(RUNS), chance.choice(["train/loss", "train/acc"])
    last = chance.randrange(5, 45)

    def beyond(table: pa.Table) -> pa.Array:
        steps = pc.greater(table["step"].cast(FLOATS), float(last))
        return pc.and_(pc.equal(table["attribute_path"], path), pc.fill_null(steps, False))

    return _drop(archive, run, beyond)


def points_lost(archive: Archive, chance: Random) -> str | None:
    """Every second one of a series."""
    run, path = chance.choice(RUNS), chance.choice(["train/loss", "train/acc"])

    def odd(table: pa.Table) -> pa.Array:
        steps = [s is not None and int(s) % 2 == 1 for s in table["step"].to_pylist()]
        return pc.and_(pc.equal(table["attribute_path"], path), pa.array(steps))

    return _drop(archive, run, odd)


def _drop(archive: Archive, run: str, which: Callable[[pa.Table], pa.Array]) -> str | None:
    def change(table: pa.Table) -> pa.Table | None:
        kept = table.filter(pc.invert(which(table)))
        return kept if kept.num_rows < table.num_rows else None

    changed = [_changed(part, change) for part in _parts(archive, run)]
    return run if any(changed) else None


def nan_nulled(archive: Archive, chance: Random) -> str | None:
    """One NaN of a point or a parameter."""

    def change(table: pa.Table) -> pa.Table | None:
        values = table["float_value"].to_pylist()
        nans = [i for i, v in enumerate(values) if v is not None and v != v]
        if not nans:
            return None
        values[chance.choice(nans)] = None
        return _set(table, "float_value", values)

    run, part = _any_part(archive, chance)
    return run if _changed(part, change) else None


def value_changed(archive: Archive, chance: Random) -> str | None:
    """One bit of one number."""

    def change(table: pa.Table) -> pa.Table | None:
        values = table["float_value"].to_pylist()
        there = [i for i, v in enumerate(values) if v is not None and v == v]
        if not there:
            return None
        index = chance.choice(there)
        values[index] = values[index] * (1 + 2**-52) if values[index] else 5e-324
        return _set(table, "float_value", values)

    run, part = _any_part(archive, chance)
    return run if _changed(part, change) else None


def rows_doubled(archive: Archive, chance: Random) -> str | None:
    def change(table: pa.Table) -> pa.Table:
        start = chance.randrange(table.num_rows)
        return pa.concat_tables([table, table.slice(start, chance.randint(1, 20))])

    run, part = _any_part(archive, chance)
    return run if _changed(part, change) else None


def times_shifted(archive: Archive, chance: Random) -> str | None:
    """All points of a run, by whole hours."""
    hours = chance.choice([h for h in range(-12, 13) if h])

    def change(table: pa.Table) -> pa.Table:
        moved = pc.add(table["timestamp"].cast(pa.int64()), hours * HOUR)
        return _set(table, "timestamp", moved.cast(SCHEMA.field("timestamp").type).combine_chunks())

    run = chance.choice(RUNS)
    for part in _parts(archive, run):
        _changed(part, change)
    return run


def parts_swapped(archive: Archive, chance: Random) -> str | None:
    """Parts 0 of two runs."""
    pair = chance.sample(RUNS, 2)
    one, other = (_parts(archive, run)[0] for run in pair)
    _swap(one, other)
    return pair[0]


def _swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _files(archive: Archive, run: str) -> list[Path]:
    found = archive.find(key(run))
    assert found is not None
    named = [b.column("file_value").to_pylist() for b in found.batches(columns=["file_value"])]
    return [found.file(f["path"]) for batch in named for f in batch if f is not None]


def file_deleted(archive: Archive, chance: Random) -> str | None:
    run = chance.choice(RUNS)
    chance.choice(_files(archive, run)).unlink()
    return run


def file_truncated(archive: Archive, chance: Random) -> str | None:
    run = chance.choice(RUNS)
    file = chance.choice(_files(archive, run))
    os.truncate(file, chance.randrange(file.stat().st_size))
    return run


def file_emptied(archive: Archive, chance: Random) -> str | None:
    run = chance.choice(RUNS)
    os.truncate(chance.choice(_files(archive, run)), 0)
    return run


def files_swapped(archive: Archive, chance: Random) -> str | None:
    """Of two runs: the contents of the weights of both."""
    pair = chance.sample(RUNS, 2)
    one, other = (next(f for f in _files(archive, run) if "weights" in f.name) for run in pair)
    _swap(one, other)
    return pair[0]


def run_deleted(archive: Archive, chance: Random) -> str | None:
    """All of its parts; its files stay."""
    run = chance.choice(RUNS)
    for part in _parts(archive, run):
        part.unlink()
    return run


KINDS: dict[str, Damage] = {
    "part deleted": part_deleted,
    "part truncated": part_truncated,
    "byte flipped": byte_flipped,
    "type dropped": type_dropped,
    "attribute dropped": attribute_dropped,
    "series cut": series_cut,
    "every second point lost": points_lost,
    "NaN nulled": nan_nulled,
    "value changed": value_changed,
    "rows doubled": rows_doubled,
    "times shifted": times_shifted,
    "parts swapped": parts_swapped,
    "file deleted": file_deleted,
    "file truncated": file_truncated,
    "file emptied": file_emptied,
    "files swapped": files_swapped,
    "run deleted": run_deleted,
}


def is_found(found: ProjectDiagnosis, kind: str, run: str, *, proof: bool) -> bool:
    """Whether the doctor speaks of the damage.

    Args:
        proof: only proof counts, not suspicion.
    """
    if kind == "run deleted":
        return bool({f.code for f in found.findings} & {"gap_in_ids", "unnamed_files"})
    bad = {"damaged"} if proof else {"damaged", "suspect"}
    stem = layout.name_on_disk(run)
    return any(d.grade in bad for d in found.runs if d.key.run in (run, stem))
