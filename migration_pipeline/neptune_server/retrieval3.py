"""3.x endpoints that search runs and tell their attributes and values."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import (
    attributes_pb2,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model import (
    leaderboard_entries_pb2 as entries_pb2,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .faults import Faults
from .nql import AGGREGATES, Field, NqlError, Predicate, compile_query
from .store import Project, Run, Store
from .types3 import WIRE_TYPES, access_denied, attribute_message, bad_request

PROTOBUF = "application/x-protobuf"
_ADDRESS = ("sys/id", "sys/custom_run_id", "sys/name")
_ARCHIVE_TYPES = {wire: name for name, wire in WIRE_TYPES.items()}
_PAGE = 10_000


class Retrieval:
    """Search, attribute definitions and attribute values. One instance per server."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self.faults = faults

    def search(self, request: Request, body: bytes) -> Response:
        """Runs, or heads of experiments, of one project with the attributes asked for.

        An attribute that addresses the run (sys/id, sys/custom_run_id) is answered even when the
        archive has none, because the clients take the run's identity from it.
        """
        params = _json(body)
        identifier = request.query_params.get("projectIdentifier", "")
        project = self.store.projects.get(identifier)
        if project is None:
            raise access_denied(identifier)
        paths = [one["path"] for one in params.get("attributeFilters") or []] or list(_ADDRESS)
        with self.store.lock:
            return self._entries(params, [project], paths)

    def search_everywhere(self, _: Request, body: bytes) -> Response:
        """The same over all projects: one order, one limit; entries name their project."""
        with self.store.lock:
            return self._entries(_json(body), list(self.store.projects.values()), list(_ADDRESS))

    def _entries(
        self, params: dict[str, Any], projects: list[Project], paths: list[str]
    ) -> Response:
        test = _query(params)
        leaders = params.get("experimentLeader") is True
        runs = [
            run
            for project in projects
            for run in (project.heads() if leaders else project)
            if test is None or test(run)
        ]
        runs = _sorted(runs, params.get("sorting") or {})
        paging = params.get("pagination") or {}
        offset, limit = paging.get("offset") or 0, paging.get("limit", _PAGE)
        limit = _lower(limit, self.faults.limits.search)
        result = entries_pb2.ProtoLeaderboardEntriesSearchResultDTO(matching_item_count=len(runs))
        for run in runs[offset : offset + limit]:
            entry = result.entries.add(
                experiment_id=run.uuid,
                type="run",
                project_id=run.project.uuid,
                organization_id=run.project.workspace,
                project_name=run.project.name,
                organization_name=run.project.workspace,
            )
            for path in dict.fromkeys(paths):
                found = run.lookup(path)
                message = None if found is None else attribute_message(path, found)
                if message is not None:
                    entry.attributes.append(message)
        return Response(result.SerializeToString(), media_type=PROTOBUF)

    def definitions(self, _: Request, body: bytes) -> Response:
        """Each (name, type) once, over all projects asked for, in the order of names.

        Unknown projects are ignored while one is known, as the real server does.
        """
        params = _json(body)
        asked = params.get("projectIdentifiers") or []
        with self.store.lock:
            known = [p for name in asked if (p := self.store.projects.get(name)) is not None]
            if asked and not known:
                raise access_denied(asked[0])
            chosen = _attribute_filter(params)
            found = {
                (path, WIRE_TYPES[attribute.type])
                for run in self._holders(params, known)
                for path, attribute in run.attributes.items()
                if attribute.type in WIRE_TYPES and chosen(path, attribute.type)
            }
        page = params.get("nextPage") or {}
        limit = _lower(page.get("limit") or _PAGE, self.faults.limits.definitions)
        entries = sorted(found)
        if token := page.get("nextPageToken"):
            after = tuple(_untoken(token))
            entries = [entry for entry in entries if entry > after]
        following: dict[str, Any] = {"limit": limit}
        if len(entries) > limit:
            following["nextPageToken"] = _token(entries[limit - 1])
        return JSONResponse(
            {
                "entries": [{"name": name, "type": type_} for name, type_ in entries[:limit]],
                "nextPage": following,
            }
        )

    def values(self, request: Request, body: bytes) -> Response:
        """Values of attributes; a page counts (run, attribute) pairs, so a run may be split."""
        params = _json(body)
        identifier = request.query_params.get("projectIdentifier", "")
        project = self.store.projects.get(identifier)
        if project is None:
            raise access_denied(identifier)
        page = params.get("nextPage") or {}
        limit = _lower(page.get("limit") or _PAGE, self.faults.limits.values)
        start, skip = _untoken(page["nextPageToken"]) if page.get("nextPageToken") else (0, 0)
        result = attributes_pb2.ProtoQueryAttributesResultDTO()
        with self.store.lock:
            runs = list(self._holders(params, [project]))
            for number in range(start, len(runs)):
                run = runs[number]
                entry = None
                for path in islice(_paths(run, params), skip, None):
                    skip += 1
                    found = run.attributes.get(path)
                    message = None if found is None else attribute_message(path, found)
                    if message is None:
                        continue
                    if not limit:
                        result.nextPage.nextPageToken = _token([number, skip - 1])
                        return Response(result.SerializeToString(), media_type=PROTOBUF)
                    if entry is None:
                        entry = result.entries.add(
                            experimentId=run.uuid, experimentShortId=run.sys_id
                        )
                    entry.attributes.append(message)
                    limit -= 1
                skip = 0
        return Response(result.SerializeToString(), media_type=PROTOBUF)

    def _holders(self, params: dict[str, Any], projects: list[Project]) -> Iterator[Run]:
        """Runs named by experimentIdsFilter (unknown ones ignored), else all of the projects."""
        wanted = params.get("experimentIdsFilter")
        if wanted is None:
            for project in projects:
                yield from project
            return
        for holder in dict.fromkeys(wanted):
            run = self.store.resolve(holder)
            if run is not None and run.project in projects:
                yield run


