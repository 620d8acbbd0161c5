"""One of everything is written by the real client; the job `migrate` exports it; both are compared.

What may differ, and nothing else: images lie at their index, not at the step they were logged at,
because 2.x does not give it; an artifact's bytes that are gone from where they lay are named in
the manifest; git references are JSON text; and the server adds attributes of its own under sys/.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import migration_pipeline
from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.schema import VALUE_COLUMN
from migration_pipeline.neptune_server import SpawnedServer, spawn_server
from migration_pipeline_tests.neptune2_whole import writing
from migration_pipeline_tests.neptune2_whole.writing import PROJECT

ROOT = Path(migration_pipeline.__file__).parents[1]
Found = dict[str, list[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[SpawnedServer]:
    with spawn_server(["--store", f"{writing.__name__}:empty_project"]) as spawned:
        yield spawned


def environment(server: SpawnedServer, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "NEPTUNE_API_TOKEN": server.token} | more


@pytest.fixture(scope="module")
def written(
    server: SpawnedServer, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What the script says it wrote. It runs far from Greenwich."""
    folder = tmp_path_factory.mktemp("written")
    asked = subprocess.run(
        [sys.executable, "-m", writing.__name__, PROJECT, "files"],
        cwd=folder,
        env=environment(server, OAUTHLIB_INSECURE_TRANSPORT="1", TZ="Asia/Kolkata"),
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line) for line in asked.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def archive(
    server: SpawnedServer,
    written: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Archive:
    """What `migrate` made of it, elsewhere on earth."""
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    command = ["-m", "dagster", "job", "execute", "-m", "migration_pipeline.definitions"]
    done = subprocess.run(
        [sys.executable, *command, "-j", "migrate"],
        cwd=home,
        env=environment(
            server,
            DAGSTER_HOME=str(home),
            MIGRATION_SOURCE="neptune2",
            NEPTUNE_PROJECT=PROJECT,
            TZ="America/New_York",
        ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.strip().splitlines()[-1].startswith("migrate: 1 of 1 projects done; ")
    return Archive(home / "exports" / "data", home / "exports" / "files")


def test_every_object_that_was_written_is_there_and_no_other(
    written: list[dict[str, Any]], archive: Archive
) -> None:
    assert archive.projects() == [PROJECT]
    expected = {RunKey(PROJECT, one["id"], one["kind"]) for one in written}
    assert {key.kind for key in expected} == {"run", "model", "model_version", "project"}
    assert archive.runs(PROJECT).keys() == expected


def test_every_value_is_there_as_it_was_written(
    written: list[dict[str, Any]], archive: Archive
) -> None:
    differences = []
    for one in written:
        run = archive.runs(PROJECT)[RunKey(PROJECT, one["id"], one["kind"])]
        found = read(run)
        for path, (type_, value) in one["attributes"].items():
            if path not in found:
                differences.append(f"{one['id']}: {path} is missing")
            elif (what := compare(type_, value, found.pop(path), run)) is not None:
                differences.append(f"{one['id']}: {path}: {what}")
        added = [path for path in found if not path.startswith(("sys/", "monitoring/"))]
        differences += [f"{one['id']}: {path} was never written" for path in added]
    assert not differences, "\n".join(differences)


def test_what_the_server_said_of_its_own_is_there_too(
    written: list[dict[str, Any]], archive: Archive
) -> None:
    for one in written:
        found = read(archive.runs(PROJECT)[RunKey(PROJECT, one["id"], one["kind"])])
        assert found["sys/id"] == ["string", [one["id"]]]
        assert found["sys/state"] in (["string", ["idle"]], ["string", ["running"]])
        assert found["sys/creation_time"][0] == "datetime"
    failed = next(one for one in written if "before" in one["attributes"])
    found = read(archive.runs(PROJECT)[RunKey(PROJECT, failed["id"])])
    [traceback] = [path for path in found if re.fullmatch(r"monitoring/\w+/traceback", path)]
    assert found[traceback][0] == "string_series"
    assert any("out of memory" in text for _, _, text in found[traceback][1])


def test_the_manifest_names_what_could_not_be_had(
    written: list[dict[str, Any]], archive: Archive
) -> None:
    manifest = archive.runs(PROJECT)[RunKey(PROJECT, written[0]["id"])].manifest
    assert manifest is not None
    notes = "\n".join(manifest.notes)
    assert "images" in notes
    assert "gone" in notes
    assert "vanishing" in notes
    extensions = {e.path.rpartition("/")[2].partition(".")[2] for e in manifest.files}
    assert {"csv", "txt", "bin", "json", "html", "png", "zip", "patch"} <= extensions


def read(run: ArchivedRun) -> Found:
    """path → [type, values in the order of their steps]; a series' values are triples."""
    found: Found = {}
    for batch in run.batches():
        for one in batch.to_pylist():
            type_ = one["attribute_type"]
            value = one[VALUE_COLUMN[type_]]
            if type_ == "datetime":
                value = round(value.timestamp() * 1000)
            if VALUE_COLUMN[type_] == "file_value":
                value = value["path"]
            if one["step"] is not None:
                time = one["timestamp"] and round(one["timestamp"].timestamp() * 1000)
                value = [int(one["step"] * 10**6), time, value]
            entry = found.setdefault(one["attribute_path"], [type_, []])
            assert entry[0] == type_, f"{one['attribute_path']} has two types"
            entry[1].append(value)
    for type_, values in found.values():
        if type_.endswith("_series"):
            values.sort(key=lambda point: point[0])
    return found


def compare(type_: str, written: Any, found: list[Any], run: ArchivedRun) -> str | None:
    """What differs, or None."""
    found_type, values = found
    if type_ == "git":
        return git_differs(written, found_type, values)
    if found_type != type_:
        return f"{type_} became {found_type}"
    if type_ == "string_set":
        return None if [sorted(v) for v in values] == [sorted(written)] else f"{values}"
    if type_ in ("float_series", "string_series"):
        return None if values == written else f"{len(values)} points, {len(written)} written"
    if type_ == "file_series":
        return images_differ(written, values, run)
    if type_ == "file":
        content = [run.file(path).read_bytes() for path in values]
        return None if content == [decoded(written)] else f"{sum(map(len, content))} bytes"
    if type_ in ("file_set", "artifact"):
        return members_differ(type_, written, values, run)
    same = len(values) == 1 and repr(values[0]) == repr(written)  # -0.0 is not 0.0
    return None if same else f"{written!r} became {values!r}"


def git_differs(written: dict[str, Any], found_type: str, values: list[Any]) -> str | None:
    from datetime import datetime

    if found_type != "string":
        return f"a git reference became {found_type}"
    said = json.loads(values[0])
    commit = said["commit"]
    moment = datetime.fromisoformat(commit.pop("commitDate"))
    flat = {
        **commit,
        "commitDate": round(moment.timestamp() * 1000),
        **{name: said[name] for name in ("repositoryDirty", "currentBranch", "remotes")},
    }
    flat["message"] = flat["message"].strip()
    return None if {k: flat.get(k) for k in written} == written else f"{flat} for {written}"


def images_differ(written: list[str], values: list[Any], run: ArchivedRun) -> str | None:
    if [step for step, _, _ in values] != [i * 10**6 for i in range(len(written))]:
        return f"steps {[step for step, _, _ in values]}"
    contents = [run.file(path).read_bytes() for _, _, path in values]
    return None if contents == [decoded(one) for one in written] else "another image"


def members_differ(type_: str, written: Any, values: list[str], run: ArchivedRun) -> str | None:
    """A list and, unless nothing could be had of an artifact, a zip."""
    by_extension = {Path(path).suffix: run.file(path) for path in values}
    members = written if type_ == "file_set" else written["files"]
    listing = json.loads(by_extension[".json"].read_text())
    if type_ == "artifact" and listing["hash"] != written["hash"]:
        return f"hash {listing['hash']}, {written['hash']} written"
    if not members:
        return None if set(by_extension) == {".json"} else f"bytes of nothing: {values}"
    with zipfile.ZipFile(io.BytesIO(by_extension[".zip"].read_bytes())) as packed:
        found = {n: packed.read(n) for n in packed.namelist() if not n.endswith("/")}
    if found != {name: decoded(content) for name, content in members.items()}:
        return f"files {sorted(found)}, {sorted(members)} written"
    listed = listing if type_ == "file_set" else listing["files"]
    names = {one["path" if type_ == "file_set" else "filePath"]: one["size"] for one in listed}
    sizes = {name: len(decoded(content)) for name, content in members.items()}
    return None if names == sizes else f"listed {names}, {sizes} written"


def decoded(text: str) -> bytes:
    return base64.b64decode(text)
