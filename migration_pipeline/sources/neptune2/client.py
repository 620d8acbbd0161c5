"""The 2.x client's own session, authentication and addresses, with what they leave out.

One authenticated session serves all threads. It is put together from the client's parts instead of
by its `HostedNeptuneBackend`, whose constructor retries for a minute whatever is asked of it, reads
the first digit of a Retry-After only, and keeps what it got for the life of the process. Addresses
come from the server's swagger documents, as the client has it; answers are read as plain JSON.
Added here: one gate for all threads, an end to retrying that fits a person at a terminal, a new
token when the server refuses one that had not run out yet, and errors in this project's words.

Operations and their answers: what neptune-client 1.14.0.post2 asks for and reads.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

import jwt
import requests
from pydantic import SecretStr

from migration_pipeline.errors import (
    CredentialsRefusedError,
    RunGoneError,
    SourceError,
    SourceRefusedError,
    UnknownProjectError,
    WrongProtocolError,
)
from migration_pipeline.sources import neptune as shared
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.http import (
    TIMEOUT,
    GatedAdapter,
    RefusedAnswer,
    chunks,
    json_object,
    patiently,
)
from migration_pipeline.sources.patience import Again, Gate

logging.getLogger("neptune").setLevel(logging.ERROR)  # else it greets on standard output
for _library in ("bravado", "oauthlib", "requests_oauthlib"):
    logging.getLogger(_library).setLevel(logging.INFO)  # below that they log tokens
with warnings.catch_warnings(record=True):  # it announces its own end, and its libraries theirs
    from bravado.client import SwaggerClient
    from bravado.exception import HTTPClientError
    from bravado_core.spec import build_api_serving_url
    from neptune.common.exceptions import NeptuneInvalidApiTokenException
    from neptune.common.oauth import NeptuneAuthenticator
    from neptune.exceptions import NeptuneClientUpgradeRequiredError
    from neptune.internal.backends.api_model import ClientConfig
    from neptune.internal.backends.hosted_client import (
        ARTIFACTS_SWAGGER_PATH,
        BACKEND_SWAGGER_PATH,
        DEFAULT_REQUEST_KWARGS,
        LEADERBOARD_SWAGGER_PATH,
        create_http_client,
    )
    from neptune.internal.backends.swagger_client_wrapper import SwaggerClientWrapper
    from neptune.internal.backends.utils import (
        build_operation_url,
        ssl_verify,
        verify_client_version,
    )
    from neptune.version import version as client_version
    from oauthlib.oauth2 import OAuth2Error

Document = Literal["backend", "leaderboard", "artifacts"]
_DOCUMENTS: dict[Document, str] = {
    "backend": BACKEND_SWAGGER_PATH,
    "leaderboard": LEADERBOARD_SWAGGER_PATH,
    "artifacts": ARTIFACTS_SWAGGER_PATH,
}


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
        self._connection: _Connection | None = None
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

    def _connected(self) -> _Connection:
        with self._connecting:
            if self._connection is None:
                self._connection = _Connection(
                    self.address, self._config.api_token, self._gate, self._config.workers
                )
            return self._connection


class _Connection:
    """The handshake, and the session that it leaves.

    Raises:
        WrongProtocolError: the server has no 2.x documents.
        CredentialsRefusedError: it does not know the token.
        Again: a part of the handshake may pass.
    """

    def __init__(self, address: str, api_token: SecretStr, gate: Gate, workers: int) -> None:
        self._address, self._gate, self._workers = address, gate, workers
        self._token_lock = threading.Lock()
        self._documents: dict[str, dict[str, Any]] = {}
        self._document_locks = {document: threading.Lock() for document in _DOCUMENTS}
        self._verify = ssl_verify()
        _allow_http(address)
        anonymous = self._http_client()
        token = api_token.get_secret_value().strip()
        try:
            self._api = address
            self._fetch_ahead("leaderboard", anonymous.session)
            self._fetch_ahead("artifacts", anonymous.session)
            origin, document = self._document("backend", anonymous.session)
            backend = SwaggerClientWrapper(_swagger_client(document, origin, anonymous))
            config = _client_config(backend, token)
            if config.api_url != address:
                _allow_http(config.api_url)
                self._api = config.api_url
            self._http = self._http_client()
            self._http.authenticator = NeptuneAuthenticator(token, backend, self._verify, None)
        except (NeptuneInvalidApiTokenException, HTTPClientError) as error:
            if getattr(error, "status_code", 401) not in (401, 403):
                raise shared.not_a_server(address, "the handshake", error) from error
            raise CredentialsRefusedError(
                f"Neptune at {address} does not accept the token",
                f"Set {shared.TOKEN_VARIABLE} to a token of this server that is still valid.",
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError, jwt.PyJWTError) as error:
            raise shared.not_a_server(address, "the handshake", error) from error
        self._auth = self._http.authenticator.auth
        self._make_session = self._auth.session_factory
        self._auth.session_factory = self._new_session
        self._adopt(self._auth.session)

    def operation(self, document: Document, operation: str) -> tuple[str, str]:
        """Method and address of an operation.

        Raises:
            SourceRefusedError: the server does not have it.
        """
        origin, found = self._document(document, self._http.session)
        for path, methods in found["paths"].items():
            for method, described in methods.items():
                if isinstance(described, dict) and described.get("operationId") == operation:
                    base = build_api_serving_url(found, origin)
                    return method.upper(), build_operation_url(base, path)
        raise SourceRefusedError(
            f"Neptune at {self._address} does not offer the operation {operation}",
            "Is it a Neptune 2.x server that this client is made for?",
        )

    def send(self, request: requests.Request, stream: bool) -> tuple[requests.Response, str]:
        """Sends a request; returns its answer and the token that it went with."""
        session = self._http.session
        with self._token_lock:
            try:
                self._http.authenticator.apply(request)  # refreshes a token that is about to end
                prepared = session.prepare_request(request)
            except OAuth2Error as error:
                raise Again(f"the token could not be refreshed: {error}") from error
            token = self._auth.session.token["access_token"]
        settings = session.merge_environment_settings(
            prepared.url, {}, stream, session.verify, None
        )
        return session.send(prepared, timeout=TIMEOUT, **settings), token

    def renew(self, refused: str) -> None:
        """Exchanges the API token anew, unless another thread has done so since."""
        with self._token_lock:
            if self._auth.session.token["access_token"] != refused:
                return
            try:
                self._auth.session = self._new_session()
            except (NeptuneInvalidApiTokenException, HTTPClientError) as error:
                raise CredentialsRefusedError(
                    f"Neptune at {self._address} does not accept the token any more",
                    f"Set {shared.TOKEN_VARIABLE} to a token of this server that is still valid.",
                ) from error

    def _new_session(self) -> Any:
        session = self._make_session()
        self._adopt(session)
        return session

    def _adopt(self, session: Any) -> None:
        """Lets the session that holds the token wait as all others do; its token is a new one."""
        self._mount(session)
        claims = jwt.decode(session.token["access_token"], options={"verify_signature": False})
        self._auth.token_expires_at = claims["exp"]

    def _http_client(self) -> Any:
        http = create_http_client(self._verify, None)
        http.session.headers.update(DEFAULT_REQUEST_KWARGS["_request_options"]["headers"])
        http.session.headers["X-Neptune-Artifact-Api-Version"] = "2"
        self._mount(http.session)
        return http

    def _mount(self, session: requests.Session) -> None:
        for scheme in ("http://", "https://"):
            session.mount(scheme, GatedAdapter(self._gate, self._workers))

    def _document(
        self, document: Document, session: requests.Session
    ) -> tuple[str, dict[str, Any]]:
        """A swagger document and where it came from. Documents are not secret."""
        with self._document_locks[document]:
            url = build_operation_url(self._api, _DOCUMENTS[document])
            if url not in self._documents:
                self._documents[url] = self._fetch(document, url, session)
            return url, self._documents[url]

    def _fetch_ahead(self, document: Document, session: requests.Session) -> None:
        """Beside the handshake; what goes wrong here is said when the document is needed."""

        def fetch() -> None:
            with suppress(Again, SourceError):
                self._document(document, session)

        threading.Thread(target=fetch, name=f"{document} document", daemon=True).start()

    def _fetch(self, document: Document, url: str, session: requests.Session) -> dict[str, Any]:
        answer = session.get(url, timeout=TIMEOUT)
        if answer.status_code >= 400 and document != "backend":
            raise RefusedAnswer(f"Neptune at {self._address}", answer)
        if answer.status_code >= 400:
            raise WrongProtocolError(
                f"{self._address} does not serve the protocol of Neptune 2.x "
                f"({_DOCUMENTS[document]}: {answer.status_code})",
                shared.SOURCE_OF[3],
            )
        found = json_object(answer)
        if "paths" not in found:
            raise shared.not_a_server(self._address, _DOCUMENTS[document], answer.content)
        return found


def _allow_http(address: str) -> None:
    """oauthlib refuses addresses without encryption, which servers within a company may have."""
    if address.startswith("http://"):
        os.environ.setdefault("OAUTHLIB_INSECURE_TRANSPORT", "1")


def _swagger_client(document: dict[str, Any], origin: str, http: Any) -> Any:
    unchecked = {f"validate_{what}": False for what in ("swagger_spec", "requests", "responses")}
    return SwaggerClient.from_spec(document, origin, http, unchecked)


def _client_config(backend: Any, token: str) -> Any:
    asked = {"X_Neptune_Api_Token": token, "alpha": "true", **DEFAULT_REQUEST_KWARGS}
    config = ClientConfig.from_api_response(backend.api.getClientConfig(**asked).response().result)
    try:
        verify_client_version(config, client_version)
    except NeptuneClientUpgradeRequiredError as error:
        raise SourceRefusedError(
            f"the server does not work with neptune-client {client_version}",
            "It names a version that it works with in /api/backend/v1/clients/config; install "
            "that one.",
        ) from error
    return config
