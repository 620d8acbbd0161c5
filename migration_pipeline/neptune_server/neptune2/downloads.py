"""Single files to a client."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from migration_pipeline.neptune_server.store import FileSetValue, Store
from migration_pipeline.neptune_server.types3 import ApiError

from .finding import find_attribute
from .storage import send


class Downloads:
    """One instance per server."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {"downloadAttribute": self.download}

    def download(self, request: Request, _: bytes) -> Response:
        """A file under `<last part of its attribute>.<extension>`.

        Or, with `path`, one file of a set under its own name (assumed: no client asks). 404 when
        the attribute is neither or its bytes are gone.
        """
        run, path, attribute = find_attribute(self.store, request, "file", "file_set")
        inside = request.query_params.get("path")
        if isinstance(attribute.value, FileSetValue):
            file = attribute.value.files.get(inside or "")
            if file is None:
                raise ApiError(404, "FILE_NOT_FOUND", f"{path} of {run.sys_id} has no {inside!r}")
            return send(run.project, file, (inside or "").rsplit("/", 1)[-1])
        file = attribute.value
        last = path.rsplit("/", 1)[-1]
        return send(run.project, file, file.name or f"{last}.{file.extension}".rstrip("."))
