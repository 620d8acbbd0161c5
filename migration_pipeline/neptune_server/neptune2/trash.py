"""The trash: objects go into it, and out of it for good.

Each object by itself: what fails is an entry with its reason, not an error of the request. The
reasons are the words that the vendor's interface defines; that trashing moves the modification
time is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.store import Project, Run, Store

from .creation import model_of
from .finding import find_project, parsed

_MESSAGES = {
    "NOT_EXISTS": "there is no such object",
    "IS_PROJECT": "it is the project itself",
    "ALREADY_TRASHED": "it is in the trash already",
    "NOT_IN_TRASH": "it is not in the trash",
}


class Trash:
    """One instance per server."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "trashExperiments": self.trash,
            "deleteExperiments": self.delete,
            "deleteAllExperiments": self.clear,
        }

    def trash(self, request: Request, body: bytes) -> Response:
        """Put objects by qualified id into the trash; a model takes its versions along."""
        return self._each(request, parsed(body, list), wanted=False, act=_trash)

    def delete(self, request: Request, body: bytes) -> Response:
        """Remove objects from the trash for good, a model's versions with it (assumed)."""
        return self._each(request, parsed(body, list), wanted=True, act=_delete)

    def clear(self, request: Request, _: bytes) -> Response:
        """Remove everything that is in the trash."""
        with self.store.lock:
            project = _project(self.store, request)
            gone = [run for run in project.runs.values() if _trashed(run)]
            for run in gone:
                project.remove(run)
        return _answer([], [f"{project.identifier}/{run.sys_id}" for run in gone])

    def _each(
        self, request: Request, identifiers: list[str], *, wanted: bool, act: Callable[[Run], None]
    ) -> Response:
        """Act on the objects that are in the trash, or are not, as wanted."""
        refused, done = [], []
        with self.store.lock:
            project = _project(self.store, request)
            for identifier in identifiers:
                run = project.runs.get(identifier.removeprefix(f"{project.identifier}/"))
                if run is None:
                    refused.append((identifier, "NOT_EXISTS"))
                elif run.kind == "project":
                    refused.append((identifier, "IS_PROJECT"))
                elif _trashed(run) != wanted:
                    refused.append((identifier, "NOT_IN_TRASH" if wanted else "ALREADY_TRASHED"))
                else:
                    act(run)
                    done.append(identifier)
        return _answer(refused, done)


def _project(store: Store, request: Request) -> Project:
    return find_project(store, request.query_params.get("projectIdentifier", ""))


def _trash(run: Run) -> None:
    for one in _with_versions(run):
        if not _trashed(one):
            one.set("sys/trashed", "bool", True)


def _delete(run: Run) -> None:
    for one in _with_versions(run):
        run.project.remove(one)


def _with_versions(run: Run) -> list[Run]:
    if run.kind != "model":
        return [run]
    others = list(run.project.runs.values())
    return [
        run,
        *(one for one in others if one.kind == "model_version" and model_of(one) is run),
    ]


def _trashed(run: Run) -> bool:
    found = run.attributes.get("sys/trashed")
    return found is not None and found.value is True


def _answer(refused: Iterable[tuple[str, str]], done: list[str]) -> Response:
    errors: list[dict[str, Any]] = [
        {"experimentIdentifier": one, "message": _MESSAGES[reason], "reason": reason}
        for one, reason in refused
    ]
    return JSONResponse({"errors": errors, "updatedExperimentIdentifiers": done})
