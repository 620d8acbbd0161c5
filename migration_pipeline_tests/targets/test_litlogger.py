"""Lightning AI: what arrives there, what of this machine does not, and that the real SDK agrees."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.litlogger import read_back, sending
from migration_pipeline.targets.litlogger.client import LitloggerTarget
from migration_pipeline.targets.litlogger.naming import colors, experiment_name, teamspace_name
from migration_pipeline.targets.litlogger.sending import requests_of
from migration_pipeline.targets.loading import load_runs, plan_load, verify_runs
from migration_pipeline.targets.remote.pieces import Piece, piece
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
    lines,
    param,
)
from migration_pipeline_tests.servers.litlogger import LitloggerService
from migration_pipeline_tests.servers.litlogger.state import Stream, Teamspace
from migration_pipeline_tests.servers.standin import account_key, serving
from migration_pipeline_tests.targets.litlogger_backend import (
    account,
    configuration,
    make,
    service,
)
from migration_pipeline_tests.targets.loads import load

MAPPING = ProjectMapping()
KEY = RunKey(PROJECT, "RUN-1")
ROWS = (
    *floats("m/loss", [("0", START, 0.5), ("1", START + 1, 0.25), ("2", -1, 1e300)]),
    param("lr", "float", 0.1),
    param("optimizer", "string", "adam"),
    param("sys/tags", "string_set", ["a", "b,c"]),
    param("sys/group_tags", "string_set", ["g"]),
    param("sys/failed", "bool", True),
    param("sys/description", "string", "what it was for"),
    *lines("monitoring/log", 3),
    Row("dist", "histogram_series", histogram("COUNTING", [0.0, 0.1, 1.0], [2.0, 3.0]), "1", START),
    Row("model", "file", b"weights"),
    Row("empty", "file", b""),
    Row("images", "file_series", b"png", "3", START, ".png"),
)


@pytest.fixture
def server() -> Iterator[LitloggerService]:
    """One of its own: what it records is of one test."""
    with serving(LitloggerService()) as found:
        yield found


def of_its_own(server: LitloggerService, folder: Path, **settings: Any) -> LitloggerTarget:
    key = account_key(folder)
    known = server.account(key)
    config = configuration(folder, cloud_url=server.url, user_id=known.user_id, **settings)
    return LitloggerTarget(config)


def the_experiment(
    folder: Path, server: LitloggerService | None = None
) -> tuple[Teamspace, Stream]:
    spaces = (server or service()).account(account_key(folder)).teamspaces
    (space,) = spaces.values()
    (stream,) = space.streams.values()
    return space, stream


def one_run(folder: Path, rows: tuple[Row, ...] = ROWS) -> Any:
    return build(folder, DataSet("one", (RunData(KEY.run, rows),)))


# --- what arrives -------------------------------------------------------------------------------


def test_what_a_run_becomes(tmp_path: Path) -> None:
    target = make(tmp_path)
    assert load(target, one_run(tmp_path)) == []
    space, stream = the_experiment(tmp_path)
    assert (space.name, space.display_name) == ("team_project", "team_project")
    assert re.fullmatch(r"RUN-1-[0-9a-f]{8}", stream.name)
    assert (stream.phase, stream.persisted) == ("FAILED", True)
    assert (stream.store_step, stream.store_created_at) == (True, True)
    assert stream.metrics()["m/loss"].rows() == [
        (0, "2023-11-14T22:13:20.000Z", 0.5),
        (1, "2023-11-14T22:13:20.001Z", 0.25),
        (2, "1969-12-31T23:59:59.999Z", 1e300),
    ]
    tags = {tag["name"]: tag["value"] for tag in stream.tags}
    assert all(tag["fromCode"] for tag in stream.tags)
    shown = {name: value for name, value in tags.items() if not name.startswith("neptune.")}
    assert {name: shown[name] for name in ("lr", "optimizer", "sys/tags")} == {
        "lr": "0.1",
        "optimizer": "adam",
        "sys/tags": '["a", "b,c"]',
    }
    assert {name: tags[f"neptune.{name}"] for name in ("run_id", "project", "tags", "start")} == {
        "run_id": "RUN-1",
        "project": PROJECT,
        "tags": '["a", "b,c"]',
        "start": "2023-11-14T22:13:20.000Z",
    }
    assert (tags["neptune.load_state"], tags["neptune.verified"]) == ("complete", "true")
    folder = f"experiments/{stream.name}"
    files = {path.removeprefix(f"{folder}/"): of for path, of in space.blobs.items()}
    assert sorted(files) == sorted(stream.artifacts.values())
    assert files["files/model"] == b"weights"
    assert files["files/empty"] == b""
    assert files["files/images/step_3.png"] == b"png"
    log = [json.loads(line) for line in files["series/monitoring/log.jsonl"].splitlines()]
    assert [line["value"] for line in log] == ["line 0\n", "line 1\n", "line 2\n"]
    (dist,) = [json.loads(line) for line in files["series/dist.jsonl"].splitlines()]
    assert dist["edges"] == [0.0, 0.1, 1.0]


def test_a_fork_names_its_parents_experiment(tmp_path: Path) -> None:
    """Also where the parent comes after its child."""
    runs = (
        RunData("root", tuple(curve("m", 2))),
        RunData("child", tuple(curve("m", 2)), parent="root"),
    )
    archive, target = build(tmp_path, DataSet("fork", runs)), make(tmp_path)
    for name in ("child", "root"):
        assert all(
            r.good for r in load_runs(target, archive, MAPPING, [RunKey(PROJECT, name)]).runs
        )
    (space,) = account(tmp_path).teamspaces.values()
    root = experiment_name(RunKey(PROJECT, "root"), MAPPING)
    child = space.by_name(experiment_name(RunKey(PROJECT, "child"), MAPPING))
    assert child
    tags = {tag["name"]: tag["value"] for tag in child.tags}
    assert (tags["neptune.fork.parent"], tags["neptune.fork.parent_experiment"]) == ("root", root)
    assert target.facts(RunKey(PROJECT, "child"), MAPPING).parent == "root"


def test_old_files_of_that_name_are_not_of_the_run(tmp_path: Path) -> None:
    """Files lie under the name of an experiment, and stay when it is deleted by hand."""
    archive, target = one_run(tmp_path), make(tmp_path)
    assert load(target, archive) == []
    space, stream = the_experiment(tmp_path)
    folder = f"experiments/{stream.name}"
    space.streams.clear()
    line = {"attribute": "m/loss", "shown": [0, START, 0.5], "step": "0", "time": START}
    stale = json.dumps({**line, "value": 7.0, "again": False}).encode()
    space.blobs[f"{folder}/neptune/points.jsonl"] = stale + b"\n"
    assert load(make(tmp_path), archive) == []
    target.discard(KEY, MAPPING)
    assert [path for path in space.blobs if path.startswith(folder)] == []


def test_large_files_go_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PART_BYTES", 1000)
    content = bytes(range(256)) * 20
    archive = one_run(tmp_path, (Row("model", "file", content), Row("even", "file", b"x" * 2000)))
    assert load(make(tmp_path), archive) == []
    space, stream = the_experiment(tmp_path)
    assert space.blobs[f"experiments/{stream.name}/files/model"] == content
    sizes = [len(u.path) for u in account(tmp_path).uploads.values() if u.path.endswith("/model")]
    assert len(sizes) == 6


def test_a_file_may_be_somewhere_else(tmp_path: Path, server: LitloggerService) -> None:
    """The service may answer with the address of an object store, which gets no credentials."""
    target = of_its_own(server, tmp_path)
    assert load(target, one_run(tmp_path)) == []
    asked: list[dict[str, str]] = []

    class Redirected:
        status, headers = 302, {"Location": "/elsewhere"}

        def release_conn(self) -> None: ...

    class There:
        status, headers = 200, dict[str, str]()

        def stream(self, size: int) -> list[bytes]:
            return [b"con", b"tent"]

        def release_conn(self) -> None: ...

    def send(method: str, url: str, **what: Any) -> Any:
        asked.append(what["headers"])
        return There() if url == f"{server.url}/elsewhere" else Redirected()

    target._to._send = send  # type: ignore[method-assign]
    with (tmp_path / "got").open("wb") as stream:
        target._to.download("/v1/somewhere", stream)
    assert (tmp_path / "got").read_bytes() == b"content"
    assert ["Authorization" in headers for headers in asked] == [True, False]


def test_points_are_read_range_by_range(
    tmp_path: Path, server: LitloggerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are spread unevenly, so one range holds too many; those are asked for in halves."""
    monkeypatch.setattr(read_back, "POINTS_PAGE", 500)
    monkeypatch.setattr(read_back, "POINTS_BYTES", 10_000)
    far = floats("m/far", [("10000000", START, 1.0), ("-7", START, 2.0)])
    archive = one_run(tmp_path, (*curve("m/a", 1200), *curve("m/b", 30), *far))
    assert load(of_its_own(server, tmp_path), archive) == []
    asked = [name for name in server.traffic.requests if name.endswith("/logger-metrics")]
    assert sum(server.traffic.requests[name] for name in asked) > 8


