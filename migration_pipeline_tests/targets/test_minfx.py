"""What Minfx shows of a run that was loaded, what was sent for it, and that the SDK agrees."""

from __future__ import annotations

import base64
import getpass
import inspect
import io
import json
import math
import os
import re
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.neptune_server.store import FileSetValue, Run
from migration_pipeline.targets.loading import load_runs, plan_load, verify_runs
from migration_pipeline.targets.minfx.capabilities import CAPABILITIES
from migration_pipeline.targets.minfx.config import MINFX
from migration_pipeline.targets.neptune2 import capabilities, marks, placing
from migration_pipeline.targets.neptune2.naming import custom_id
from migration_pipeline.targets.neptune2.numbers import decoded, encoded
from migration_pipeline.targets.target import TargetRun
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    histogram,
    of,
    param,
    write_run,
)
from migration_pipeline_tests.contract.neptune2 import artifact, file_set
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.targets.minfx_backend import make, project, server

KEY, NO_MAPPING = RunKey(PROJECT, "RUN-1"), ProjectMapping()


def png(shade: int) -> bytes:
    made = io.BytesIO()
    Image.new("L", (2, 2), shade).save(made, "PNG")
    return made.getvalue()


EVERYTHING = of(
    "everything",
    param("sys/id", "string", "ABC-7"),
    param("sys/name", "string", "an experiment"),
    param("sys/description", "string", "what it was for"),
    param("sys/owner", "string", "ada"),
    param("sys/failed", "bool", True),
    param("sys/group_tags", "string_set", ["g"]),
    param("p/int", "int", -(2**31)),
    param("p/large", "int", 2**31),
    param("p/nan", "float", math.nan),
    param("p/when", "datetime", START + 1),
    param("p/set", "string_set", ["a", "b"]),
    param("p/long", "string", "x" * 20_000),
    *floats("m/a", [("0.5", START, 1.0), ("2", START + 1, -math.inf), ("1", START + 2, 7.0)]),
    Row("log", "string_series", "line", "0", START),
    Row("log", "string_series", "late", "0", START + 1),
    Row("h", "histogram_series", histogram("COUNTING", [0.0, 1.0], [2.0]), "1", START),
    Row("model/weights", "file", b"\x80", extension=".pkl"),
    Row("charts", "file_series", png(2), "2", START + 2, extension=".png"),
    Row("charts", "file_series", png(1), "1", START + 1, extension=".png"),
    Row("tables", "file_series", b"a,b", "1.5", START, extension=".csv"),
    Row("pages", "file_series", b"<html>", "1", START, extension=".html"),
    *file_set("code", {"train.py": b"print()", "pkg/a.py": b""}),
    *artifact("data", {"train.csv": b"a,b\n"}),
)


@pytest.fixture
def loaded(tmp_path: Path) -> Run:
    archive = build(tmp_path, EVERYTHING)
    load(tmp_path, archive)
    [run] = project(tmp_path).runs.values()
    return run


@pytest.fixture
def record() -> Iterator[Any]:
    recorder = server().recorder
    recorder.on = True
    yield recorder
    recorder.on = False
    recorder.requests.clear()


def load(folder: Path, archive: Archive) -> list[TargetRun]:
    target = make(folder)
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, plan.due, parallel=1)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    return list(target.runs(PROJECT, plan.mapping).values())


def value(run: Run, path: str) -> tuple[str, Any]:
    found = run.attributes[path]
    return found.type, found.value


