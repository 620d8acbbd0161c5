"""The jobs over an archive on S3: export, load, read back, adopt, examine; and what goes wrong.

What is written and said is that of an archive in a folder; here it is enough that each job does its
work there, and that a store which refuses or goes away is one clear message and nothing done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_pipeline import definitions
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.store import StorePath
from migration_pipeline_tests.archive.making import archive_in, points, row, write_run
from migration_pipeline_tests.defs.fakes import FakeSource, failure_of, records_of
from migration_pipeline_tests.servers.s3 import S3Server, refused
from migration_pipeline_tests.stores import left_over
from migration_pipeline_tests.targets.stores import sqlite_uri

Job = Callable[..., dg.ExecuteInProcessResult]
RUN = ["neptune", "run"]


@pytest.fixture
def job(
    instance: dg.DagsterInstance,
    bucket: StorePath,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """Runs a job by name, its archive on the store and its reports in a folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "store"))
    monkeypatch.setenv("MIGRATION_DUMMY_PATH", str(tmp_path / "dummy"))

    def run(name: str, op: str = "", kind: str = "", **config: Any) -> dg.ExecuteInProcessResult:
        place = config.pop("place", bucket)
        archive = {
            "data_path": f"{place}/data",
            "files_path": f"{place}/files",
            "report_path": str(tmp_path / "report"),
        }
        mlflow = {"mlflow": {"config": {"artifact_root": str(tmp_path / "artifacts")}}}
        return definitions.defs.resolve_job_def(name).execute_in_process(
            run_config={
                "ops": {op: {"config": config}} if op else {},
                "resources": {
                    "archive": {"config": archive},
                    **({"source": {"config": {"kind": kind}}} if kind else {}),
                    **(mlflow if name in ("migrate", "plan") else {}),
                },
            },
            instance=instance,
            raise_on_error=False,
        )

    return run


def fill_archive(bucket: StorePath) -> None:
    for name in ("a-1", "a-2"):
        rows = [
            *points("loss", range(0, 10**8, 10**6), [float(i) for i in range(100)]),
            row("model/weights", "file", name.encode() * 1000),
            row("images", "file_series", b"first", 0, 1),
            row("images", "file_series", b"second", 10**6, 2),
            row("note", "string", "ö"),
        ]
        write_run(archive_in(bucket), RunKey("ws/alpha", name), rows)


def test_export_writes_there_and_the_next_one_finds_it(
    job: Job, source: FakeSource, bucket: StorePath, instance: dg.DagsterInstance
) -> None:
    assert job("migrate", "migrate_projects", "fake").success
    archive = archive_in(bucket)
    assert archive.projects() == ["ws/alpha", "ws/beta"]
    assert {key.run for key in archive.runs("ws/alpha")} == {"a-1", "a-2", "a-3", "a-4"}
    assert left_over(archive) == []
    assert len(records_of(instance, RUN)) == 6
    parts = {path: found.st_mtime for path, found in archive.data.walk().items()}  # type: ignore[union-attr]
    assert job("migrate", "migrate_projects", "fake").success
    assert parts == {p: f.st_mtime for p, f in archive.data.walk().items()}  # type: ignore[union-attr]


def test_what_lies_there_is_planned_loaded_and_read_back(
    job: Job, bucket: StorePath, tmp_path: Path
) -> None:
    """Into MLflow, where files are uploaded, and the dummy, where they are copied."""
    fill_archive(bucket)
    targets = ["mlflow", "dummy"]
    assert job("plan", "plan_load", targets=targets).success
    result = job("migrate", "migrate_projects", "archive", targets=targets)
    assert result.success, failure_of(result)
    sent = {path.read_bytes() for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    assert {b"a-1" * 1000, b"a-2" * 1000, b"first", b"second"} <= sent
    kept = {path.read_bytes() for path in (tmp_path / "dummy").rglob("*") if path.is_file()}
    assert {b"a-1" * 1000, b"a-2" * 1000, b"first", b"second"} <= kept


def test_adopt_doctor_and_summary(
    job: Job, bucket: StorePath, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fill_archive(bucket)
    assert job("adopt", "adopt_projects").success
    assert records_of(instance, RUN) == {"ws/alpha|a-1", "ws/alpha|a-2"}
    assert job("doctor", "examine_archive").success
    doctor = json.loads((tmp_path / "report" / "doctor.json").read_text())
    assert [run["grade"] for run in doctor["runs"]] == ["complete", "complete"]
    assert str(bucket) in doctor["data"]
    assert job("summary", "summarize_archive").success
    assert str(bucket) in (tmp_path / "report" / "summary.md").read_text()


JOBS = {
    "migrate": ("migrate_projects", "fake"),
    "adopt": ("adopt_projects", ""),
    "doctor": ("examine_archive", ""),
    "plan": ("plan_load", ""),
    "summary": ("summarize_archive", ""),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_bucket_that_is_not_there(
    name: str, job: Job, source: FakeSource, protocol: str, instance: dg.DagsterInstance
) -> None:
    result = job(name, *JOBS[name], place=StorePath(protocol, "of-nobody"))
    assert not result.success
    said = failure_of(result)
    assert f"{protocol}://of-nobody" in said
    assert "there is no" in said
    assert "MIGRATION_DATA_PATH" in said
    assert not records_of(instance, RUN)


def test_credentials_that_are_refused(
    job: Job, source: FakeSource, s3: S3Server, bucket: StorePath, instance: dg.DagsterInstance
) -> None:
    s3.before = refused
    result = job("migrate", "migrate_projects", "fake")
    assert not result.success
    said = failure_of(result)
    assert "access is refused" in said
    assert "AWS_ACCESS_KEY_ID" in said
    assert str(bucket) in said
    assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in said
    assert s3.environment["AWS_ACCESS_KEY_ID"] not in said
    assert not records_of(instance, RUN)


def test_a_bucket_that_goes_away_in_the_middle(
    job: Job,
    source: FakeSource,
    s3: S3Server,
    bucket: StorePath,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What was recorded is whole, what is not is not; with the bucket back, the rest is done."""
    s3.requests.clear()

    def gone(request: str) -> bytes | None:
        if len(s3.requests) < 75:
            return None
        s3.status = "404 Not Found"
        return b"<Error><Code>NoSuchBucket</Code><Message>No such bucket</Message></Error>"

    s3.before = gone
    result = job("migrate", "migrate_projects", "fake")
    assert not result.success
    assert f"{bucket}/data" in (said := capfd.readouterr().err)
    assert "there is no such bucket" in said
    s3.before = lambda request: None
    archive = archive_in(bucket)
    published = {str(k) for p in archive.projects() for k in archive.runs(p)}
    assert records_of(instance, RUN) <= published
    assert job("migrate", "migrate_projects", "fake").success
    assert len(records_of(instance, RUN)) == 6
    assert left_over(archive) == []


def test_data_on_a_store_and_files_in_a_folder(job: Job, bucket: StorePath, tmp_path: Path) -> None:
    result = definitions.defs.resolve_job_def("doctor").execute_in_process(
        run_config={
            "resources": {
                "archive": {
                    "config": {
                        "data_path": f"{bucket}/data",
                        "files_path": str(tmp_path / "files"),
                        "report_path": str(tmp_path / "report"),
                    }
                }
            }
        },
        raise_on_error=False,
    )
    assert not result.success
    assert "Put both on an object store, or both into folders" in failure_of(result)