def test_a_point_that_lost_its_time_or_changed_is_a_finding(tmp_path: Path) -> None:
    archive, target = one_run(tmp_path, tuple(curve("m", 3))), make(tmp_path)
    assert load(target, archive) == []
    _, stream = the_experiment(tmp_path)
    for change in ("times", "numbers", "steps"):
        kept = getattr(stream.batches[0][2], change)[:]
        getattr(stream.batches[0][2], change)[1] = {"times": None, "numbers": 9.0, "steps": 17}[
            change
        ]
        (run,) = verify_runs(target, archive, MAPPING, [KEY]).runs
        assert run.verdict
        assert [(f.kind, f.attribute) for f in run.verdict.findings] == [("differing", "m")], change
        getattr(stream.batches[0][2], change)[:] = kept


def test_a_page_of_a_listing_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_pipeline.targets.litlogger.records.LIST_PAGE", 2)
    names = ["a", "b", "c", "d", "e"]
    runs = tuple(RunData(name, (param("p", "int", 1),)) for name in names)
    archive, target = build(tmp_path, DataSet("five", runs)), make(tmp_path)
    assert load(target, archive) == []
    assert sorted(key.run for key in target.runs(PROJECT, MAPPING)) == names


def test_a_service_that_gives_smaller_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that the listing leaves out would be deleted and sent again."""
    monkeypatch.setattr("migration_pipeline_tests.servers.litlogger.streams.LARGEST_PAGE", 2)
    runs = tuple(RunData(name, (param("p", "int", 1),)) for name in "abcde")
    archive, target = build(tmp_path, DataSet("five", runs)), make(tmp_path)
    assert load(target, archive) == []
    assert sorted(key.run for key in target.runs(PROJECT, MAPPING)) == list("abcde")


@pytest.mark.parametrize("run", ["nul\0byte", "tab\tnew\nline", '"quoted"', " spaces ", "‮"])
def test_run_ids_that_are_not_plain_text(run: str, tmp_path: Path) -> None:
    archive = build(tmp_path, DataSet("odd", (RunData(run, tuple(curve("m", 2))),)))
    target = make(tmp_path)
    assert load(target, archive) == []
    assert [key.run for key in target.runs(PROJECT, MAPPING)] == [run]
    assert plan_load(make(tmp_path), archive, PROJECT).due == []


def test_long_tags_are_cut_and_said_to_be(tmp_path: Path) -> None:
    many = [f"tag number {i}" for i in range(200)]
    rows = (
        param("sys/tags", "string_set", many),
        param("sys/group_tags", "string_set", many),
        param("sys/name", "string", "n" * 3000),
        param("sys/description", "string", "d" * 3000),
    )
    assert load(make(tmp_path), one_run(tmp_path, rows)) == []


# --- names and numbers --------------------------------------------------------------------------

_PART = st.text(alphabet="ab_-./ é", min_size=1, max_size=5)


@settings(deadline=None)
@given(
    st.lists(st.tuples(_PART, _PART, st.sampled_from(["", "p", "p_w"])), unique=True, max_size=30)
)
def test_projects_never_share_a_teamspace(projects: list[tuple[str, str, str]]) -> None:
    known = {(f"{w}/{p}", prefix) for w, p, prefix in projects}
    names = {teamspace_name(project, ProjectMapping(1, prefix)) for project, prefix in known}
    assert len(names) == len(known)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_runs_never_share_an_experiment(one: str, other: str) -> None:
    names = [experiment_name(RunKey(PROJECT, run), MAPPING) for run in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{10,64}", name) for name in names)
    as_model = experiment_name(RunKey(PROJECT, one, "model"), MAPPING)
    assert as_model != names[0]


_MS = st.integers(-62_135_596_800_000, 253_402_300_799_999)
_DOUBLE = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value or 0.0)
"""-0.0 is kept beside, as the capabilities say."""


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), _MS, _DOUBLE), min_size=1, max_size=50))
def test_numbers_arrive_to_the_last_bit(points: list[tuple[int, int, float]]) -> None:
    sent = piece('a/\u00e9"', *(list(column) for column in zip(*points, strict=True)))
    ((metric,),) = json.loads(requests_of([sent], 1000)[0][0]).values()
    assert metric["name"] == 'a/é"'
    values = metric["values"]
    assert [(int(v["step"]), float(v["value"]).hex()) for v in values] == [
        (step, value.hex()) for step, _, value in points
    ]
    back = read_back._piece("a", values)
    assert back.times.tolist() == [time for _, time, _ in points]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1000, [[("a", ["1", "2"]), ("b", ["1"])]]),
        (2, [[("a", ["1"]), ("b", ["1"])], [("a", ["2"])]]),
        (1, [[("a", ["1"])], [("b", ["1"])], [("a", ["2"])]]),
    ],
)
def test_a_series_stands_once_in_a_request(most: int, expected: list[Any]) -> None:
    a, b = piece("a", [1], [2], [3.0]), piece("b", [1], [2], [3.0])
    made = requests_of([a, b, Piece("a", a.steps + 1, a.times, a.values)], most)
    said = [json.loads(body)["metrics"] for body, _ in made]
    assert [
        [(m["name"], [v["step"] for v in m["values"]]) for m in one] for one in said
    ] == expected
    assert [counts for _, counts in made] == [{n: len(of) for n, of in one} for one in expected]


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=6), st.integers(1, 10))
def test_requests_are_full_and_hold_each_point_once(lengths: list[int], most: int) -> None:
    steps = iter(range(100))
    pieces = [
        piece(f"s{number % 3}", [next(steps) for _ in range(length)], [0] * length, [0.5] * length)
        for number, length in enumerate(lengths)
    ]
    found = [json.loads(body)["metrics"] for body, _ in requests_of(pieces, most)]
    sizes = [sum(len(m["values"]) for m in one) for one in found]
    assert all(size == most for size in sizes[:-1])
    assert sum(sizes) == sum(lengths)
    sent = {(m["name"], int(v["step"])) for one in found for m in one for v in m["values"]}
    assert sent == {(one.key, step) for one in pieces for step in one.steps.tolist()}


@pytest.mark.parametrize(
    "time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000001Z"]
)
def test_times_are_read_as_the_service_may_write_them(time: str) -> None:
    at = read_back._piece("a", [{"createdAt": time, "value": 1}]).times
    assert at.tolist() == [np.datetime64(time[:23].rstrip("Z"), "ms").astype(int)]


def test_experiments_have_colors_of_their_own() -> None:
    """As litlogger gives them: the same one each time, on light and on dark ground."""
    names = [f"run {number}" for number in range(40)]
    assert [colors(name) for name in names] == [colors(name) for name in names]
    assert len({colors(name) for name in names}) > 30
    assert all(re.fullmatch("#[0-9A-F]{6}", one) for name in names for one in colors(name))


# --- nothing of this machine --------------------------------------------------------------------


def test_nothing_of_this_machine_is_sent(
    tmp_path: Path, server: LitloggerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything of this process changed: litlogger's own `init` takes its signal handlers,
    starts threads, makes a folder, and tells of host, git and packages."""
    work = tmp_path / "c4n4ry-w0rk"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("LIGHTNING_CLOUD_SPACE_ID", "c4n4ry-sp4c3")
    monkeypatch.setenv("USER", "c4n4ry-us3r")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before, threads = dict(os.environ), set(threading.enumerate())
    server.recorder.on = True
    assert load(of_its_own(server, tmp_path), one_run(tmp_path)) == []
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert dict(os.environ) == before
    assert set(threading.enumerate()) <= threads
    assert list(work.iterdir()) == []
    of_this = {
        socket.gethostname(),
        getpass.getuser(),
        str(Path.home()),
        str(tmp_path),
        sys.argv[0],
    }
    of_this |= {"c4n4ry", str(Path.cwd()), sys.executable, "python-requests", "Grid-CLI"}
    said = " ".join(
        f"{one.method} {one.path}?{one.query} {one.headers} {one.body.decode(errors='replace')}"
        for one in server.recorder.requests
    )
    assert [word for word in of_this if len(word) > 3 and word in said] == []
    assert "sdk-command-history" not in said
    assert "systemInfo" not in said
    agents = {one.headers.get("user-agent") for one in server.recorder.requests}
    assert agents == {"migration_pipeline"}


def test_signed_addresses_get_no_credentials_and_no_chunks(
    tmp_path: Path, server: LitloggerService
) -> None:
    server.recorder.on = True
    key = account_key(tmp_path)
    seen: list[dict[str, str]] = []
    target = of_its_own(server, tmp_path)
    send = target._to._send

    def watched(method: str, url: str, **what: Any) -> Any:
        if "/storage/" in url:
            seen.append(what["headers"])
        return send(method, url, **what)

    target._to._send = watched  # type: ignore[method-assign]
    assert load(target, one_run(tmp_path)) == []
    assert len(seen) >= 6
    assert all(set(headers) == {"Content-Length", "User-Agent"} for headers in seen)
    assert all(key not in one.body.decode(errors="replace") for one in server.recorder.requests)
    stored = server.recorder.of("^/storage/")
    assert "0" in {one.headers["content-length"] for one in stored}
    assert [one for one in stored if "transfer-encoding" in one.headers] == []
