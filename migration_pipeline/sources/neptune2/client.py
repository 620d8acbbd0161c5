"""What is asked of a 2.x server, one answer at a time; paging is the caller's.

Added to what the client has: an end to retrying that fits a person at a terminal, a new token when
the server refuses one that had not run out yet, and errors in this project's words.

Operations and their answers: what neptune-client 1.14.0.post2 asks for and reads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import orjson
import requests

from migration_pipeline.errors import (
    CredentialsRefusedError,
    RunGoneError,
    UnknownProjectError,
)
from migration_pipeline.sources import neptune as shared
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.connection import Connection, Document
from migration_pipeline.sources.neptune2.http import RefusedAnswer, chunks, patiently
from migration_pipeline.sources.patience import Gate


@dataclass(frozen=True)
class Project:
    """A project as the server knows it. `key` is the beginning of the ids in it."""

    name: str
    uuid: str
    key: str


class Neptune2Client:
    """Asks the server; each call returns one answer, paging is the caller's.

    Thread-safe. The first request shakes hands and exchanges the token.
    """

    def __init__(self, config: Neptune2Config) -> None:
        self.address = shared.server_address(config.api_token)
        self._config = config
        self._gate = Gate()
        self._connecting = threading.Lock()
        self._connection: Connection | None = None
        self._answered = False
        self._projects: dict[str, Project] = {}

    def ask(
        self,
        operation: str,
        place: str,
        parameters: Mapping[str, Any],
        body: object = None,
        document: Document = "leaderboard",
    ) -> requests.Response:
        """The answer to an operation, whole.

        Args:
            operation: its id in the swagger document.
            place: what messages call what is asked about.

        Raises:
            RefusedAnswer: the server said no.
            RunGoneError: what was asked about is no object of the server (any more).
            CredentialsRefusedError: it does not accept the token.
            SourceUnavailableError: it did not answer in the time that the settings give.
        """

        def once() -> requests.Response:
            request = self._request(document, operation, parameters, body)
            return self._send(request, place, stream=False)

        seconds = self._config.retry_seconds if self._answered else self._config.connect_seconds
        return patiently(once, seconds, place)

    def json(
        self,
        operation: str,
        place: str,
        parameters: Mapping[str, Any],
        document: Document = "leaderboard",
    ) -> Any:
        """The same, parsed.

        Raises:
            IncompleteAnswerError: it is not JSON.
        """
        return self.parsed(self.ask(operation, place, parameters, None, document))

    def parsed(self, answer: requests.Response) -> Any:
        """An answer's JSON.

        Raises:
            IncompleteAnswerError: it is none.
        """
        try:
            return orjson.loads(answer.content)
        except ValueError:
            pass  # NaN and the like, which Python's own reader takes
        try:
            return json.loads(answer.content)
        except ValueError as error:
            path = answer.url.partition("?")[0]
            raise shared.not_a_server(self.address, path, answer.content) from error

    def save(
        self, operation: str, place: str, parameters: Mapping[str, Any], target: Path
    ) -> Mapping[str, str] | None:
        """Writes the bytes that an operation gives to a path, once.

        Returns:
            The answer's headers; None when there is nothing (404).

        Raises:
            Again: it may pass when it is repeated.
        """
        request = self._request("leaderboard", operation, parameters, None)
        return self._save(request, place, target)

    def save_from(self, address: str, place: str, target: Path) -> Mapping[str, str] | None:
        """The same from an address that the server gave."""
        return self._save(requests.Request("GET", urljoin(self.address, address)), place, target)

    def _save(
        self, request: requests.Request, place: str, target: Path
    ) -> Mapping[str, str] | None:
        try:
            with self._send(request, place, stream=True) as answer, target.open("wb") as out:
                for chunk in chunks(answer):
                    out.write(chunk)
                return answer.headers
        except RefusedAnswer as error:
            if error.status != 404:
                raise
            return None

    def project(self, name: str) -> Project:
        """A 2.x project.

        Raises:
            UnknownProjectError: there is none for this token.
            WrongProtocolError: it is of Neptune 3.x.
        """
        if name not in self._projects:
            asked = {"projectIdentifier": name}
            try:
                found = self.json("getProject", self.place(name), asked, "backend")
                project = Project(name, found["id"], found["projectKey"])
            except RefusedAnswer as error:
                raise UnknownProjectError(name) from error
            except (KeyError, TypeError) as error:
                raise shared.not_a_server(self.address, "a project", found) from error
            shared.check_version(name, found.get("version"), 2, self.address)
            self._projects[name] = project
        return self._projects[name]

    def list_projects(self) -> list[str]:
        """`workspace/project` of all 2.x projects that the token can read."""

        def page(offset: int, limit: int) -> Any:
            asked = {
                "userRelation": "viewerOrHigher",
                "sortBy": ["lastViewed"],
                "sortDirection": ["descending"],
                "offset": offset,
                "limit": limit,
            }
            return self.json("listProjects", self.place(), asked, "backend")

        return shared.list_projects(page, 2, self.address)

    def place(self, project: str = "") -> str:
        """How messages name the server, or a project at it."""
        return f"Neptune at {self.address}" + (f", project {project}" if project else "")

    def _request(
        self,
        document: Document,
        operation: str,
        parameters: Mapping[str, Any],
        body: Any,
    ) -> requests.Request:
        method, url = self._connected().operation(document, operation)
        return requests.Request(method, url, params=dict(parameters), json=body)

    def _send(self, request: requests.Request, place: str, stream: bool) -> requests.Response:
        """Sends once; a 401 is answered with a new token and sent again."""
        connection = self._connected()
        answer, token = connection.send(request, stream)
        if answer.status_code == 401:
            connection.renew(token)
            answer, _ = connection.send(request, stream)
        self._answered = True
        if answer.status_code == 401:
            raise CredentialsRefusedError(
                f"{place} does not accept a token that it has just given (401)",
                f"Set {shared.TOKEN_VARIABLE} to a token of this server that is still valid.",
            )
        if answer.status_code >= 400:
            refused = RefusedAnswer(place, answer)
            if refused.error_type == "EXPERIMENT_NOT_FOUND":
                raise RunGoneError(place) from refused
            raise refused
        return answer

    def _connected(self) -> Connection:
        with self._connecting:
            if self._connection is None:
                self._connection = Connection(
                    self.address, self._config.api_token, self._gate, self._config.workers
                )
            return self._connection
