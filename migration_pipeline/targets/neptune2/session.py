"""The client's own session, authentication and addresses.

The session is put together from the client's parts, not by its `HostedNeptuneBackend`: that one
keeps what it got for the life of the process, has no time limit for some requests, and hands errors
of what it was told to a log. Addresses come from the server's swagger documents, as the client has
it. Requests of the client's parts and ours pass the same adapter, which bounds them in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import requests
import stamina
from requests.adapters import HTTPAdapter

from migration_pipeline.errors import ConfigError, TargetRefusedError, TargetUnavailableError
from migration_pipeline.plain_http import Pass
from migration_pipeline.targets.neptune2.dialect import Server
from migration_pipeline.targets.neptune2.refusals import Refusals, object_of
from migration_pipeline.targets.neptune2.sdk import ClientParts

Document = Literal["backend", "leaderboard", "artifacts"]
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
CONNECTIONS = 16


class Again(Exception):
    """May pass when it is tried again; `wait` is what the server asked for, in seconds.

    `untouched`: the server has done nothing of it.
    """

    def __init__(self, reason: str, wait: float | None = None, untouched: bool = False) -> None:
        self.wait, self.untouched = wait, untouched
        super().__init__(reason)


class _Bounded(HTTPAdapter):
    """No request waits for ever."""

    def __init__(self, timeout: tuple[float, float]) -> None:
        super().__init__(pool_maxsize=CONNECTIONS)
        self._timeout = timeout

    def send(self, *given: Any, **more: Any) -> requests.Response:
        more["timeout"] = more.get("timeout") or self._timeout
        return super().send(*given, **more)


@dataclass
class Opened:
    """What the handshake leaves.

    Args:
        api: where the server's API is.
        pages: where its pages are.
        passes: for as long as it is used.
    """

    session: requests.Session
    authenticator: Any
    documents: dict[str, dict[str, Any]]
    api: str
    pages: str
    passes: list[Pass]
    lock: threading.Lock = field(default_factory=threading.Lock)


class Session:
    """With one server. Opened when it is first used; threads share it."""

    def __init__(
        self, server: Server, retry_seconds: float, timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        self.server, self.dialect = server, server.dialect
        self._refusals = Refusals(server)
        self._retry_seconds, self._timeout = retry_seconds, timeout
        self._opening = threading.Lock()
        self._document_lock = threading.Lock()
        self._operations: dict[tuple[Document, str], tuple[str, str]] = {}

    @property
    def version(self) -> str:
        """The client's."""
        return str(self._parts.version)

    def exchange(
        self, session: requests.Session, prepared: requests.PreparedRequest, stream: bool
    ) -> requests.Response:
        """One request: what all pass that reads or writes runs."""
        answer = session.send(prepared, stream=stream, **self._surroundings(session))
        if not stream:
            answer.content  # noqa: B018  read here, where a cut is understood
        return answer

    def prepared(self, request: requests.Request) -> requests.PreparedRequest:
        """With the token where it goes to the server itself; another host gets none.

        Raises:
            Again
        """
        opened = self.opened
        with opened.lock:
            try:
                if urlsplit(request.url).netloc == urlsplit(opened.api).netloc:
                    opened.authenticator.apply(request)  # refreshes a token that is about to end
                return opened.session.prepare_request(request)
            except OSError as error:
                raise Again(f"the token could not be refreshed: {first_line(error)}") from error

    def renew(self, refused: Any) -> None:
        """Exchanges the API token anew, unless another thread has done so since."""
        opened = self.opened
        with opened.lock:
            auth = opened.authenticator.auth
            if f"Bearer {auth.session.token['access_token']}" == refused:
                auth.session = self._handshake(auth.session_factory)

    # --- handshake ------------------------------------------------------------------------------

    @cached_property
    def _parts(self) -> ClientParts:
        return ClientParts(self.dialect.package)

    @property
    def opened(self) -> Opened:
        with self._opening:
            found = self.__dict__.get("_open")
            if found is None:
                found = self.__dict__["_open"] = self._open_now()
            assert isinstance(found, Opened)
            return found

    def _open_now(self) -> Opened:
        """The client's session and authenticator.

        Raises:
            TargetRefusedError: the token is refused, or this is no server of the protocol.
            TargetUnavailableError
        """
        address, parts = self.server.address, self._parts
        passes = [Pass(address)]
        http = self._handshake(lambda: parts.http_client(self._mount))
        url = urljoin(f"{address}/", parts.documents["backend"])
        answer = self._handshake(lambda: http.session.get(url, timeout=self._timeout))
        document = object_of(answer)
        if answer.status_code >= 400 or "paths" not in document:
            raise self._refusals.stranger("the handshake", answer)
        self._check_minimum(http.session)
        token = self.server.token.get_secret_value().strip()
        backend = parts.backend(document, self._origin(document, address), http)
        api, pages = address, address
        if self.dialect.configured:
            api, pages = self._handshake(lambda: parts.places(backend, token))
            passes.append(Pass(api))
        authenticator = self._handshake(lambda: parts.authenticator(token, backend))
        make = authenticator.auth.session_factory

        def new_session() -> Any:
            session = make()
            self._adopt(authenticator.auth, session)
            return session

        authenticator.auth.session_factory = new_session
        self._adopt(authenticator.auth, authenticator.auth.session)
        return Opened(http.session, authenticator, {"backend": document}, api, pages, passes)

    def _handshake(self, step: Callable[[], Any]) -> Any:
        """A step of the handshake: errors of the client's parts in our words."""
        try:
            for one in stamina.retry_context(
                on=lambda error: self._parts.may_pass(error),
                attempts=None,
                timeout=min(self._retry_seconds, 30.0),
                wait_initial=0.2,
                wait_jitter=0.2,
            ):
                with one:
                    return step()
        except Exception as error:
            if self._parts.refuses_token(error):
                raise self._refusals.token_refused() from error
            if self._parts.may_pass(error):
                raise TargetUnavailableError(
                    self.dialect.target, self.server.address, f"the handshake: {first_line(error)}"
                ) from error
            if refused := self._parts.refused_version(error):
                raise ConfigError(
                    f"{self.server.address} does not take this client: {refused}",
                    "Install a version that it takes; whether that passes this project's tests is "
                    "not known.",
                ) from error
            if isinstance(error, (KeyError, TypeError, ValueError, AttributeError)):
                raise TargetRefusedError(
                    f"{self.server.address} does not speak the protocol of Neptune 2.x: "
                    f"{first_line(error)}",
                    f"Is the address inside {self.dialect.token_variable} that of the server?",
                ) from error
            raise
        raise AssertionError("a step returns or raises")

    def _check_minimum(self, session: requests.Session) -> None:
        """Only what the client itself would take for a version counts: five characters."""
        if not self.dialect.minimum:
            return
        url = urljoin(f"{self.server.address}/", self.dialect.minimum)
        answer = self._handshake(lambda: session.get(url, timeout=self._timeout))
        text = answer.text.strip()
        if answer.ok and len(text) == 5 and text[0].isdigit() and self._parts.older_than(text):
            raise ConfigError(
                f"{self.server.address} takes clients from version {text} on, and "
                f"{self.dialect.package.partition('.')[0]} {self._parts.version} is installed",
                "Install a newer one; whether it passes this project's tests is not known.",
            )

    def _adopt(self, auth: Any, session: Any) -> None:
        """Lets the session that holds the token wait as all others do; its token is a new one."""
        self._mount(session)
        auth.token_expires_at = self._parts.end_of(session.token["access_token"])

    def _mount(self, session: requests.Session) -> None:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Bounded(self._timeout))

    def _origin(self, document: dict[str, Any], address: str) -> str:
        if self.dialect.own_host:
            document.pop("host", None)
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc}"

    def operation(self, document: Document, operation: str) -> tuple[str, str]:
        """Method and address.

        Raises:
            TargetRefusedError: the server does not have it.
        """
        known = self._operations.get((document, operation))
        if known is None:
            known = self._operations[document, operation] = self._look_up(document, operation)
        return known

    def _look_up(self, document: Document, operation: str) -> tuple[str, str]:
        found = self._document(document)
        for path, methods in found["paths"].items():
            for method, described in methods.items():
                if isinstance(described, dict) and described.get("operationId") == operation:
                    base = self._parts.serving_url(found, self._origin(found, self.opened.api))
                    return method.upper(), base.rstrip("/") + path
        raise TargetRefusedError(
            f"{self.server.address} does not offer the operation {operation}",
            "Is it a server that this client is made for?",
        )

    def _document(self, document: Document) -> dict[str, Any]:
        """A swagger document; they are not secret."""
        opened = self.opened
        with self._document_lock:
            if document not in opened.documents:
                url = urljoin(f"{opened.api}/", self._parts.documents[document])
                answer = self._handshake(lambda: opened.session.get(url, timeout=self._timeout))
                found = object_of(answer)
                if answer.status_code >= 400 or "paths" not in found:
                    raise self._refusals.stranger(f"the document {document}", answer)
                opened.documents[document] = found
            return opened.documents[document]

    def _surroundings(self, session: requests.Session) -> dict[str, Any]:
        """Proxies and certificates by the environment, looked up once: it takes as long as
        preparing a request."""
        if "_settings" not in self.__dict__:
            address = self.opened.api
            found = session.merge_environment_settings(address, {}, None, session.verify, None)
            names = ("proxies", "verify", "cert")
            self.__dict__["_settings"] = {name: found[name] for name in names}
        settings: dict[str, Any] = self.__dict__["_settings"]
        return settings


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
