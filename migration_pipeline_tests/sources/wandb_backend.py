"""W&B for the contract of sources: a stand-in of its server, and folders as its SDK leaves them.

What is in them has the form in which the SDK sends or writes it (`sources/wandb/` has the SDK
itself do so).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import ConfigError, CredentialsRefusedError, SourceUnavailableError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline.wandb_sdk import records
from migration_pipeline_tests.servers.standin import account_key, serving
from migration_pipeline_tests.servers.wandb import Wandb
from migration_pipeline_tests.servers.wandb.runs import Run
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.sources.contract.place import Lasting, Place, begin, until

PROJECT = "team/vision"
NOON = 1_700_000_000_000
KEY = account_key("sources")
LARGE = bytes(60_000)
"""A file beside which folders weigh little, as on a disk that fills up."""
_BEAT = datetime(2026, 1, 1, tzinfo=UTC)


def make(url: str, retry_seconds: float = 60.0) -> WandbSource:
    config = WandbSourceConfig(
        api_key=KEY, base_url=url, entity="team", workers=3, retry_seconds=retry_seconds
    )
    return WandbSource(config)


def make_local(folder: str) -> WandbSource:
    return WandbSource(WandbSourceConfig(local_paths=(Path(folder),), workers=3))


def rows_of(number: int) -> list[dict[str, Any]]:
    """History of the run of this number."""
    medium = {"_type": "image-file", "path": "media/images/i.png", "format": "png"}
    rows: list[dict[str, Any]] = [
        {"_step": i, "_timestamp": NOON / 1000 + i, "loss": number + i / 2, "text": f"{number} {i}"}
        for i in range(3)
    ]
    rows[1]["h"] = {"_type": "histogram", "bins": [0.0, 1.0, 2.0], "values": [number, 1]}
    rows[2]["img"] = medium
    return rows


def system_of(number: int) -> list[dict[str, Any]]:
    return [{"_timestamp": NOON / 1000 + i, "system.cpu": number + i} for i in range(2)]


def files_of(number: int) -> dict[str, bytes]:
    return {
        "model.bin": b"%d" % number,
        "media/images/i.png": b"\x89PNG %d" % number,
        "requirements.txt": b"wandb==0.29.0\n",
    }


def content_of(number: int) -> dict[str, Any]:
    """What the archive has of the run of this number, from a server and from folders alike."""
    return {
        "config/n": number,
        "summary/best": number,
        "loss": [(i * 10**6, NOON + 1000 * i, number + i / 2) for i in range(3)],
        "text": [(i * 10**6, NOON + 1000 * i, f"{number} {i}") for i in range(3)],
        "img": [(2 * 10**6, NOON + 2000, b"\x89PNG %d" % number)],
        "monitoring/cpu": [(i * 10**6, NOON + 1000 * i, float(number + i)) for i in range(2)],
        "files/model.bin": b"%d" % number,
        "source_code/requirements": b"wandb==0.29.0\n",
        "sys/tags": ["one"],
    }


# --- a server -------------------------------------------------------------------------------------


def add_run(account: Account, project: str, name: str, number: int) -> Run:
    """A run that its SDK would have sent."""
    account.upsert(
        {
            "name": name,
            "modelName": project,
            "entityName": account.entity,
            "displayName": f"Run {name}",
            "tags": ["one"],
            "groupName": "group",
            "config": json.dumps({"n": {"value": number}}),
        }
    )
    run = account.projects[project].of[name]
    run.summaryMetrics = json.dumps({"best": number})
    run.lines = [json.dumps(row) for row in rows_of(number)]
    run.monitored = [json.dumps(row) for row in system_of(number)]
    run.state, run.heartbeatAt = "finished", _BEAT.isoformat()
    files = files_of(number) | {"output.log": b"%d\nend\n" % number}
    for path, content in files.items():
        account.file_of(run, path).content = content
    return run


def add_artifact(account: Account, run: Run, name: str, content: bytes) -> None:
    """A version of an artifact with one file and one that lies elsewhere."""
    given = {"artifactCollectionNames": [name], "artifactTypeName": "model", "digest": run.name}
    artifact = account.registry.create(run.project, given | {"runName": run.name})
    entries = {
        "a.bin": {"digest": "", "size": len(content), "birthArtifactID": artifact.id},
        "b.bin": {"digest": "", "ref": "https://example.com/b", "size": 5},
    }
    said = {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": entries,
    }
    account.registry.new_manifest({"artifactID": artifact.id, "name": "m", "digest": run.name})
    assert artifact.manifest is not None
    artifact.manifest.content = json.dumps(said).encode()
    artifact.to_upload("a.bin").content = content
    artifact.state = "COMMITTED"


@contextmanager
def _served(fill: Callable[[Account], Mapping[str, Mapping[str, Any]]]) -> Iterator[Place]:
    with serving(Wandb()) as server:
        account = server.account(KEY)
        expected = fill(account)

        def change(key: RunKey) -> None:
            run = account.projects[key.project.partition("/")[2]].of[key.run]
            config = json.loads(run.config) | {"later": {"value": 42}}
            run.config = json.dumps(config)
            run.heartbeatAt = (_BEAT + timedelta(hours=1)).isoformat()

        def of_run(key: RunKey) -> Callable[[bytes], bool]:
            return lambda body: b"HistoryPage" in body and f'"{key.run}"'.encode() in body

        yield Place(
            make=make,
            arguments=(server.url,),
            hasty=(server.url, 3.0),
            count=sum(1 + len(project.of) for project in account.projects.values()),
            project=PROJECT,
            expected=expected,
            change=change,
            refuse=lambda key: until(
                server, lambda: server.faults.add(Fault("graphql", body=of_run(key), status=403))
            ),
            passing={name: begin(server, fault) for name, fault in PASSING.items()},
            lasting={
                "gone": Lasting(
                    lambda: until(server, lambda: server.faults.add(Fault("", status=503))),
                    SourceUnavailableError,
                    server.url,
                ),
                "forbidden": Lasting(
                    lambda: until(server, lambda: server.faults.add(Fault("graphql", status=401))),
                    CredentialsRefusedError,
                    "WANDB_API_KEY",
                ),
            },
        )


def _asking(operation: bytes) -> Callable[[bytes], bool]:
    return lambda body: b" " + operation in body


_PAGE = {"content": b"<html>Bad gateway</html>", "content_type": "text/html"}
PASSING = {
    "reset": Fault("graphql", reset=True, times=2),
    "429": Fault("graphql", status=429, retry_after=0.2, times=2),
    "503 at files": Fault("storage", status=503, times=2),
    "502 in HTML": Fault("graphql", status=502, times=1, **_PAGE),
    "200 in HTML": Fault("graphql", body=_asking(b"Runs"), status=200, times=1, **_PAGE),
    "truncated runs": Fault("graphql", body=_asking(b"Runs"), truncate=0.5, times=2),
    "truncated rows": Fault("graphql", body=_asking(b"HistoryPage"), truncate=0.5, times=2),
    "truncated system": Fault("graphql", body=_asking(b"SystemMetrics"), truncate=0.3, times=2),
    "truncated list": Fault("graphql", body=_asking(b"RunFiles"), truncate=0.5, times=2),
    "truncated file": Fault("storage", truncate=0.5, times=2),
}
"""What is no more when a request is repeated."""


def few(folder: Path, count: int) -> Any:
    def fill(account: Account) -> Mapping[str, Mapping[str, Any]]:
        for i in range(count):
            add_run(account, "vision", f"r{i}", i)
        return {f"r{i}": content_of(i) for i in range(count)}

    return _served(fill)


def many(folder: Path) -> Any:
    def fill(account: Account) -> Mapping[str, Mapping[str, Any]]:
        for i in range(12):
            run = add_run(account, "vision" if i % 3 else "digits", f"r{i}", i)
            account.file_of(run, "weights.bin").content = LARGE
            if i % 4 == 1:
                add_artifact(account, run, "model", b"weights %d" % i)
        return {}

    return _served(fill)


# --- folders --------------------------------------------------------------------------------------


def write_folder(root: Path, project: str, run: str, number: int, **config: Any) -> Path:
    """An offline run's folder, as `wandb` 0.29 leaves it; it is older than now by an hour."""
    proto, store = records("source")
    folder = root / f"offline-run-20260101_000000-{run}"
    (folder / "files").mkdir(parents=True, exist_ok=True)
    log = folder / f"run-{run}.wandb"
    log.unlink(missing_ok=True)
    for path, content in files_of(number).items():
        (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / path).write_bytes(content)
    write = store()
    write.open_for_write(str(log))
    first = proto.Record()
    first.run.run_id, first.run.project, first.run.entity = run, project, "team"
    first.run.display_name, first.run.run_group = f"Run {run}", "group"
    first.run.tags.append("one")
    first.run.start_time.seconds = NOON // 1000
    for key, value in {"n": number, **config}.items():
        first.run.config.update.add(key=key, value_json=json.dumps(value))
    write.write(first)
    for row in rows_of(number):
        record = proto.Record()
        for key, value in row.items():
            record.history.item.add(nested_key=[key], value_json=json.dumps(value))
        record.history.step.num = row["_step"]
        write.write(record)
    for row in system_of(number):
        record = proto.Record()
        record.stats.timestamp.seconds = int(row["_timestamp"])
        record.stats.item.add(key="cpu", value_json=json.dumps(row["system.cpu"]))
        write.write(record)
    for text in (f"{number}\ne", "nd\n"):
        record = proto.Record()
        record.output_raw.line, record.output_raw.timestamp.seconds = text, NOON // 1000
        write.write(record)
    record = proto.Record()
    record.summary.update.add(nested_key=["best"], value_json=json.dumps(number))
    write.write(record)
    record = proto.Record()
    record.exit.exit_code = 0
    write.write(record)
    write.close()
    return folder


