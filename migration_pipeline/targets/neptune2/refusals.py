"""What a server says no with, in words of its users and their settings."""

from __future__ import annotations

from typing import Any

import requests

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.neptune2.dialect import Server

_LIMITS = {
    "WORKSPACE_IN_READ_ONLY_MODE": "the workspace is in read-only mode",
    "PROJECT_LIMITS_EXCEEDED": "a limit of the project is reached",
    "ATTRIBUTES_PER_EXPERIMENT_LIMIT_EXCEEDED": "the run would have more attributes than allowed",
    "WRITE_ACCESS_DENIED_TO_ARCHIVED_PROJECT": "the project is archived, so it is read-only",
}
"""errorType → in plain words (the client's swagger_client_wrapper.py has them)."""


class AnswerError(TargetRefusedError):
    """What the server says no to: `status` and the `kind` (errorType) of its answer."""

    def __init__(self, what: str, remedy: str = "", status: int = 0, kind: str = "") -> None:
        self.status, self.kind = status, kind
        super().__init__(what, remedy)


class NotThereError(AnswerError):
    """The server does not know what it was asked for."""


class Refusals:
    """Errors of a server, or of one project of it; none of them has the token."""

    def __init__(self, server: Server, project: str = "") -> None:
        self._server, self._dialect, self._project = server, server.dialect, project

    @property
    def _address(self) -> str:
        return f"{self._server.address}/{self._project}".rstrip("/")

    def of(self, operation: str, answer: requests.Response) -> TargetRefusedError:
        """What an answer of 400 and more says; `AnswerError` where it is one of the protocol."""
        said = object_of(answer)
        if not said and answer.status_code not in (401, 403, 404):
            return self.stranger(operation, answer)
        kind = str(said.get("errorType") or "")
        words = str(said.get("title") or said.get("message") or answer.reason or "")[:300]
        where = f"{self._dialect.product} at {self._address}"
        if answer.status_code == 401:
            return self.token_refused()
        if answer.status_code == 403:
            return AnswerError(
                f"{where} does not permit {operation}: {words}",
                f"Give the user of {self._dialect.token_variable} the right to write to the "
                f"project, or {self._dialect.elsewhere} that it may write to.",
                403,
                kind,
            )
        if answer.status_code == 404:
            return NotThereError(
                f"{where} does not know what {operation} asks for: {words}", "", 404, kind
            )
        if kind in _LIMITS:
            return AnswerError(
                f"{where} refuses {operation}: {_LIMITS[kind]} ({words})",
                f"Raise the limit or free room there, or {self._dialect.elsewhere}; then load "
                "again. Runs that are complete there are not sent again.",
                answer.status_code,
                kind,
            )
        return AnswerError(
            f"{where} refuses {operation} ({answer.status_code}"
            f"{f', {kind}' if kind else ''}: {words})",
            "",
            answer.status_code,
            kind,
        )

    def token_refused(self) -> TargetRefusedError:
        return TargetRefusedError(
            f"{self._dialect.product} at {self._server.address} does not accept the token",
            f"Set {self._dialect.token_variable} to an API token of this server that is still "
            "valid.",
        )

    def stranger(self, operation: str, answer: requests.Response) -> TargetRefusedError:
        begins = " ".join(answer.text[:60].split())
        return TargetRefusedError(
            f"{self._server.address} answers {operation} with something else than the protocol of "
            f"Neptune 2.x ({answer.status_code}, {begins!r})",
            f"Is the address inside {self._dialect.token_variable} that of the server itself, and "
            "not of a login page or a proxy before it?",
        )


def object_of(answer: requests.Response) -> dict[str, Any]:
    """The answer's JSON object; an empty one when it is none."""
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
