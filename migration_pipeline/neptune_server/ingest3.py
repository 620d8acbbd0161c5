"""3.x ingestion, as neptune-scale sends it."""

from starlette.requests import Request
from starlette.responses import Response

from .store import Store


class Ingestion:
    def __init__(self, store: Store, user: str) -> None:
        self.store = store

    def submit(self, _: Request, body: bytes) -> Response:
        return Response(status_code=501)

    def check(self, _: Request, body: bytes) -> Response:
        return Response(status_code=501)
