"""Which objects a 2.x project has: runs, models, model versions, and its own metadata.

Tables are read by ascending sys/id, in windows of 10,000 rows that begin after the last id of the
one before: sorted by anything that is not unique, rows at the border of two windows are lost.
What was received is compared with what the server counts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.errors import IncompleteAnswerError, InvalidQueryError, RunGoneError
from migration_pipeline.sources.neptune2.client import Neptune2Client
from migration_pipeline.sources.neptune2.http import RefusedAnswer
from migration_pipeline.sources.neptune2.tables import WINDOW, Entry, all_of, one_of, search
from migration_pipeline.sources.neptune2.times import utc
from migration_pipeline.sources.source import RunRef, Selection

log = logging.getLogger(__name__)
PAGE = 1_000
_IDS_PER_QUERY = 200
_ATTEMPTS = 3
_MODIFIED = "sys/modification_time"
_NOT_TRASHED = "`sys/trashed`:bool = false"


def list_runs(client: Neptune2Client, project: str, selection: Selection) -> list[RunRef]:
    """The selected objects: runs, then models, their versions, and the project's metadata.

    Exact ids are asked for by name; a regular expression is applied here, so that it means the
    same on every server. What the queries say is the server's to evaluate.

    Raises:
        UnknownProjectError: the project does not exist for this token.
        WrongProtocolError: it is of Neptune 3.x.
        InvalidQueryError: the server does not understand `runs_query` or `models_query`.
        IncompleteAnswerError: the server listed fewer objects than it counts.
    """
    client.project(project)
    listed: list[RunRef] = []
    if selection.wants_kind("run"):
        listed += _objects(client, project, "run", selection)
    if selection.wants_kind("model") or selection.wants_kind("model_version"):
        listed += _models(client, project, selection)
    if selection.wants_kind("project"):
        listed += _metadata(client, project)
    chosen = [ref for ref in listed if _is_chosen(ref, selection)]
    _say_what_is_missing(project, selection, listed, chosen)
    return chosen


def _is_chosen(ref: RunRef, selection: Selection) -> bool:
    if selection.run_ids:
        return ref.key.run in selection.run_ids
    return re.search(selection.run_regex, ref.key.run) is not None


def _models(client: Neptune2Client, project: str, selection: Selection) -> list[RunRef]:
    """Models and their versions; nothing where the server has no model registry."""
    try:
        models = _objects(client, project, "model", selection)
        versions: list[RunRef] = []
        if selection.wants_kind("model_version"):
            versions = _versions(client, project, selection, models)
        return [*(models if selection.wants_kind("model") else ()), *versions]
    except RefusedAnswer as error:
        if error.status not in (400, 404):
            raise
        log.info("%s has no model registry (%s): no models", client.place(project), error.said)
        return []


def _versions(
    client: Neptune2Client, project: str, selection: Selection, chosen: Sequence[RunRef]
) -> list[RunRef]:
    """The versions of all models of the project, which is how the server finds versions.

    Args:
        chosen: the selected models, which may be fewer.
    """
    if selection.run_ids:
        return _objects(client, project, "model_version", selection)
    models = [ref.key.run for ref in chosen]
    if selection.models_query or not selection.archived:
        models = [entry.sys_id for entry in _search(client, project, "model", "")]
    listed = []
    for start in range(0, len(models), _IDS_PER_QUERY):
        of_these = one_of("sys/model_id", models[start : start + _IDS_PER_QUERY])
        listed += _objects(client, project, "model_version", selection, of_these)
    return listed


def _objects(
    client: Neptune2Client, project: str, kind: Kind, selection: Selection, query: str = ""
) -> list[RunRef]:
    """Objects of one kind for which the selection's query and `query` hold, by sys/id."""
    setting = "runs_query" if kind == "run" else "models_query"
    given = selection.runs_query if kind == "run" else selection.models_query
    query = all_of(query, given, "" if selection.archived else _NOT_TRASHED)
    ids = selection.run_ids
    queries = [
        all_of(query, one_of("sys/id", ids[start : start + _IDS_PER_QUERY]))
        for start in range(0, len(ids), _IDS_PER_QUERY)
    ]
    try:
        return [
            RunRef(RunKey(project, entry.sys_id, kind), entry.uuid, _modified(entry))
            for one in queries or [query]
            for entry in _search(client, project, kind, one)
        ]
    except RefusedAnswer as error:
        if not given or error.title != "Syntax error":
            raise
        raise InvalidQueryError(setting, given, error.said) from error


def _search(client: Neptune2Client, project: str, kind: Kind, query: str) -> Iterator[Entry]:
    """All rows of a table, window by window."""
    after = ""
    while True:
        rows = _window(client, project, kind, all_of(query, after))
        yield from rows
        if len(rows) < WINDOW:  # whatever was counted: a count may stop at the window's size
            return
        after = f'`sys/id`:string > "{rows[-1].sys_id}"'


def _window(client: Neptune2Client, project: str, kind: Kind, query: str) -> list[Entry]:
    """The first 10,000 rows of a table. Pages advance by what was received.

    An object that appears or vanishes meanwhile moves others to another page; the count shows it,
    and the window is read anew.
    """
    rows: dict[str, Entry] = {}
    count = 0
    for _ in range(_ATTEMPTS):
        rows, received, count, steady = {}, 0, 1, True
        while steady and received < min(count, WINDOW):
            limit = min(PAGE, WINDOW - received)
            page = search(client, project, kind, query, limit, received, [_MODIFIED])
            steady = bool(page.entries) and (page.count == count or not received)
            count = page.count
            received += len(page.entries)
            rows |= {entry.sys_id: entry for entry in page.entries}
        if len(rows) == min(count, WINDOW):
            return list(rows.values())
    raise IncompleteAnswerError(
        f"{client.place(project)} counts {count} objects of kind {kind} and listed {len(rows)}",
        "Start the job again; they may have changed while they were listed.",
    )


def _modified(entry: Entry) -> datetime | None:
    for one in entry.attributes:
        if one["name"] == _MODIFIED:
            return utc(one["datetimeProperties"]["value"])
    return None


def _metadata(client: Neptune2Client, project: str) -> list[RunRef]:
    """The project itself as an object; nothing where the server does not keep one."""
    found = client.project(project)
    asked = {"experimentId": found.uuid, "attribute": _MODIFIED}
    try:
        answer = client.json("getDatetimeAttribute", client.place(project), asked)
    except (RefusedAnswer, RunGoneError) as error:
        if isinstance(error, RefusedAnswer) and error.status not in (400, 404):
            raise
        log.info("%s has no metadata of its own", client.place(project))
        return []
    return [RunRef(RunKey(project, found.key, "project"), found.uuid, utc(answer["value"]))]


def _say_what_is_missing(
    project: str, selection: Selection, listed: Sequence[RunRef], chosen: Sequence[RunRef]
) -> None:
    there = {ref.key.run for ref in chosen}
    if absent := [run for run in selection.run_ids if run not in there]:
        log.warning("project %s has no run %s", project, ", ".join(map(repr, absent)))
    narrowed = selection.run_regex or not selection.archived
    if not chosen and (narrowed or selection.runs_query or selection.models_query):
        log.warning(
            "no run of project %s is selected: %d listed, runs=%r, archived=%s, runs_query=%r, "
            "models_query=%r",
            project,
            len(listed),
            selection.run_regex,
            selection.archived,
            selection.runs_query,
            selection.models_query,
        )
