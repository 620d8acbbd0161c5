"""The 2.x client's own session, authentication and addresses, with what they leave out.

One authenticated session serves all threads. It is put together from the client's parts instead of
by its `HostedNeptuneBackend`, whose constructor retries for a minute whatever is asked of it, reads
the first digit of a Retry-After only, and keeps what it got for the life of the process. Addresses
come from the server's swagger documents, as the client has it; answers are read as plain JSON, and
all requests pass one gate.
"""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

import jwt
import requests
from pydantic import SecretStr

from migration_pipeline.errors import (
    CredentialsRefusedError,
    SourceError,
    SourceRefusedError,
    WrongProtocolError,
)
from migration_pipeline.plain_http import Pass
from migration_pipeline.sources import neptune as shared
from migration_pipeline.sources.neptune2.http import (
    TIMEOUT,
    GatedAdapter,
    RefusedAnswer,
    json_object,
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


class Connection:
    """The handshake, and the session that it leaves.

    Raises:
        WrongProtocolError: the server has no 2.x documents.
        CredentialsRefusedError: it does not know the token.
        Again: a part of the handshake may pass.
    """

    def __init__(self, address: str, api_token: SecretStr, gate: Gate, workers: int) -> None:
        self._address, self._gate, self._workers = address, gate, workers
        self._token_lock = threading.Lock()
        self._settings: dict[str, dict[str, Any]] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._document_locks = {document: threading.Lock() for document in _DOCUMENTS}
        self._verify = ssl_verify()
        self._passes = [Pass(address)]
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
                self._passes.append(Pass(config.api_url))
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
        settings = self._settings_for(session, prepared.url)
        return session.send(prepared, timeout=TIMEOUT, **settings, stream=stream), token

    def _settings_for(self, session: requests.Session, url: str | None) -> dict[str, Any]:
        """Proxies and certificates by the environment; looked up once a host, which takes as long
        as preparing a request."""
        parts = urlsplit(url or "")
        place = f"{parts.scheme}://{parts.netloc}"
        if place not in self._settings:
            found = session.merge_environment_settings(place, {}, None, session.verify, None)
            self._settings[place] = {name: found[name] for name in ("proxies", "verify", "cert")}
        return self._settings[place]

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