@contextmanager
def _folders(
    root: Path, projects: Mapping[str, str], numbers: Mapping[str, int], large: bool = False
) -> Iterator[Place]:
    """`projects` and `numbers` are those of run ids."""
    for run, project in projects.items():
        folder = write_folder(root, project, run, numbers[run])
        if large:
            (folder / "files" / "weights.bin").write_bytes(LARGE)

    def change(key: RunKey) -> None:
        project = key.project.partition("/")[2]
        folder = write_folder(root, project, key.run, numbers[key.run], later=42)
        log = folder / f"run-{key.run}.wandb"
        later = log.stat().st_mtime + 60
        os.utime(log, (later, later))

    @contextmanager
    def refuse(key: RunKey) -> Iterator[None]:
        (file,) = root.glob(f"*-{key.run}/files/media/images/i.png")
        away = file.rename(root / "away")
        try:
            yield
        finally:
            away.rename(file)

    @contextmanager
    def gone() -> Iterator[None]:
        away = root.rename(root.with_name("moved"))
        try:
            yield
        finally:
            away.rename(root)

    yield Place(
        make=make_local,
        arguments=(str(root),),
        hasty=(str(root),),
        count=len(projects),
        project=PROJECT,
        expected={
            run: content_of(numbers[run])
            | {"monitoring/stdout": [(0, NOON, f"{numbers[run]}"), (10**6, NOON, "end")]}
            for run, project in projects.items()
            if project == "vision"
        },
        change=change,
        refuse=refuse,
        lasting={"gone": Lasting(gone, ConfigError, "MIGRATION_LOCAL_PATH")},
    )


def few_local(folder: Path, count: int) -> Any:
    runs = [f"r{i}" for i in range(count)]
    return _folders(folder, dict.fromkeys(runs, "vision"), {run: i for i, run in enumerate(runs)})


def many_local(folder: Path) -> Any:
    runs = {f"r{i}": "vision" if i % 3 else "digits" for i in range(12)}
    return _folders(folder, runs, {run: i for i, run in enumerate(runs)}, large=True)
