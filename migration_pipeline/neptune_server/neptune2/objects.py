"""Finding and creating runs, models and model versions; pings; checkpoints of notebooks."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.store import Project, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError, bad_request

from . import creation
from .attributes import kind_on_wire
from .finding import find_object, find_project, parsed
from .states import Liveness


class Objects:
    """One instance per server. Who asks for an object is its owner."""

    def __init__(self, store: Store, liveness: Liveness) -> None:
        self.store = store
        self.liveness = liveness
        self._checkpoints: dict[str, str] = {}

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "getExperiment": self.get,
            "createExperiment": self.create,
            "ping": self.ping,
            "createEmptyCheckpoint": self.checkpoint,
        }

    def get(self, request: Request, _: bytes) -> Response:
        """An object of any kind by UUID or qualified id, trashed or not."""
        with self.store.lock:
            run = find_object(self.store, request.query_params.get("experimentId", ""))
            return JSONResponse(summary(run))

    def create(self, request: Request, body: bytes) -> Response:
        """A new object; the run that has the custom id already, if there is one.

        409 for a model's key that is taken. Without a type it is a run, as clients of the older
        API expect.
        """
        asked, user = parsed(body, dict), request.state.user
        with self.store.lock:
            project = find_project(self.store, str(asked.get("projectIdentifier")))
            kind = asked.get("type") or "run"
            if kind == "run":
                run = self._run(project, asked, user)
            elif kind in ("model", "modelVersion"):
                require_models(self.store)
                create = self._model if kind == "model" else self._version
                run = create(project, asked, user)
            else:
                raise bad_request(f"Objects of type {kind} are not created")
            return JSONResponse(summary(run))

    def _run(self, project: Project, asked: dict[str, Any], user: str) -> Run:
        custom_id = asked.get("customId") or None
        found = creation.find_custom(project, custom_id) if custom_id else None
        if found is not None:
            return found
        notebook = None
        if asked.get("notebookId"):
            checkpoint = asked.get("checkpointId")
            notebook = {
                "notebookId": asked["notebookId"],
                "notebookName": self._checkpoints.get(str(checkpoint)),
                "checkpointId": checkpoint,
            }
        return creation.create_run(
            project, custom_id, owner=user, git=asked.get("gitInfo"), notebook=notebook
        )

    def _model(self, project: Project, asked: dict[str, Any], user: str) -> Run:
        key = str(asked.get("key") or "")
        if f"{project.key}-{key}" in project.runs:
            raise ApiError(409, "MODEL_KEY_CONFLICT", f"{project.identifier} has a model {key}")
        try:
            return creation.create_model(project, key, owner=user)
        except ValueError as error:
            raise bad_request(str(error)) from error

    def _version(self, project: Project, asked: dict[str, Any], user: str) -> Run:
        model = find_object(self.store, str(asked.get("parentId")))
        if model.kind != "model" or model.project is not project:
            raise bad_request(f"{model.sys_id} is no model of {project.identifier}")
        return creation.create_model_version(model, owner=user)

    def ping(self, request: Request, _: bytes) -> Response:
        """The object's client lives."""
        with self.store.lock:
            run = find_object(self.store, request.query_params.get("experimentId", ""))
            self.liveness.ping(run)
        return JSONResponse({})

    def checkpoint(self, _: Request, body: bytes) -> Response:
        """A checkpoint of any notebook (assumed: notebooks are not kept). Its path names it."""
        path = parsed(body, dict).get("path")
        made = str(uuid.uuid4())
        self._checkpoints[made] = str(path)
        return JSONResponse({"id": made})


def require_models(store: Store) -> None:
    """ApiError for a server without a model registry; status and errorType are assumed."""
    if not store.model_registry:
        raise ApiError(
            400, "MODEL_REGISTRY_NOT_AVAILABLE", "This server does not have a model registry"
        )


def summary(run: Run) -> dict[str, Any]:
    """The object without its attributes."""
    project = run.project
    above = creation.model_of(run) if run.kind == "model_version" else None
    trashed = run.attributes.get("sys/trashed")
    return {
        "id": run.uuid,
        "type": kind_on_wire(run),
        "shortId": run.sys_id,
        "organizationName": project.workspace,
        "organizationId": project.workspace,
        "projectId": project.uuid,
        "projectName": project.name,
        "parentId": above.uuid if above is not None else project.uuid,
        "trashed": trashed is not None and trashed.value is True,
    }