def _paths(run: Run, params: dict[str, Any]) -> Iterable[str]:
    names = params.get("attributeNamesFilter")
    if names is not None:
        return dict.fromkeys(names)
    chosen = _attribute_filter(params)
    return [path for path, attribute in run.attributes.items() if chosen(path, attribute.type)]


def _query(params: dict[str, Any]) -> Predicate | None:
    text = (params.get("query") or {}).get("query")
    if not text:
        return None
    try:
        return _compiled(text)
    except NqlError as error:
        raise bad_request(f"Invalid query: {error}") from error


_compiled = functools.lru_cache(maxsize=32)(compile_query)


def _sorted(runs: list[Run], sorting: dict[str, Any]) -> list[Run]:
    """Ascending and descending mirror each other; runs without the value come last in both."""
    by = sorting.get("sortBy") or {"name": "sys/creation_time", "type": "datetime"}
    descending = sorting.get("dir", "descending") == "descending"
    aggregate = sorting.get("aggregationMode") or "last"
    if aggregate not in AGGREGATES:
        raise bad_request(f"Unknown aggregation mode {aggregate!r}")
    field = Field(by["name"], _ARCHIVE_TYPES.get(by.get("type", "")), aggregate)
    keyed, rest = [], []
    for order, run in enumerate(runs):
        value = field.value(run)
        if value is None or value != value or not isinstance(value, str | int | float | tuple):
            rest.append(run)
        else:
            keyed.append((value, order, run))
    try:
        keyed.sort(key=lambda row: row[:2], reverse=descending)
    except TypeError as error:
        raise bad_request(f"{by['name']} has several types, name one to sort by") from error
    return [run for _, _, run in keyed] + rest


def _attribute_filter(params: dict[str, Any]) -> Callable[[str, str], bool]:
    """Whether an attribute (name, archive's type) is asked for."""
    types = params.get("attributeFilter")
    wanted = None if types is None else {_ARCHIVE_TYPES.get(t["attributeType"]) for t in types}
    alternatives = (params.get("attributeNameFilter") or {}).get("mustMatchAny")
    named = _name_filter(json.dumps(alternatives))
    return lambda path, type_: (wanted is None or type_ in wanted) and named(path)


@functools.lru_cache(maxsize=32)
def _name_filter(alternatives: str) -> Callable[[str], bool]:
    """Of JSON `mustMatchAny`: null lets every name pass, an empty list none."""
    parsed = json.loads(alternatives)
    if parsed is None:
        return lambda _: True
    compiled = [
        (
            [_matcher(pattern) for pattern in one.get("mustMatchRegexes") or []],
            [_matcher(pattern) for pattern in one.get("mustNotMatchRegexes") or []],
        )
        for one in parsed
    ]

    @functools.lru_cache(maxsize=100_000)
    def passes(name: str) -> bool:
        return any(
            all(search(name) for search in required) and not any(search(name) for search in banned)
            for required, banned in compiled
        )

    return passes


def _matcher(pattern: str) -> Callable[[str], object]:
    """An unanchored search. A list of literal names, as the clients send it, becomes a set."""
    names = _literal_names(pattern)
    if names is not None:
        return names.__contains__
    try:
        return re.compile(pattern).search
    except re.error as error:
        raise bad_request(f"Invalid regular expression {pattern!r}: {error}") from error


def _literal_names(pattern: str) -> frozenset[str] | None:
    """The names that `^name$` or `^(name|name)$` matches, None when it is any other regex."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return None
    inner = pattern[1:-1]
    grouped = inner.startswith("(") and inner.endswith(")")
    characters = iter(inner[1:-1] if grouped else inner)
    names: list[str] = []
    current: list[str] = []
    for character in characters:
        if character == "\\":
            character = next(characters, "a")
            if character.isalnum():
                return None
        elif character == "|" and grouped:
            names.append("".join(current))
            current = []
            continue
        elif character in ".^$*+?{}[]()|":
            return None
        current.append(character)
    return frozenset([*names, "".join(current)])


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise bad_request(f"The request's body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise bad_request("The request's body is not a JSON object")
    return parsed


def _lower(asked: int, cap: int | None) -> int:
    return asked if cap is None else min(asked, cap)


def _token(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _untoken(token: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise bad_request("The page token is not one of this server's") from error
