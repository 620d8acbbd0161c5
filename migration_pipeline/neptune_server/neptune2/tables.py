"""Tables of runs, models and model versions, and the catalogue of their attributes.

A table's order is computed once for all its pages: it is kept until something changes. Assumed,
because the vendor's tests leave it open: objects without the column that sorts come last in both
directions, and equal ones follow in the order of their creation (descending: reversed).
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.faults import Faults
from migration_pipeline.neptune_server.nql import NqlError, Predicate, compile_query
from migration_pipeline.neptune_server.series import FloatSeries, ObjectSeries
from migration_pipeline.neptune_server.store import Attribute, Project, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError, bad_request

from .attributes import described, iso, wire_name
from .finding import find_project, number, parsed
from .objects import require_models, summary
from .states import Liveness

WINDOW = 10_000
"""offset + limit of a page: beyond it the vendor's client asks anew, from the last value on."""

_KINDS = {"run": "run", "model": "model", "modelVersion": "model_version", "project": "project"}
_FORK_FILTERS = ("tags", "runIds", "owners", "experimentStates", "trashed")
_NUMBERS = frozenset({"float", "int", "integer"})
_KEPT = 16
_T = TypeVar("_T")
_compiled = lru_cache(maxsize=64)(compile_query)


class Tables:
    """One instance per server."""

    def __init__(self, store: Store, liveness: Liveness, faults: Faults) -> None:
        self.store = store
        self.liveness = liveness
        self.faults = faults
        self._kept: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "searchLeaderboardEntries": self.entries,
            "searchLeaderboardAttributes": self.attribute_names,
        }

    def entries(self, request: Request, body: bytes) -> Response:
        """A page of objects with the attributes asked for, or all of them.

        400 with the title "Syntax error" for a query that is none, and for a page that ends
        beyond the first 10,000.
        """
        params = parsed(body, dict)
        offset, limit = _window(params.get("pagination") or {})
        if self.faults.limits.search is not None:
            limit = min(limit, self.faults.limits.search)
        paths = _paths(params.get("attributeFilters"))
        with self.store.lock:
            self.liveness.settle()
            runs = self._sorted(request, params)
            page = [_entry(run, paths) for run in runs[offset : offset + limit]]
        return JSONResponse({"matchingItemCount": len(runs), "entries": page})

    def attribute_names(self, request: Request, _: bytes) -> Response:
        """Each (name, type) whose name the regex `search` is found in, by name.

        Over all objects of the kinds, trashed ones too, else the clients could not sort a table of
        trashed objects.
        """
        search = request.query_params.get("search") or ""
        try:
            matches = re.compile(search).search
        except re.error as error:
            raise bad_request(f"Invalid regular expression {search!r}: {error}") from error
        with self.store.lock:
            project = find_project(self.store, request.query_params.get("projectIdentifier", ""))
            kinds = self._kinds(request)
            names = self._keep(
                ("names", project.identifier, kinds), lambda: _catalogue(project, kinds)
            )
        found = [{"name": name, "type": type_} for name, type_ in names if matches(name)]
        return JSONResponse({"entries": found[: number(request, "limit", len(found))]})

    def _kinds(self, request: Request) -> frozenset[str]:
        """Kinds asked for; runs when none are named (assumed)."""
        named = request.query_params.getlist("type") or ["run"]
        for name in named:
            if name not in _KINDS:
                raise bad_request(f"Unknown type {name!r}")
            if name.startswith("model"):
                require_models(self.store)
        return frozenset(_KINDS[name] for name in named)

    def _sorted(self, request: Request, params: dict[str, Any]) -> list[Run]:
        project = find_project(self.store, request.query_params.get("projectIdentifier", ""))
        kinds = self._kinds(request)
        query = str((params.get("query") or {}).get("query") or "").strip()
        sorting = params.get("sorting") or {}
        by = sorting.get("sortBy") or {"name": "sys/creation_time", "type": "datetime"}
        descending = sorting.get("dir", "descending") == "descending"
        filters = {name: params[name] for name in _FORK_FILTERS if params.get(name) is not None}

        def compute() -> list[Run]:
            test = _test(query)
            runs = [
                run
                for run in project.runs.values()
                if run.kind in kinds and (test is None or test(run)) and _passes(run, filters)
            ]
            return _in_order(runs, by["name"], by.get("type") or "string", descending)

        key = ("runs", project.identifier, kinds, json.dumps([query, by, descending, filters]))
        return self._keep(key, compute)

    def _keep(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """What was computed since the last change, else computed now."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != self.store.changes:
            kept = (self.store.changes, compute())
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        found: _T = kept[1]
        return found


def _window(paging: dict[str, Any]) -> tuple[int, int]:
    """offset and limit of a page; a limit that is not given is what the clients ask for."""
    offset, limit = paging.get("offset") or 0, paging.get("limit", 100)
    if not isinstance(offset, int) or not isinstance(limit, int) or min(offset, limit) < 0:
        raise bad_request("offset and limit are whole numbers")
    if offset + limit > WINDOW:
        raise bad_request(f"offset + limit must not exceed {WINDOW}")
    return offset, limit


def _paths(filters: Any) -> dict[str, None] | None:
    """Names of the columns that a table shall have; None for all of them."""
    try:
        return None if filters is None else dict.fromkeys(str(one["path"]) for one in filters)
    except (TypeError, KeyError) as error:
        raise bad_request("attributeFilters is a list of objects with a path") from error


def _test(query: str) -> Predicate | None:
    if not query:
        return None
    try:
        return _compiled(query)
    except NqlError as error:
        raise ApiError(400, "INVALID_QUERY", str(error), title="Syntax error") from error


def _passes(run: Run, filters: dict[str, Any]) -> bool:
    """What minfx.neptune_v2 sends in place of a query: all of the tags, one of each other list."""

    def value(path: str) -> Any:
        found = run.lookup(path)
        return None if found is None else found.value

    return (
        set(filters.get("tags", ())) <= set(value("sys/tags") or ())
        and run.sys_id in filters.get("runIds", (run.sys_id,))
        and ("owners" not in filters or value("sys/owner") in filters["owners"])
        and ("experimentStates" not in filters or value("sys/state") in filters["experimentStates"])
        and ("trashed" not in filters or value("sys/trashed") == filters["trashed"])
    )


def _in_order(runs: list[Run], name: str, type_: str, descending: bool) -> list[Run]:
    keyed, rest = [], []
    for order, run in enumerate(runs):
        found = run.lookup(name)
        value = None if found is None else _sort_value(found, type_)
        if value is None or value != value:
            rest.append(run)
        else:
            keyed.append((value, order, run))
    keyed.sort(key=lambda row: row[:2], reverse=descending)
    return [run for _, _, run in keyed] + rest


def _sort_value(attribute: Attribute, type_: str) -> Any:
    """What to compare by; None when the attribute is of another type.

    The clients ask for `float` where a column has whole numbers too, and for `string` where it has
    several types.
    """
    value = attribute.value
    wire = wire_name(attribute)
    if type_ == "string":
        if isinstance(value, bool):
            return str(value).lower()
        if attribute.type == "datetime":
            return iso(value)
        return str(value) if isinstance(value, str | int | float) else None
    if wire != type_ and not (wire in _NUMBERS and type_ in _NUMBERS):
        return value if wire == "bool" and type_ == "boolean" else None
    if isinstance(value, FloatSeries):
        aggregates = value.aggregates()
        return None if aggregates is None else aggregates.last
    if isinstance(value, ObjectSeries):
        last = value.values[-1] if len(value) else None
        return last if isinstance(last, str) else None
    return value if isinstance(value, str | int | float | tuple) else None


def _entry(run: Run, paths: dict[str, None] | None) -> dict[str, Any]:
    """One row of a table. `sys/id` is answered even when the object's archive has none."""
    if paths is None:
        found = list(run.attributes.items())
    else:
        found = [(path, one) for path in paths if (one := run.attributes.get(path)) is not None]
        if "sys/id" in paths and "sys/id" not in run.attributes:
            found.append(("sys/id", Attribute("string", run.sys_id)))
    attributes = [row for path, attribute in found if (row := described(path, attribute))]
    of_object = summary(run)
    return {"experimentId": of_object.pop("id"), **of_object, "attributes": attributes}


def _catalogue(project: Project, kinds: frozenset[str]) -> list[tuple[str, str]]:
    return sorted(
        {
            (path, type_)
            for run in project.runs.values()
            if run.kind in kinds
            for path, attribute in run.attributes.items()
            if (type_ := wire_name(attribute)) is not None
        }
    )
