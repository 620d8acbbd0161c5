"""A source lists the projects of its protocol and refuses the other's by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from migration_pipeline.errors import (
    IncompleteAnswerError,
    SourceRefusedError,
    UnknownProjectError,
    WrongProtocolError,
)
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.store import Store
from migration_pipeline.sources import neptune
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.protocols import PROTOCOLS, Protocol
from migration_pipeline_tests.sources.serving import source_of

ANY_VERSION = {2: "neptune2", 3: "neptune3"}
PROJECTS = {
    "acme/old": 2,
    "acme/older.x__y": 2,
    "other/old": 2,
    "acme/new": 3,
    "zeta/new": 3,
    "acme/ancient": 1,
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return PROTOCOLS[request.param]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RunningServer]:
    store = Store()
    for name, version in PROJECTS.items():
        store.project(name, version=version)
    with running_server(store) as running:
        yield running


@pytest.fixture
def server(shared_server: RunningServer) -> RunningServer:
    shared_server.faults.clear()
    shared_server.traffic.reset()
    return shared_server


def own(version: int) -> list[str]:
    return sorted(name for name, its in PROJECTS.items() if its == version)


@pytest.mark.parametrize(("page", "requests"), [(500, 1), (6, 1), (5, 2), (1, 6)])
def test_projects_of_the_protocol_are_listed_page_by_page(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    protocol: Protocol,
    page: int,
    requests: int,
) -> None:
    monkeypatch.setattr(neptune, "_PROJECTS_PER_PAGE", page)
    with caplog.at_level(logging.INFO, "migration_pipeline"):
        assert source_of(server, protocol.name).list_projects() == own(protocol.version)
    assert server.requests["GET /api/backend/v1/projects"] == requests
    others = own(5 - protocol.version)
    assert (
        f"{len(others)} project(s) are of Neptune {5 - protocol.version}.x, such as {others[0]}: "
        f"MIGRATION_SOURCE={ANY_VERSION[5 - protocol.version]} reads them"
    ) in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("version", [None, 2, 3])
def test_a_project_without_a_version_is_any_sources(
    server: RunningServer, protocol: Protocol, version: int | None
) -> None:
    entry = {"organizationName": "acme", "name": "x", "version": version}
    if version is None:
        del entry["version"]
    content = json.dumps({"entries": [entry], "matchingItemCount": 1}).encode()
    server.faults.add(Fault("v1/projects$", status=200, content=content))
    if version in (None, protocol.version):
        assert source_of(server, protocol.name).list_projects() == ["acme/x"]
    else:
        with pytest.raises(WrongProtocolError):
            source_of(server, protocol.name).list_projects()


def test_a_list_that_is_shorter_than_its_count_is_incomplete(
    server: RunningServer, protocol: Protocol
) -> None:
    content = json.dumps({"entries": [], "matchingItemCount": 3}).encode()
    server.faults.add(Fault("v1/projects$", status=200, content=content))
    with pytest.raises(IncompleteAnswerError, match="counts 3 projects and listed 0"):
        source_of(server, protocol.name).list_projects()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"entries": [1]}'])
def test_a_list_that_is_none_is_named(
    server: RunningServer, protocol: Protocol, content: bytes
) -> None:
    server.faults.add(Fault("v1/projects$", status=200, content=content))
    with pytest.raises(IncompleteAnswerError, match="with something else") as caught:
        source_of(server, protocol.name).list_projects()
    assert server.url in str(caught.value)
    assert "Is this address a Neptune server?" in caught.value.remedy


def test_a_project_of_the_other_protocol_is_refused_with_the_setting_that_reads_it(
    server: RunningServer, protocol: Protocol
) -> None:
    other = 5 - protocol.version
    for project in own(other):
        with pytest.raises(WrongProtocolError, match=f"{project!r}.*Neptune {other}.x") as caught:
            source_of(server, protocol.name).list_runs(project, Selection())
        assert f"MIGRATION_SOURCE={ANY_VERSION[other]}" in caught.value.remedy
        assert caught.value.source == ANY_VERSION[other]


def test_a_project_of_an_older_structure_is_refused(
    server: RunningServer, protocol: Protocol
) -> None:
    with pytest.raises(SourceRefusedError, match=r"'acme/ancient' .* structure of version 1"):
        source_of(server, protocol.name).list_runs("acme/ancient", Selection())


@pytest.mark.parametrize("project", ["acme/none", "none/new", "new", "", "a/b/c", "ä/ö ?&="])
def test_an_unknown_project_is_named(
    server: RunningServer, protocol: Protocol, project: str
) -> None:
    with pytest.raises(UnknownProjectError) as caught:
        source_of(server, protocol.name).list_runs(project, Selection())
    assert caught.value.project == project


def test_a_server_of_the_other_protocol_is_named_with_the_setting_to_change(
    protocol: Protocol,
) -> None:
    """Here no project's version tells: the server itself lacks what is asked for."""
    store = Store()
    store.project("acme/x", version=protocol.version)
    with running_server(store, protocols=(str(5 - protocol.version),)) as server:
        source = source_of(server, protocol.name)
        with pytest.raises(WrongProtocolError, match="does not serve the protocol") as caught:
            source.list_runs("acme/x", Selection())
        assert server.url in str(caught.value)
        assert f"MIGRATION_SOURCE={ANY_VERSION[5 - protocol.version]}" in caught.value.remedy


def test_where_all_projects_are_of_the_other_protocol_the_setting_is_named(
    protocol: Protocol,
) -> None:
    store = Store()
    store.project("acme/x", version=5 - protocol.version)
    with running_server(store) as server:
        with pytest.raises(WrongProtocolError, match="all 1 project") as caught:
            source_of(server, protocol.name).list_projects()
        assert f"MIGRATION_SOURCE={ANY_VERSION[5 - protocol.version]}" in caught.value.remedy
        assert server.url in str(caught.value)