def test_what_is_there(loaded: Run) -> None:
    """The mapping, attribute by attribute."""
    assert {path: value(loaded, path) for path in ("p/int", "p/large", "p/when", "p/set")} == {
        "p/int": ("int", -(2**31)),
        "p/large": ("string", "2147483648"),
        "p/when": ("datetime", START + 1),
        "p/set": ("string", '["a", "b"]'),
    }
    assert math.isnan(value(loaded, "p/nan")[1])
    long = value(loaded, "p/long")[1]
    assert len(long) == 16_384
    assert long.endswith("… [cut: 20000 characters, whole in neptune/parameters.jsonl]")
    points = loaded.attributes["m/a"].value
    assert points.steps.tolist() == [0.5, 2.0]
    assert points.timestamps.tolist() == [START, START + 1]
    assert points.values.tolist() == [1.0, -math.inf]
    log = loaded.attributes["log"].value
    assert (log.steps, log.timestamps, log.values) == ([0.0], [START], ["line"])
    files = {path: one.value for path, one in loaded.attributes.items() if one.type == "file"}
    assert files["model/weights"].extension == "pkl"
    assert {path for path in files if not path.startswith("import/neptune/")} == {
        "model/weights",
        "import/series/h.jsonl",
        "import/files/code.zip",
        "import/files/code.json",
        "import/files/data.json",
        "import/files/data.zip",
    }
    charts = loaded.attributes["charts"].value
    assert (charts.steps, charts.timestamps) == ([1.0, 2.0], [START + 1, START + 2])
    kinds = {
        p: loaded.attributes[p].value.values[0].mime_type for p in ("charts", "tables", "pages")
    }
    assert kinds == {"charts": "image/png", "tables": "text/csv", "pages": "text/html"}
    code = loaded.attributes["code"].value
    assert isinstance(code, FileSetValue)
    assert {name: file.size for name, file in code.files.items()} == {"train.py": 7, "pkg/a.py": 0}
    [listed] = loaded.project.artifacts[value(loaded, "data")[1]] or ()
    assert (listed.path, listed.size) == ("train.csv", 4)


def test_what_a_person_sees_of_a_run(loaded: Run) -> None:
    shown = {
        path: loaded.attributes[path].value
        for path in loaded.attributes
        if re.match(r"sys/(name|description|failed|tags|group_tags|custom)|import/(run|orig)", path)
    }
    assert shown == {
        "sys/name": "an experiment",
        "sys/description": "what it was for",
        "sys/failed": True,
        "sys/tags": ("one", "two, three"),
        "sys/group_tags": ("g",),
        "sys/custom_run_id": custom_id(KEY, NO_MAPPING),
        "import/original_run_id": "RUN-1",
        "import/original_project_id": PROJECT,
        "import/run/kind": "run",
        "import/run/sys_id": "ABC-7",
        "import/run/owner": "ada",
        "import/run/start": START,
        "import/run/end": START + 1000,
    }
    assert value(loaded, "import/sys/owner") == ("string", "ada")
    assert value(loaded, marks.LOAD) == ("string", "complete")


