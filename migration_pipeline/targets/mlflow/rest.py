"""Requests to a tracking server in plain JSON, with MLflow's own credentials, retries and errors.

MLflow's client makes a protobuf message of every point and every parameter on its way, which takes
longer than all the rest that happens on this side.
"""

from __future__ import annotations

from typing import Any


class Rest:
    """One server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def get(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        return self._ask(path, "GET", params=asked)

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """`body` is JSON."""
        return self._ask(path, "POST", data=body)

    def _ask(self, path: str, method: str, **what: Any) -> dict[str, Any]:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        endpoint = f"/api/2.0/mlflow/{path}"
        answer = http_request(
            get_default_host_creds(self._uri),
            endpoint,
            method,
            extra_headers={"Content-Type": "application/json"},
            **what,
        )
        said: dict[str, Any] = verify_rest_response(answer, endpoint).json()
        return said
