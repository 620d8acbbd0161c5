"""Which runs a 3.x project has."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import (
    ConfigError,
    CredentialsRefusedError,
    IncompleteAnswerError,
    InvalidQueryError,
    SourceRefusedError,
)
from migration_pipeline.sources.neptune3.client import Neptune3Client
from migration_pipeline.sources.source import RunRef, Selection

log = logging.getLogger(__name__)
_PAGE = 10_000
_IDS_PER_QUERY = 200
_COLUMNS = (
    "sys/id",
    "sys/custom_run_id",
    "sys/modification_time",
    "sys/archived",
    "sys/trashed",
    "sys/forking/parent",
)


def list_runs(client: Neptune3Client, project: str, selection: Selection) -> list[RunRef]:
    """The selected runs, by sys/id. Run ids are sys/custom_run_id, or sys/id where there is none.

    Exact ids are asked for by name; a regular expression is applied here, so that it means the same
    on every server. What `runs_query` says is the server's to evaluate.

    Raises:
        WrongProtocolError: the project is of Neptune 2.x.
        InvalidQueryError: the server does not understand `runs_query`.
        ConfigError: `models_query` is given.
    """
    if selection.models_query:
        raise ConfigError(
            "models_query is set, and Neptune 3.x has no models",
            "Unset it; runs_query holds for the runs.",
        )
    client.check_project(project)
    if not selection.wants_kind("run"):
        log.warning("project %s is of Neptune 3.x, which has no objects but runs", project)
        return []
    try:
        return _list_runs(client, project, selection)
    except SourceRefusedError as error:
        if not selection.runs_query or isinstance(error, CredentialsRefusedError):
            raise
        raise InvalidQueryError("runs_query", selection.runs_query, error.what) from error


def _list_runs(client: Neptune3Client, project: str, selection: Selection) -> list[RunRef]:
    ids = selection.run_ids
    if ids:
        entries = _named(client, project, "sys/custom_run_id", ids, selection.runs_query)
    else:
        entries = _search(client, project, selection.runs_query)
    refs = [_ref(project, entry) for _, entry in sorted(entries.items())]
    by_sys_id = {ref.handle: ref.key.run for ref in refs}
    if ids and (parents := {ref.parent for ref in refs if ref.parent} - by_sys_id.keys()):
        above = _named(client, project, "sys/id", sorted(parents))
        by_sys_id |= {sys_id: _ref(project, entry).key.run for sys_id, entry in above.items()}
    chosen = [
        _with_parent(ref, by_sys_id)
        for ref, entry in zip(refs, [e for _, e in sorted(entries.items())], strict=True)
        if (selection.archived or not (entry.get("sys/archived") or entry.get("sys/trashed")))
        and re.search(selection.run_regex, ref.key.run)
    ]
    _say_what_is_missing(project, selection, refs, chosen)
    return chosen


def _named(
    client: Neptune3Client,
    project: str,
    attribute: str,
    names: Sequence[str],
    also: str = "",
) -> dict[str, dict[str, Any]]:
    """The runs whose `attribute` is one of these names, and for which `also` holds."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(names), _IDS_PER_QUERY):
        query = " OR ".join(
            f'(`{attribute}`:string == "{_escaped(name)}")'
            for name in names[start : start + _IDS_PER_QUERY]
        )
        found |= _search(client, project, f"({query}) AND ({also})" if also else query)
    return found


def _search(client: Neptune3Client, project: str, query: str) -> dict[str, dict[str, Any]]:
    """sys/id → columns. Pages advance by what was received and end at the server's count."""
    found: dict[str, dict[str, Any]] = {}
    offset = 0
    while True:
        body: dict[str, Any] = {
            "attributeFilters": [{"path": path} for path in _COLUMNS],
            "pagination": {"limit": _PAGE, "offset": offset},
            "experimentLeader": False,
            # sys/id is unique, so pages neither overlap nor skip; a run created meanwhile can only
            # move others to later pages.
            "sorting": {"dir": "ascending", "sortBy": {"name": "sys/id", "type": "string"}},
        }
        if query:
            body["query"] = {"query": query}
        page = client.search(project, body)
        for entry in page.entries:
            columns = {a.name: _value(a) for a in entry.attributes}
            found[str(columns["sys/id"])] = columns
        offset += len(page.entries)
        if not page.entries or (len(page.entries) < _PAGE and offset >= page.matching_item_count):
            break
    if len(found) < page.matching_item_count:
        raise IncompleteAnswerError(
            f"project {project}: the server counts {page.matching_item_count} runs and listed "
            f"{len(found)}",
            "Start the job again; runs may have been deleted while they were listed.",
        )
    return found


def _value(attribute: Any) -> Any:
    if attribute.type == "string":
        return attribute.string_properties.value
    if attribute.type == "bool":
        return attribute.bool_properties.value
    if attribute.type == "datetime":
        return attribute.datetime_properties.value
    return None


def _ref(project: str, entry: dict[str, Any]) -> RunRef:
    modified = entry.get("sys/modification_time")
    return RunRef(
        RunKey(project, entry.get("sys/custom_run_id") or entry["sys/id"]),
        handle=entry["sys/id"],
        modified=None if modified is None else datetime.fromtimestamp(modified / 1000, UTC),
        parent=entry.get("sys/forking/parent") or None,
    )


def _with_parent(ref: RunRef, by_sys_id: dict[str, str]) -> RunRef:
    """The parent as a run id, whichever of its two names the server gives."""
    if ref.parent is None:
        return ref
    return RunRef(ref.key, ref.handle, ref.modified, by_sys_id.get(ref.parent, ref.parent))


def _say_what_is_missing(
    project: str, selection: Selection, listed: list[RunRef], chosen: list[RunRef]
) -> None:
    there = {ref.key.run for ref in listed}
    if absent := [run for run in selection.run_ids if run not in there]:
        log.warning("project %s has no run %s", project, ", ".join(map(repr, absent)))
    if not chosen and (selection.run_regex or not selection.archived):
        log.warning(
            "no run of project %s is selected: %d runs listed, runs=%r, archived=%s",
            project,
            len(listed),
            selection.run_regex,
            selection.archived,
        )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