def test_the_sdk_reads_what_was_loaded(
    loaded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minfx import neptune_v2

    monkeypatch.chdir(tmp_path)
    with neptune_v2.init_run(
        project=loaded.project.identifier,
        api_token=server().token,
        with_id=loaded.sys_id,
        mode="read-only",
    ) as run:
        assert run["p/int"].fetch() == -(2**31)
        assert run["sys/tags"].fetch() == {"one", "two, three"}
        points = run["m/a"].fetch_values(include_timestamp=False)
        assert points["step"].tolist() == [0.5, 2.0]
        assert run["log"].fetch_values(include_timestamp=False)["value"].tolist() == ["line"]
        assert [f.file_path for f in run["data"].fetch_files_list()] == ["train.csv"]
        (tmp_path / "out").mkdir()
        for path in ("model/weights", "charts", "tables", "code"):
            run[path].download(str(tmp_path / "out"))
    out = tmp_path / "out"
    assert (out / "weights.pkl").read_bytes() == b"\x80"
    assert [(out / f"{i}.png").read_bytes() for i in range(2)] == [png(1), png(2)]
    with zipfile.ZipFile(out / "code.zip") as archive:
        assert archive.read("train.py") == b"print()"


def test_no_name_is_a_folder_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK does not open a run that has `a` and `a/b`."""
    from minfx import neptune_v2

    rows = (param("a", "int", 1), *curve("a/b", 2), Row("a/b/c", "file", b"c", extension=".txt"))
    load(tmp_path, build(tmp_path, of("folders", *rows, param("sys", "int", 2))))
    [run] = project(tmp_path).runs.values()
    names = sorted(p for p in run.attributes if p[0] in "a" or p.startswith("sys-"))
    assert [re.sub("-[0-9a-f]{8}$", "-…", name) for name in names] == [
        "a-…",
        "a/b-…",
        "a/b/c",
        "sys-…",
    ]
    monkeypatch.chdir(tmp_path)
    with neptune_v2.init_run(
        project=run.project.identifier,
        api_token=server().token,
        with_id=run.sys_id,
        mode="read-only",
    ) as read:
        assert read[names[0]].fetch() == 1


@pytest.mark.parametrize("path", ["model/weights", "charts", "tables", "code", "data"])
def test_what_changes_at_the_server_is_found(loaded: Run, tmp_path: Path, path: str) -> None:
    """Of sets and artifacts as well, of which the archive's own file lies beside."""
    archive = Archive(tmp_path / "data", tmp_path / "files")
    found = loaded.attributes[path]
    if path == "model/weights":
        found.value = loaded.attributes["import/files/code.zip"].value
    elif path in ("charts", "tables"):
        found.value.values[0] = loaded.attributes["import/files/code.zip"].value
        found.value.values[0] = replace(found.value.values[0], mime_type=_mime(path))
    elif path == "code":
        found.value = FileSetValue({"train.py": found.value.files["train.py"]})
    else:
        loaded.project.artifacts[found.value] = ()
    [run] = verify_runs(make(tmp_path), archive, NO_MAPPING, [KEY]).runs
    assert run.verdict
    assert [(f.kind, f.attribute) for f in run.verdict.findings] == [("differing", path)]


def _mime(path: str) -> str:
    return {"charts": "image/png", "tables": "text/csv"}[path]


@pytest.mark.parametrize("path", ["model/weights", "charts", "code", "data", "log", "p/int"])
def test_what_is_gone_at_the_server_is_found(loaded: Run, tmp_path: Path, path: str) -> None:
    archive = Archive(tmp_path / "data", tmp_path / "files")
    del loaded.attributes[path]
    [run] = verify_runs(make(tmp_path), archive, NO_MAPPING, [KEY]).runs
    assert run.verdict
    assert {f.attribute for f in run.verdict.findings} == {path}


def test_losses_are_named(tmp_path: Path) -> None:
    archive = build(tmp_path, EVERYTHING)
    target = make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    [run] = load_runs(target, archive, plan.mapping, plan.due).runs
    assert run.report
    said = {(one.attribute, one.reason, one.count) for one in run.report.losses}
    assert said == {
        ("m/a", "step does not grow", 1),
        ("log", "step does not grow", 1),
        ("p/long", "parameter too long", 1),
    }
    assert all(one.kept.startswith("neptune/") for one in run.report.losses)


def test_nothing_of_this_machine_is_sent(tmp_path: Path, record: Any) -> None:
    load(tmp_path, build(tmp_path, EVERYTHING))
    sent = "\n".join(
        f"{one.method} {one.path} {one.query} {one.headers} {_readable(one.body)}"
        for one in record.requests
    )
    words = {
        "host": socket.gethostname(),
        "folder": os.getcwd(),
        "archive": str(tmp_path),
        "user": f'"{getpass.getuser()}"',
        "system": os.uname().release,
        "program": "pytest",
    }
    assert {name for name, word in words.items() if word and word in sent} == set()
    created = record.of("/experiments$")[0].json
    assert created["gitInfo"] is None
    assert not {"notebookId", "hostname", "entrypoint"} & set(created)
    assert not record.of("ping|monitoring|signal")


def _readable(body: bytes) -> str:
    """What lies in base64 as well."""
    text = body.decode(errors="replace")
    found = re.findall(r'"data":\s*"([A-Za-z0-9+/=]+)"', text)
    return text + "".join(base64.b64decode(one).decode(errors="replace") for one in found)


def test_a_load_of_little_takes_few_requests(tmp_path: Path, record: Any) -> None:
    archive = build(tmp_path, of("little", *curve("m/a"), param("p", "int", 1)))
    target = make(tmp_path)
    plan = plan_load(target, archive, PROJECT)
    record.requests.clear()
    load_runs(target, archive, plan.mapping, plan.due, verify="off")
    calls = [f"{one.method} {one.path.rpartition('/v1/')[2]}" for one in record.requests]
    assert calls == [
        "POST leaderboard/entries/search",
        "POST experiments",
        "GET attributes",
        "POST attributes/operations",  # whose run it is
        "POST attributes/operations",  # parameters
        "POST attributes/operations",  # points
        "POST attributes/storage/file/upload",  # what the names mean
        "GET attributes",  # whether nobody has begun it anew
        "POST attributes/operations",  # the mark
    ]
    last = record.requests[-1].json[-1]
    assert last == {"path": marks.LOAD, "assignString": {"value": "complete"}}
    queries = [one.query for one in record.of("operations$")]
    assert all(f"organizationName={account_key(tmp_path)}" in query for query in queries)


def test_what_is_loaded_anew_keeps_its_place(tmp_path: Path) -> None:
    archive = build(tmp_path, EVERYTHING)
    [first] = load(tmp_path, archive)
    write_run(archive, RunData("RUN-1", (param("p", "int", 1),)))
    [second] = load(tmp_path, archive)
    assert (first.ids, first.url) == (second.ids, second.url)
    [run] = project(tmp_path).runs.values()
    of_archive = {p for p in run.attributes if not p.startswith(("sys/", "import/"))}
    assert of_archive == {"p"}
    assert run.attributes["sys/description"].value == ""
    assert run.attributes["sys/group_tags"].value == ()


def test_what_the_server_owns_is_not_deleted(tmp_path: Path, record: Any) -> None:
    archive = build(tmp_path, EVERYTHING)
    load(tmp_path, archive)
    write_run(archive, RunData("RUN-1", (param("p", "int", 1),)))
    record.requests.clear()
    load(tmp_path, archive)
    deleted = {
        operation["path"]
        for one in record.of("operations$")
        for operation in one.json
        if "deleteAttribute" in operation
    }
    assert "p/int" in deleted
    assert not [path for path in deleted if path.startswith("sys/")]


def test_large_files_of_a_set_do_not_travel_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As these would have to be held in memory."""
    monkeypatch.setattr(placing, "PART_BYTES", 10)
    files = {"a.txt": b"small", "weights/b.bin": b"x" * 11, "c.txt": b"also small"}
    archive = build(tmp_path, of("sets", *file_set("code", files)))
    target = make(tmp_path)
    alone: list[str] = []
    put = target._api.put_member

    def noted(run: str, path: str, inside: str, file: Path) -> None:
        alone.append(inside)
        put(run, path, inside, file)

    monkeypatch.setattr(target._api, "put_member", noted)
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, plan.due)
    assert [str(run.error or run.verdict) for run in result.runs if not run.good] == []
    assert alone == ["weights/b.bin"]
    [run] = project(tmp_path).runs.values()
    assert set(run.attributes["code"].value.files) == set(files)


def test_forks(tmp_path: Path) -> None:
    """The server's own id of the parent, whichever of the two came first."""
    runs = (
        RunData("child", (param("sys/forking/step", "float", 2.0),), parent="root"),
        RunData("root"),
    )
    load(tmp_path, build(tmp_path, DataSet("forks", runs)))
    found = {run.attributes["import/original_run_id"].value: run for run in project(tmp_path)}
    child = {p: a.value for p, a in found["child"].attributes.items() if "import/forking" in p}
    assert child == {
        "import/forking/parent": "root",
        "import/forking/parent_id": found["root"].sys_id,
        "import/forking/step": 2.0,
    }


def test_custom_ids_are_those_that_the_client_takes() -> None:
    keys = [
        RunKey(p, r, k) for p in ("a/b", "a/c") for r in ("1", "x" * 400) for k in ("run", "model")
    ]
    ids = {
        custom_id(key, mapping) for key in keys for mapping in (NO_MAPPING, ProjectMapping(1, "p"))
    }
    assert len(ids) == 2 * len(keys)
    assert {len(one) for one in ids} == {capabilities.CUSTOM_ID_LENGTH}


@pytest.mark.parametrize("number", [1.5, math.inf, -math.inf, -0.0, 5e-324, math.nan])
def test_numbers_in_json(number: float) -> None:
    back = decoded(json.loads(json.dumps(encoded(number))))
    assert repr(back) == repr(number)


def test_numbers_are_sent_as_the_sdk_sends_them() -> None:
    from minfx.neptune_v2.internal.backends.operation_api_object_converter import (
        encode_float_for_json,
    )

    numbers = [1.5, math.inf, -math.inf, -0.0, 0.0, math.nan]
    assert [encoded(n) for n in numbers] == [encode_float_for_json(n) for n in numbers]


def test_limits_are_those_of_the_installed_sdk() -> None:
    from minfx.neptune_v2 import constants
    from minfx.neptune_v2.attributes.atoms.string import String
    from minfx.neptune_v2.internal.init import parameters
    from minfx.neptune_v2.internal.utils import limits
    from minfx.neptune_v2.types.series.string_series import MAX_STRING_SERIES_VALUE_LENGTH

    assert CAPABILITIES.parameter_max_length == String.MAX_VALUE_LENGTH
    assert CAPABILITIES.text_point_max_length == MAX_STRING_SERIES_VALUE_LENGTH
    whole = range(constants.MIN_32_BIT_INT, constants.MAX_32_BIT_INT + 1)
    assert whole == capabilities.WHOLE_NUMBERS
    assert parameters.MAX_SERVER_OFFSET == capabilities.WINDOW
    assert limits._CUSTOM_RUN_ID_LENGTH == capabilities.CUSTOM_ID_LENGTH


def test_calls_fit_the_installed_sdk() -> None:
    """Every part of the client that the connection takes, by its signature."""
    from bravado.client import SwaggerClient
    from minfx.neptune_v2.common.oauth import NeptuneAuth, NeptuneAuthenticator
    from minfx.neptune_v2.internal.backends import hosted_client, utils
    from minfx.neptune_v2.internal.backends.hosted_neptune_backend import HostedNeptuneBackend
    from minfx.neptune_v2.internal.backends.swagger_client_wrapper import SwaggerClientWrapper

    inspect.signature(hosted_client.create_http_client).bind(True, None)
    inspect.signature(utils.ssl_verify).bind()
    inspect.signature(NeptuneAuthenticator).bind("token", None, True, None)
    inspect.signature(NeptuneAuthenticator.apply).bind(None, None)
    inspect.signature(NeptuneAuth).bind(lambda: None)
    inspect.signature(SwaggerClientWrapper).bind(None)
    inspect.signature(SwaggerClient.from_spec).bind({}, "", None, {})
    assert {"auth"} <= set(vars(NeptuneAuthenticator("t", _Backend(), True, None)))
    options = hosted_client.DEFAULT_REQUEST_KWARGS["_request_options"]
    assert options["headers"] == {"X-Neptune-LegacyClient": "false"}
    backend = HostedNeptuneBackend.__new__(HostedNeptuneBackend)
    for address in ("https://demo.minfx.ai", "http://localhost:1", "https://api.minfx.ai"):
        backend._api_url = address
        theirs = backend.get_run_url("", "team", "runs", "RUN-1")
        assert MINFX.url(address, "team/runs", "RUN-1") == theirs


class _Backend:
    """Enough of the client for an authenticator: one exchange of a token."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    @property
    def accessToken(self) -> str:  # noqa: N802 - as the server calls it
        import jwt

        claims = {"exp": 4e9, "azp": "cli", "iss": "http://127.0.0.1"}
        return jwt.encode(claims, "secret of thirty-two bytes, at least", "HS256")

    refreshToken = "refresh"  # noqa: N815


def test_every_operation_is_one_that_the_sdk_calls() -> None:
    """By the names under which the client's own code asks the server's documents."""
    import minfx.neptune_v2 as package

    ours = Path(inspect.getfile(capabilities)).parent
    asked = {
        name
        for path in ours.glob("*.py")
        for name in re.findall(r'"(?:leaderboard|backend|artifacts)",\s*"(\w+)"', path.read_text())
    }
    assert len(asked) > 12
    root = Path(inspect.getfile(package)).parent
    folders = (root / "internal", root / "management", root / "api")
    sources = "\n".join(p.read_text() for folder in folders for p in folder.rglob("*.py"))
    assert {name for name in asked if name not in sources} == set()


def test_whole_numbers_have_32_bits_there(tmp_path: Path) -> None:
    """A rule of the server."""
    target = make(tmp_path)
    made = target._api.create("neptune-x")
    target._api.execute(made["id"], [{"path": "p", "assignInt": {"value": 2**31 - 1}}])
    with pytest.raises(Exception, match="2147483648 is not a whole number of 32 bits"):
        target._api.execute(made["id"], [{"path": "p", "assignInt": {"value": 2**31}}])
