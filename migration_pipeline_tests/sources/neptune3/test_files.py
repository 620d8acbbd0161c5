"""Files: their bytes, names and places, and what happens when the storage does not give them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from migration_pipeline.errors import MissingFilesError, SourceUnavailableError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Project, Run
from migration_pipeline.sources import fetching
from migration_pipeline_tests.sources.serving import (
    NOON,
    PROJECT,
    Exported,
    add_points,
    exporting,
)

BIG = random.Random(3).randbytes(3 << 20)


@pytest.fixture
def run(project: Project) -> Run:
    return project.create_run("r")


@pytest.fixture(params=["gcp", "aws", "azure"])
def provider(request: pytest.FixtureRequest, server: RunningServer) -> str:
    server.object_stores.provider = request.param
    return str(request.param)


@pytest.mark.usefixtures("provider")
def test_bytes_arrive_from_every_store(exported: Exported, run: Run) -> None:
    run.set_file("empty", b"", "r/empty.txt", "text/plain")
    run.set_file("big", BIG, "r/big.bin", "")
    run.set_file("a.b", b"dot", "r/dot", "image/png")
    run.set_file("a_b", b"underscore", "r/underscore.txt", "text/plain")
    run.set_file("A_b", b"capital", "r/capital", "")
    exported.export_all()
    assert exported.values("r") == {
        "empty": b"",
        "big": BIG,
        "a.b": b"dot",
        "a_b": b"underscore",
        "A_b": b"capital",
    }
    manifest = exported.manifest("r")
    assert manifest.bytes == len(BIG) + 3 + 10 + 7
    extensions = sorted(Path(entry.path).suffix for entry in manifest.files)
    assert extensions == ["", ".bin", ".png", ".txt", ".txt"]
    assert not list((exported.archive.files_root(PROJECT) / ".staging").iterdir())


def test_several_runs_and_steps_that_name_one_object(exported: Exported, project: Project) -> None:
    """Only what was uploaded last is there, and where the size tells, the manifest says so."""
    one, two = project.create_run("one"), project.create_run("two")
    old = one.set_file("model", b"first", "shared.bin", "")
    new = two.set_file("model", b"the second", "shared.bin", "")
    two.extend_series("images", "file_series", [(0.0, NOON, old), (1.0, NOON, new)])
    exported.export_all()
    assert exported.values("one") == {"model": b"the second"}
    assert exported.manifest("one").notes == [
        "files of another size than announced: model: 10 bytes, announced 5"
    ]
    assert exported.series("two", "images") == [
        (0, NOON, b"the second"),
        (10**6, NOON, b"the second"),
    ]
    assert exported.manifest("two").notes == [
        "files of another size than announced: images (step 0): 10 bytes, announced 5"
    ]


def missing_files(project: Project) -> None:
    """Run `gone` lacks one file and one step of a series; run `good` lacks nothing."""
    gone, good = project.create_run("gone"), project.create_run("good")
    for run in (gone, good):
        run.set("n", "int", 1)
        run.set_file("model", b"m", f"{run.run_id}/m", "")
        stored = [run.set_file(f"f{i}", b"%d" % i, f"{run.run_id}/{i}", "") for i in range(3)]
        run.extend_series("images", "file_series", [(i / 2, NOON, f) for i, f in enumerate(stored)])
    for path in ("gone/m", "gone/1"):
        project.store.blobs.delete(PROJECT, path)


@pytest.mark.usefixtures("provider")
def test_a_missing_file_fails_its_run_by_name(exported: Exported, project: Project) -> None:
    missing_files(project)
    exported.export()
    assert exported.exported == {"good"}
    assert exported.runs == {"good"}
    error = exported.failed["gone"]
    assert isinstance(error, MissingFilesError)
    assert sorted(error.paths) == ["f1", "images (step 0.5)", "model"]
    assert "acme/vision|gone" in str(error)
    assert "'model'" in str(error)
    assert "MIGRATION_ACCEPT_MISSING_FILES=1" in error.remedy

    project.store.blobs.write(PROJECT, "gone/m", b"m")
    project.store.blobs.write(PROJECT, "gone/1", b"1")
    assert [ref.key.run for ref in exported.export_all().due] == ["gone"]
    assert exported.values("gone") == {"n": 1, "model": b"m", "f0": b"0", "f1": b"1", "f2": b"2"}


def test_missing_files_can_be_accepted_and_are_named_in_the_manifest(
    server: RunningServer, project: Project, tmp_path: Path
) -> None:
    missing_files(project)
    exported = exporting(server, tmp_path, accept_missing_files=True)
    exported.export_all()
    assert sorted(exported.manifest("gone").missing_files) == ["f1", "images (step 0.5)", "model"]
    assert exported.values("gone") == {"n": 1, "f0": b"0", "f2": b"2"}
    assert exported.series("gone", "images") == [(0, NOON, b"0"), (10**6, NOON, b"2")]
    assert exported.manifest("good").missing_files == []
    assert exported.export_all().due == []


@pytest.mark.parametrize("provider_and_status", [("gcp", 400), ("aws", 403)])
def test_addresses_that_ran_out_are_signed_again(
    exported: Exported,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    provider_and_status: tuple[str, int],
) -> None:
    stores = exported.server.object_stores
    stores.provider, status = provider_and_status
    for i in range(2):
        run.set_file(f"f{i}", b"%d" % i, f"r/{i}", "")
    sign = exported.source.client.sign
    signed = []

    def sign_and_expire(project: str, paths: list[str]) -> object:
        addresses = sign(project, paths)
        signed.append(list(paths))
        if len(signed) == 1:
            stores.expire_urls()
        return addresses

    monkeypatch.setattr(exported.source.client, "sign", sign_and_expire)
    exported.export_all()
    assert exported.values("r") == {f"f{i}": b"%d" % i for i in range(2)}
    assert signed == [[f"r/{i}" for i in range(2)], *([f"r/{i}"] for i in range(2))]
    assert exported.server.traffic.statuses[status] == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/storage/", reset=True, times=2),
        Fault("/storage/", truncate=0.5, times=2),
        Fault("/storage/", status=500, times=2),
        Fault("/storage/", status=503, retry_after=0.2, times=2),
        Fault("/storage/", latency=0.2, times=2),
        Fault("/storage/", status=200, content=b"<html>", times=2),
        Fault("signedUrl", status=503, times=2),
        Fault("signedUrl", truncate=0.5, times=2),
    ],
    ids=["reset", "truncated", "500", "503", "slow", "too short", "signing", "signing truncated"],
)
def test_a_download_that_goes_wrong_is_repeated(exported: Exported, run: Run, fault: Fault) -> None:
    run.set_file("model", BIG, "r/m", "")
    run.set_file("other", b"other", "r/o", "")
    before = sum(exported.server.faults.injected.values())
    exported.server.faults.add(fault)
    exported.export_all()
    assert exported.values("r") == {"model": BIG, "other": b"other"}
    assert exported.manifest("r").notes == []
    assert sum(exported.server.faults.injected.values()) == before + 2


def test_a_store_that_never_answers_well_fails_the_run_by_name(
    exported: Exported, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    project.create_run("bad").set_file("model", b"m", "bad/m", "")
    add_points(project.create_run("good"), "loss", [0.0])
    exported.server.faults.add(Fault("/storage/", status=500))
    exported.export()
    assert exported.runs == {"good"}
    error = exported.failed["bad"]
    assert isinstance(error, SourceUnavailableError)
    assert "run acme/vision|bad: file 'model' could not be downloaded" in str(error)
    assert "500" in str(error)
    assert "sig=" not in str(error)
    left = [p for p in exported.archive.files.rglob("*") if p.is_file()]
    assert left == []
