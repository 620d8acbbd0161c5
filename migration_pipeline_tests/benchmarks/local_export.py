"""Local directories of Neptune's clients into an archive: points a second, and the most memory.

    python -m migration_pipeline_tests.benchmarks.local_export [POINTS] [VERSION …]

For each version (2: a log, an operation a point; 3: a database, five points an operation) a
directory of POINTS points (default 1,000,000) and one of four times as many is made, and exported
in a process of its own. The baseline reads the smaller one plainly, through the client's own
classes, an object for each operation and point, and writes nothing. What a second of the processor
does stands beside the clock's, for machines that do other things too; beside the most memory, what
of it there was before the first point. A run of less than a row group (262,144 points) takes less
than all others: nothing of it is written while more is read.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from migration_pipeline.archive.archive import Archive
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.neptune_local.config import NeptuneLocalConfig
from migration_pipeline.sources.neptune_local.source import NeptuneLocalSource
from migration_pipeline.sources.source import Selection

PER_OPERATION, METRICS = 5, 20
_NOON = 1_700_000_000


def line(i: int) -> str:
    """A point as `json.dumps` writes the client's operation."""
    value = f'{{"value": {i / 7!r}, "step": {i // METRICS}, "ts": {_NOON + i * 0.01!r}}}'
    obj = f'{{"type": "LogFloats", "path": ["metrics", "loss_{i % METRICS}"], "values": [{value}]}}'
    return f'{{"obj": {obj}, "version": {i + 1}, "at": {_NOON + i * 0.01!r}}}\n'


def make_2x(folder: Path, points: int) -> None:
    """As the client writes: an operation a line."""
    directory = folder / ".neptune/offline/run__0b8a5a8c-1111-2222-3333-444444444444__1__abcdefgh"
    directory.mkdir(parents=True)
    with (directory / "data-1.log").open("w") as out:
        for i in range(points):
            out.write(line(i) if i else json.dumps(json.loads(line(i))) + "\n")
    (directory / "last_put_version").write_text(str(points))
    (directory / "last_ack_version").write_text("")


def make_3x(folder: Path, points: int) -> None:
    """By the client's own repository."""
    from neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import UpdateRunSnapshot
    from neptune_scale.sync.operations_repository import OperationsRepository

    directory = folder / ".neptune/acme_vision_big_1"
    directory.mkdir(parents=True)
    repository = OperationsRepository(directory / "run_operations.sqlite3")
    repository.init_db()
    repository.save_metadata("acme/vision", "big")
    batch = []
    for i in range(points // PER_OPERATION):
        snapshot = UpdateRunSnapshot()
        snapshot.step.whole = i
        snapshot.timestamp.seconds, snapshot.timestamp.nanos = _NOON + i, (i * 7919) % 10**9
        for j in range(PER_OPERATION):
            snapshot.append[f"metrics/loss_{j}"].float64 = (i + j) / 7
        batch.append(snapshot)
        if len(batch) == 10_000:
            repository.save_update_run_snapshots(batch)
            batch = []
    repository.save_update_run_snapshots(batch)
    repository.close(cleanup_files=False)


def baseline_2x(folder: Path) -> int:
    from neptune.core.components.queue.json_file_splitter import JsonFileSplitter
    from neptune.internal.operation import Operation

    [log] = folder.rglob("data-1.log")
    points = 0
    with JsonFileSplitter(log) as splitter:
        while (found := splitter.get()) is not None:
            points += len(Operation.from_dict(found["obj"]).values)  # type: ignore[attr-defined]
    return points


def baseline_3x(folder: Path) -> int:
    from neptune_scale.sync.operations_repository import OperationsRepository

    [database] = folder.rglob("*.sqlite3")
    repository = OperationsRepository(database)
    points, last = 0, -1
    while found := repository.get_operations(20_000_000, last):  # type: ignore[arg-type]
        last = found[-1].sequence_id
        for operation in found:
            for _, value in operation.operation.append.items():  # type: ignore[union-attr]
                points += value.float64 is not None
    repository.close(cleanup_files=False)
    return points


def export(folder: Path) -> int:
    archive = Archive(folder / "data", folder / "files")
    source = NeptuneLocalSource(NeptuneLocalConfig(paths=(folder,)))
    [project] = source.list_projects()
    due = plan_export(source, archive, project, Selection()).due
    report = export_runs(source, archive, due, Selection())
    assert not report.failures, report.failures
    return report.exported[0].points


MAKERS = {"2": make_2x, "3": make_3x}
WORK = {"export": export, "baseline2": baseline_2x, "baseline3": baseline_3x}


def measure(what: str, folder: Path) -> None:
    """Prints a line of figures of this process."""
    # Loaded before the clock starts.
    import migration_pipeline.sources.neptune_local.replay2
    import migration_pipeline.sources.neptune_local.replay3  # noqa: F401

    if what.endswith("2") or next(folder.rglob("*.log"), None):
        import neptune.internal.operation  # noqa: F401
    before = _most_memory()
    begun, processor = time.monotonic(), time.process_time()
    points = WORK[what](folder)
    seconds, used = time.monotonic() - begun, time.process_time() - processor
    print(
        f"{what}: {points:,} points, {points / seconds:,.0f} a second, "
        f"{points / used:,.0f} a second of the processor, {_most_memory():,.0f} MiB at most, "
        f"{before:,.0f} of them before the first point",
        flush=True,
    )


def _most_memory() -> float:
    """Of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(points: int, versions: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for version in versions:
            for size in (points, 4 * points):
                folder = Path(scratch) / f"{version}-{size}"
                MAKERS[version](folder, size)
                print(f"Neptune {version}.x", end=" ", flush=True)
                for what in ("export", *([f"baseline{version}"] if size == points else [])):
                    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, what]
                    subprocess.run([*command, str(folder)], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in WORK:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, sys.argv[2:] or ["2", "3"])
