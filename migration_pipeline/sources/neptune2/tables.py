"""Pages of a 2.x table: objects of one kind that a query finds, by sys/id."""

from __future__ import annotations

import email.utils
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from migration_pipeline.archive.manifest import Kind
from migration_pipeline.errors import IncompleteAnswerError
from migration_pipeline.sources.neptune2.client import Neptune2Client

WINDOW = 10_000
"""offset + limit of a page: the server gives nothing beyond (the client's MAX_SERVER_OFFSET)."""
TYPES: dict[Kind, str] = {
    "run": "run",
    "model": "model",
    "model_version": "modelVersion",
    "project": "project",
}
"""Kind of object → the protocol's name."""
Attributes = list[dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A row: the object's UUID, its sys/id and the attributes that were asked for."""

    uuid: str
    sys_id: str
    attributes: Attributes


@dataclass(frozen=True)
class Page:
    """`count` is how many objects the query finds, `at` the server's time."""

    entries: list[Entry]
    count: int
    at: datetime


def search(
    client: Neptune2Client,
    project: str,
    kind: Kind,
    query: str,
    limit: int,
    offset: int = 0,
    columns: Sequence[str] | None = None,
) -> Page:
    """A page of a table, by ascending sys/id, which is unique.

    Args:
        query: NQL; empty: all, trashed ones too.
        columns: sys/id and these; None: all attributes.

    Raises:
        RefusedAnswer: the server does not have such a table, or does not understand the query
            (its title is then "Syntax error").
        IncompleteAnswerError: the answer is not a table.
    """
    body: dict[str, Any] = {
        "query": {"query": query},
        "pagination": {"limit": limit, "offset": offset},
        "sorting": {
            "dir": "ascending",
            "aggregationMode": "none",
            "sortBy": {"name": "sys/id", "type": "string"},
        },
    }
    if columns is not None:
        body["attributeFilters"] = [{"path": path} for path in ("sys/id", *columns)]
    answer = client.ask(
        "searchLeaderboardEntries",
        client.place(project),
        {"projectIdentifier": client.project(project).uuid, "type": [TYPES[kind]]},
        body,
    )
    found = client.parsed(answer)
    try:
        entries = [
            Entry(one["experimentId"], _sys_id(one), one["attributes"]) for one in found["entries"]
        ]
        return Page(entries, int(found["matchingItemCount"]), _date(answer.headers.get("date")))
    except (KeyError, TypeError, ValueError) as error:
        raise IncompleteAnswerError(
            f"{client.place(project)} answered with something that is not a table "
            f"({type(error).__name__}: {error})"
        ) from error


def _sys_id(entry: dict[str, Any]) -> str:
    for one in entry["attributes"]:
        if one["name"] == "sys/id":
            return str(one["stringProperties"]["value"])
    return str(entry["shortId"])


def _date(header: str | None) -> datetime:
    try:
        return email.utils.parsedate_to_datetime(header or "").astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


def one_of(attribute: str, values: Iterable[str]) -> str:
    """NQL: the attribute is one of these."""
    return " OR ".join(f'(`{attribute}`:string = "{_escaped(value)}")' for value in values)


def all_of(*queries: str) -> str:
    """NQL: all that are not empty hold."""
    given = [query for query in queries if query]
    return given[0] if len(given) == 1 else " AND ".join(f"({query})" for query in given)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
