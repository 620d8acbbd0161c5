"""Archive → 2.x server → export → archive: the same content, whatever it is."""

from __future__ import annotations

import io
import itertools
import json
import tempfile
import zipfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.archive.schema import make_batch
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import Row, archive_in, row
from migration_pipeline_tests.archive.strategies import (
    MAX_EXACT_STEP,
    PATHS,
    TEXTS,
    VALUES,
)
from migration_pipeline_tests.sources.serving import source_of

numbers = itertools.count()
IDS: dict[str, Kind] = {
    "TAB-1": "run",
    "TAB-2": "run",
    "TAB-NET": "model",
    "TAB-NET-1": "model_version",
    "TAB": "project",
}
SINGLE = ("float", "int", "string", "bool", "string_set", "file", "file_set", "artifact")
SERIES = ("float_series", "string_series", "file_series")
MEMBERS = st.dictionaries(
    st.text("abü_", min_size=1, max_size=4).flatmap(
        lambda name: st.sampled_from([f"{name}.txt", f"d/{name}", f"d/e/{name}"])
    ),
    st.binary(max_size=20),
    max_size=3,
)
TIMES = st.integers(-(10**12), 10**13)


def zip_of(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("/", b"")
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def as_json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1).encode()


@st.composite
def attribute(draw: st.DrawFn, path: str) -> list[Row]:
    """The rows of one attribute as an export from 2.x has them."""
    type_ = draw(st.sampled_from([*SINGLE, *SERIES, "datetime"]))
    if type_ == "file_set":
        members = draw(MEMBERS)
        listing = [{"path": name, "size": len(members[name])} for name in sorted(members)]
        return [row(path, type_, zip_of(members)), row(path, type_, as_json(listing))]
    if type_ == "artifact":
        names = sorted(draw(st.sets(st.text("abü/", min_size=1, max_size=4), max_size=3)))
        files = [
            {"filePath": n, "fileHash": "h", "type": "S3", "size": None, "metadata": []}
            for n in names
        ]
        hash_ = str(next(numbers))
        return [row(path, type_, as_json({"hash": hash_, "files": files}))]
    if type_ == "datetime":
        return [row(path, type_, draw(TIMES))]
    if type_ not in SERIES:
        return [row(path, type_, draw(VALUES[type_]))]
    if type_ == "file_series":  # has the index for its step, and no times
        contents = draw(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
        return [row(path, type_, content, i * 10**6) for i, content in enumerate(contents)]
    steps = draw(st.lists(st.integers(0, MAX_EXACT_STEP), min_size=1, max_size=6, unique=True))
    value = VALUES["float_series"] if type_ == "float_series" else TEXTS
    return [row(path, type_, draw(value), step, draw(TIMES)) for step in sorted(steps)]


@st.composite
def projects(draw: st.DrawFn) -> dict[str, list[Row]]:
    """Sys id → rows of objects of several kinds."""
    made = {}
    for id_ in draw(st.lists(st.sampled_from(sorted(IDS)), min_size=1, unique=True)):
        paths = draw(st.lists(PATHS, max_size=6, unique=True))
        rows = [one for path in paths for one in draw(attribute(path))]
        made[id_] = [*rows, row("sys/id", "string", id_), row("sys/state", "string", "idle")]
        if IDS[id_] == "model_version":
            made[id_].append(row("sys/model_id", "string", "TAB-NET"))
        made[id_].append(row("sys/modification_time", "datetime", draw(TIMES)))
    if "TAB-NET-1" in made:  # versions are found by their models
        made.setdefault("TAB-NET", [row("sys/id", "string", "TAB-NET")])
    # An object of its own that every project of 2.x has.
    made.setdefault("TAB", [row("sys/id", "string", "TAB")])
    if not any(one["path"] == "sys/modification_time" for one in made["TAB"]):
        made["TAB"].append(row("sys/modification_time", "datetime", 0))
    return made


def write(archive: Archive, key: RunKey, rows: list[Row]) -> str:
    """One object as this project's export from 2.x writes it; returns its digest."""
    with RunWriter(archive, key, "neptune2") as writer:
        ready = []
        for i, one in enumerate(rows):
            if one["type"] in ("file", "file_set", "artifact", "file_series"):
                staged = writer.staging_path(f"made-{i}")
                staged.write_bytes(one["value"])
                extension = ".png" if one["type"] == "file_series" else ".txt"
                if one["type"] in ("file_set", "artifact"):
                    extension = ".zip" if one["value"].startswith(b"PK") else ".json"
                step = one["step"]
                at = "" if step is None else f"{step // 10**6}.000000"
                path = writer.add_file(staged, one["path"], at, extension, f"name{extension}")
                one = one | {"value": path}
            ready.append(one)
        writer.write(make_batch(key.project, key.run, ready))
        return writer.commit().digest


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(projects())
def test_what_is_served_and_exported_is_what_was_archived(
    server: RunningServer, content: dict[str, list[Row]]
) -> None:
    project = f"acme/made-{next(numbers)}"
    source = source_of(server, "neptune2")
    with tempfile.TemporaryDirectory() as folder:
        there, back = archive_in(Path(folder) / "there"), archive_in(Path(folder) / "back")
        expected = {
            (key := RunKey(project, id_, IDS[id_])): write(there, key, rows)
            for id_, rows in content.items()
        }
        load_archive(server.store, there.data, there.files)
        plan = plan_export(source, back, project, Selection())
        assert {ref.key for ref in plan.due} == set(expected)
        assert export_runs(source, back, plan.due, Selection()).failures == []
        found = back.runs(project)
        assert {key: run.sums().digest() for key, run in found.items()} == expected
        names = {e.name for run in found.values() if run.manifest for e in run.manifest.files}
        assert {name for name in names if name and name.endswith(".txt")} <= {"name.txt"}
        del server.store.projects[project]
