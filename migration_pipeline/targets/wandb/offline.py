"""A folder for `wandb sync` as the place of runs (WANDB_MODE=offline).

Each run is a folder `offline-run-<time>-<id>` as the SDK makes them: a `.wandb` file of its records
and a folder `files`. It has another name until it is whole, so `wandb sync` never takes half of it,
and one that was begun and not finished is begun anew. Beside them lies what this target asks for
itself (`neptune-run.json`), which is not sent.

`wandb sync` goes on behind the rows that the server has, so a file that is synced twice is there
twice, unless its marker `.synced` is left where it is. A synced run that is thrown away here keeps
its id: what is loaded instead gets another one. So does a run whose folder was thrown away by
others, as `wandb sync --clean` does: it was most likely synced (`neptune-written-<id>` says that
there was one).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from json import dumps, loads
from pathlib import Path
from typing import Any

from migration_pipeline.errors import StoreNotWritableError
from migration_pipeline.targets.remote.sending import Upload
from migration_pipeline.targets.wandb.capabilities import HISTORY_PAGE, STEP
from migration_pipeline.targets.wandb.connection import BurntIdError
from migration_pipeline.targets.wandb.naming import attempt_id, attempt_of
from migration_pipeline.targets.wandb.rows import OWN, Row
from migration_pipeline.targets.wandb.runs import First, FoundRun, config_of, time_of
from migration_pipeline.wandb_sdk import records

_OURS = "neptune-run.json"
_LOADING, _GONE, _WRITTEN = "neptune-loading-", "neptune-deleted-", "neptune-written-"


class Offline:
    """See `runs.Place`."""

    def __init__(self, directory: str, entity: str) -> None:
        self.address = directory
        self._root = Path(directory).absolute() / "wandb"
        self._entity = entity
        self._open: dict[str, _Writing] = {}

    def check(self) -> None:
        records("target")
        with self._writing():
            self._root.mkdir(parents=True, exist_ok=True)
        if not os.access(self._root, os.W_OK):
            raise self._not_writable("this user may not write there")

    def runs(self, project: str) -> list[FoundRun]:
        found = (self._run(path) for path in sorted(self._root.glob(f"offline-run-*/{_OURS}")))
        return [run for run in found if run.project == project]

    def find(self, project: str, key: str) -> list[FoundRun]:
        return [run for run in self.runs(project) if attempt_of(key, run.name)]

    def _run(self, path: Path) -> FoundRun:
        said = loads(path.read_text(encoding="utf-8"))
        return FoundRun(**{**said, "id": str(path.parent), "tags": tuple(said["tags"])})

    def create(self, first: First, attempt: int, config: str) -> FoundRun:
        name = attempt_id(first.key, attempt)
        if (self._root / f"{_GONE}{name}").exists():
            raise BurntIdError(f"{name} was synced and thrown away here")
        folder = self._root / f"{_LOADING}{name}"
        if (self._root / f"{_WRITTEN}{name}").exists() and not folder.exists():
            raise BurntIdError(f"{name} was written here, and its folder is gone")
        run = FoundRun(
            id=str(folder),
            name=name,
            project=first.project,
            display_name=first.name,
            state="running",
            tags=first.tags,
            group=first.group,
            notes=first.notes,
            config=config_of(config),
        )
        with self._writing():
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "files").mkdir(parents=True)
            self._open[name] = _Writing(folder, run, first, self._entity)
        return run

    def send_lines(self, run: FoundRun, offset: int, lines: Sequence[str]) -> None:
        with self._writing():
            self._open[run.name].rows(lines)
        run.lines = offset + len(lines)

    def send_files(self, run: FoundRun, files: Sequence[Upload]) -> None:
        with self._writing():
            for file in files:
                there = Path(run.id) / "files" / file.name
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.source, there)
            self._open[run.name].files([file.name for file in files])

    def finish(self, run: FoundRun, summary: str, failed: bool) -> None:
        run.state = "failed" if failed else "finished"
        self._open[run.name].summary = summary

    def change(self, run: FoundRun, config: str) -> None:
        """Of a run that is being written it is the end: only then has the folder its name."""
        run.config = config_of(config)
        writing = self._open.pop(run.name, None)
        with self._writing():
            if writing is None:
                _write(Path(run.id) / _OURS, run)
                return
            writing.end()
            with (Path(run.id) / f"run-{run.name}.wandb").open("rb+") as file:
                os.fsync(file.fileno())
            begun = run.mark.get("created", "1970-01-01T00:00:00")[:19]
            stamp = begun.replace("-", "").replace(":", "").replace("T", "_")
            whole = self._root / f"offline-run-{stamp}-{run.name}"
            _write(Path(run.id) / _OURS, run)
            (self._root / f"{_WRITTEN}{run.name}").touch()
            Path(run.id).rename(whole)
            run.id = str(whole)

    def rows(self, run: FoundRun, place: int | None = None) -> Iterator[list[Row]]:
        page: list[Row] = []
        for record in _records(Path(run.id) / f"run-{run.name}.wandb"):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                page.append({i.nested_key[0]: loads(i.value_json) for i in items})
                if len(page) == HISTORY_PAGE:
                    yield page
                    page = []
        yield page

    def files(self, run: FoundRun) -> dict[str, int]:
        root = Path(run.id) / "files"
        found = (path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.stat().st_size for path in found}

    def fetch(self, run: FoundRun, name: str, to: Path) -> bool:
        there = Path(run.id) / "files" / name
        if not there.is_file():
            return False
        shutil.copyfile(there, to)
        return True

    def delete(self, run: FoundRun) -> None:
        folder = Path(run.id)
        self._open.pop(run.name, None)
        with self._writing():
            if any(folder.glob("*.synced")):
                (self._root / f"{_GONE}{run.name}").touch()
            shutil.rmtree(folder, ignore_errors=True)
            (self._root / f"{_WRITTEN}{run.name}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._not_writable(str(error)) from None

    def _not_writable(self, reason: str) -> StoreNotWritableError:
        return StoreNotWritableError("wandb", str(self._root), reason, "WANDB_DIR")


def _write(path: Path, run: FoundRun) -> None:
    temporary = path.with_suffix(".tmp")
    text = dumps(asdict(run), ensure_ascii=False)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class _Writing:
    """The `.wandb` file of one run, in the order in which `wandb sync` wants its records."""

    def __init__(self, folder: Path, run: FoundRun, first: First, entity: str) -> None:
        self._pb, store = records("target")
        self._folder, self._run, self._first = folder, run, first
        self.summary = "{}"
        self._number = 0
        self._store = store()
        self._store.open_for_write(str(folder / f"run-{run.name}.wandb"))
        record = self._pb.Record()
        record.run.run_id, record.run.project = run.name, run.project
        record.run.entity, record.run.display_name = entity, run.display_name
        record.run.run_group, record.run.job_type = run.group, first.kind
        record.run.notes = run.notes
        record.run.tags.extend(run.tags)
        start = time_of(first.mark.get("created"))
        record.run.start_time.FromMilliseconds(start if start is not None else 0)
        self._config(record.run.config, {key: run.config[key] for key in run.config})
        self._put(record)
        self._metric(name=STEP)
        self._series: set[str] = set()

    def rows(self, lines: Sequence[str]) -> None:
        for line in lines:
            record = self._pb.Record()
            row = loads(line)
            for key, value in row.items():
                item = record.history.item.add()
                item.nested_key.append(key)
                item.value_json = dumps(value, ensure_ascii=False)
                if isinstance(value, float) and key != STEP and key not in OWN:
                    self._series.add(key)
            record.history.step.num = row["_step"]
            self._put(record)

    def files(self, names: Sequence[str]) -> None:
        record = self._pb.Record()
        for name in names:
            record.files.files.add(path=name, policy=self._pb.FilesItem.PolicyType.NOW)
        self._put(record)

    def end(self) -> None:
        for name in sorted(self._series):
            self._metric(name=name, step_metric=STEP)
        record = self._pb.Record()
        self._config(record.config, self._run.config)
        self._put(record)
        record = self._pb.Record()
        for key, value in loads(self.summary).items():
            update = record.summary.update.add()
            update.nested_key.append(key)
            update.value_json = dumps(value, ensure_ascii=False)
        self._put(record)
        record = self._pb.Record()
        record.exit.exit_code = int(self._run.state == "failed")
        self._put(record)
        self._store.close()

    def _config(self, record: Any, config: dict[str, Any]) -> None:
        for key, value in config.items():
            if key != "_wandb":
                update = record.update.add()
                update.key, update.value_json = key, dumps(value, ensure_ascii=False)

    def _metric(self, **said: str) -> None:
        record = self._pb.Record()
        for name, value in said.items():
            setattr(record.metric, name, value)
        self._put(record)

    def _put(self, record: Any) -> None:
        self._number += 1
        record.num = self._number
        self._store.write(record)


def _records(path: Path) -> Iterator[Any]:
    pb, store = records("target")
    scan = store()
    scan.open_for_scan(str(path))
    try:
        while (data := scan.scan_data()) is not None:
            record = pb.Record()
            record.ParseFromString(data)
            yield record
    finally:
        scan.close()
