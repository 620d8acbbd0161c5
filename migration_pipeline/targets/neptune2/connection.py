"""The client's own session, authentication and addresses, and one door for all requests.

The session is put together from the client's parts, not by its `HostedNeptuneBackend`: that one
keeps what it got for the life of the process, has no time limit for some requests, and hands errors
of what it was told to a log. Addresses come from the server's swagger documents, as the client has
it. Requests of the client's parts and ours pass the same adapter, which bounds them in time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import orjson
import requests
import stamina
from requests.adapters import HTTPAdapter

from migration_pipeline.errors import ConfigError, TargetRefusedError, TargetUnavailableError
from migration_pipeline.targets.neptune2.dialect import Place
from migration_pipeline.targets.neptune2.refusals import NotThereError, Refusals, object_of
from migration_pipeline.targets.neptune2.sdk import PASSING, ClientParts

Document = Literal["backend", "leaderboard", "artifacts"]
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
CONNECTIONS = 16
_UNTOUCHED = frozenset({429})
"""Answers that say that nothing was done."""


class _Again(Exception):
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
class _Opened:
    """What the handshake leaves."""

    session: requests.Session
    authenticator: Any
    documents: dict[str, dict[str, Any]]
    lock: threading.Lock = field(default_factory=threading.Lock)


class Connection:
    """To one project of a server. Opened when it is first used; threads share it."""

    def __init__(
        self, place: Place, retry_seconds: float, timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        self.place, self.dialect = place, place.dialect
        self._refusals = Refusals(place)
        self._retry_seconds, self._timeout = retry_seconds, timeout
        self._opening = threading.Lock()
        self._document_lock = threading.Lock()
        self._operations: dict[tuple[Document, str], tuple[str, str]] = {}

    @property
    def address(self) -> str:
        return f"{self.place.address}/{self.place.project}"

    @cached_property
    def project(self) -> dict[str, Any]:
        """What the server says of the project: `id`, `organizationName`, `name` and others.
        Asked for once; raises as `check` does."""
        return self.check()

    def check(self) -> dict[str, Any]:
        """Asks for the project.

        Raises:
            TargetRefusedError: it does not exist, or is not one of this protocol.
            TargetUnavailableError
        """
        wanted = self.place.checked_project()
        try:
            found = self.json("backend", "getProject", {"projectIdentifier": wanted})
        except NotThereError as error:
            raise TargetRefusedError(
                f"there is no project {wanted!r} at {self.place.address}, or the token may not "
                "see it",
                f"Create it there, or correct {self.dialect.project_variable} "
                "(workspace/project); it must be one that the token's user may write to.",
            ) from error
        if found.get("version", 2) != 2:
            raise TargetRefusedError(
                f"project {wanted!r} at {self.place.address} is not of the protocol of Neptune 2.x",
                f"Set {self.dialect.project_variable} to one that is.",
            )
        return dict(found)

    @property
    def version(self) -> str:
        """The client's."""
        return str(self._parts.version)

    @property
    def creation_headers(self) -> dict[str, str]:
        return {"X-Neptune-CliVersion": self.version}

    def json(
        self,
        document: Document,
        operation: str,
        params: Mapping[str, Any],
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> Any:
        """The JSON that an operation answers with.

        Args:
            once: it is not repeated where it may have been done; see `MaybeDoneError`.

        Raises:
            NotThereError, TargetRefusedError, TargetUnavailableError, MaybeDoneError
        """
        content = None if body is None else orjson.dumps(body)
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        with self.send(document, operation, params, content, sent, once=once) as answer:
            return self.said(operation, answer)

    def said(self, operation: str, answer: requests.Response) -> Any:
        """The JSON of an answer.

        Raises:
            TargetRefusedError: it is something else.
        """
        try:
            return answer.json()
        except ValueError as error:
            raise self._refusals.stranger(operation, answer) from error

    def send(
        self,
        document: Document,
        operation: str,
        params: Mapping[str, Any],
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
        once: bool = False,
    ) -> requests.Response:
        """An answer that is no error, repeated while that may help. Raises as `json` does."""
        method, url = self._operation(document, operation)

        def attempt() -> requests.Response:
            request = requests.Request(
                method, url, params=dict(params), data=content, headers=dict(headers or {})
            )
            return self._once(operation, request, stream)

        return self._patiently(operation, attempt, once)

    def fetch(self, url: str, params: Mapping[str, Any] | None = None) -> requests.Response:
        """The answer of an address that the server named, not read yet. Another host, such as an
        object store's, gets no token."""
        address = urljoin(f"{self.place.address}/", url)

        def attempt() -> requests.Response:
            request = requests.Request("GET", address, params=dict(params or {}))
            return self._once("a download", request, True)

        return self._patiently("a download", attempt, False)

    def exchange(
        self, session: requests.Session, prepared: requests.PreparedRequest, stream: bool
    ) -> requests.Response:
        """One request: what all pass that reads or writes runs."""
        answer = session.send(prepared, stream=stream, **self._surroundings(session))
        if not stream:
            answer.content  # noqa: B018  read here, where a cut is understood
        return answer

    # --- attempts -------------------------------------------------------------------------------

    def _patiently(
        self, operation: str, attempt: Callable[[], requests.Response], once: bool
    ) -> requests.Response:
        started = time.monotonic()

        def passing(error: Exception) -> bool | float:
            if not isinstance(error, _Again) or (once and not error.untouched):
                return False
            if error.wait is None:
                return True
            # What the server asks for is waited for, unless that is longer than all patience.
            return error.wait if error.wait <= self._retry_seconds else False

        try:
            for one in stamina.retry_context(
                on=passing,
                attempts=None,
                timeout=self._retry_seconds,
                wait_initial=0.2,
                wait_max=15.0,
                wait_jitter=0.2,
            ):
                with one:
                    return attempt()
        except _Again as error:
            if once and not error.untouched:
                raise MaybeDoneError(str(error)) from error
            raise self.unavailable(f"{operation}: {error}", time.monotonic() - started) from error
        raise AssertionError("an attempt returns or raises")

    def unavailable(self, reason: str, seconds: float = 0.0) -> TargetUnavailableError:
        tried = f" (tried for {seconds:.0f} s)" if seconds >= 1 else ""
        return TargetUnavailableError(self.dialect.target, self.address, f"{reason}{tried}")

    def _once(self, operation: str, request: requests.Request, stream: bool) -> requests.Response:
        opened = self._opened
        for renewed in (False, True):
            prepared = self._prepared(opened, request)
            try:
                answer = self.exchange(opened.session, prepared, stream)
                if answer.status_code >= 400:
                    answer.content  # noqa: B018  of one that is streamed
            except OSError as error:  # as are all of requests
                raise _Again(f"{type(error).__name__}: {_first_line(error)}") from error
            if answer.status_code != 401 or renewed:
                break
            self._renew(opened, prepared.headers.get("Authorization"))
        if answer.status_code in PASSING:
            wait = _seconds(answer.headers.get("retry-after"))
            reason = f"it answered {answer.status_code}"
            raise _Again(reason, wait, answer.status_code in _UNTOUCHED)
        if answer.status_code >= 400:
            raise self._refusals.of(operation, answer)
        return answer

    def _prepared(self, opened: _Opened, request: requests.Request) -> requests.PreparedRequest:
        with opened.lock:
            try:
                if urlsplit(request.url).netloc == urlsplit(self.place.address).netloc:
                    opened.authenticator.apply(request)  # refreshes a token that is about to end
                return opened.session.prepare_request(request)
            except OSError as error:
                raise _Again(f"the token could not be refreshed: {_first_line(error)}") from error

    def _renew(self, opened: _Opened, refused: Any) -> None:
        """Exchanges the API token anew, unless another thread has done so since."""
        with opened.lock:
            auth = opened.authenticator.auth
            if f"Bearer {auth.session.token['access_token']}" == refused:
                auth.session = self._handshake(auth.session_factory)

    # --- handshake ------------------------------------------------------------------------------

    @cached_property
    def _parts(self) -> ClientParts:
        return ClientParts(self.dialect.package)

    @property
    def _opened(self) -> _Opened:
        with self._opening:
            found = self.__dict__.get("_open")
            if found is None:
                found = self.__dict__["_open"] = self._open_now()
            assert isinstance(found, _Opened)
            return found

    def _open_now(self) -> _Opened:
        """The client's session and authenticator.

        Raises:
            TargetRefusedError: the token is refused, or this is no server of the protocol.
            TargetUnavailableError
        """
        address, parts = self.place.address, self._parts
        self.place.checked_project()
        if address.startswith("http://"):
            # oauthlib refuses addresses without encryption, which servers within a company have.
            os.environ.setdefault("OAUTHLIB_INSECURE_TRANSPORT", "1")
        http = self._handshake(lambda: parts.http_client(self._mount))
        url = urljoin(f"{address}/", parts.documents["backend"])
        answer = self._handshake(lambda: http.session.get(url, timeout=self._timeout))
        document = object_of(answer)
        if answer.status_code >= 400 or "paths" not in document:
            raise self._refusals.stranger("the handshake", answer)
        self._check_minimum(http.session)
        token = self.place.token.get_secret_value().strip()
        backend = parts.backend(document, self._origin(document), http)
        authenticator = self._handshake(lambda: parts.authenticator(token, backend))
        make = authenticator.auth.session_factory

        def new_session() -> Any:
            session = make()
            self._adopt(authenticator.auth, session)
            return session

        authenticator.auth.session_factory = new_session
        self._adopt(authenticator.auth, authenticator.auth.session)
        return _Opened(http.session, authenticator, {"backend": document})

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
                raise self.unavailable(f"the handshake: {_first_line(error)}") from error
            if isinstance(error, (KeyError, TypeError, ValueError, AttributeError)):
                raise TargetRefusedError(
                    f"{self.place.address} does not speak the protocol of Neptune 2.x: "
                    f"{_first_line(error)}",
                    f"Is the address inside {self.dialect.token_variable} that of the server?",
                ) from error
            raise
        raise AssertionError("a step returns or raises")

    def _check_minimum(self, session: requests.Session) -> None:
        """Only what the client itself would take for a version counts: five characters."""
        if not self.dialect.minimum:
            return
        url = urljoin(f"{self.place.address}/", self.dialect.minimum)
        answer = self._handshake(lambda: session.get(url, timeout=self._timeout))
        text = answer.text.strip()
        if answer.ok and len(text) == 5 and text[0].isdigit() and self._parts.older_than(text):
            raise ConfigError(
                f"{self.place.address} takes clients from version {text} on, and "
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

    def _origin(self, document: dict[str, Any]) -> str:
        if self.dialect.own_host:
            document.pop("host", None)
        parts = urlsplit(self.place.address)
        return f"{parts.scheme}://{parts.netloc}"

    def _operation(self, document: Document, operation: str) -> tuple[str, str]:
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
                    base = self._parts.serving_url(found, self._origin(found))
                    return method.upper(), base.rstrip("/") + path
        raise TargetRefusedError(
            f"{self.place.address} does not offer the operation {operation}",
            "Is it a server that this client is made for?",
        )

    def _document(self, document: Document) -> dict[str, Any]:
        """A swagger document; they are not secret."""
        opened = self._opened
        with self._document_lock:
            if document not in opened.documents:
                url = urljoin(f"{self.place.address}/", self._parts.documents[document])
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
            address = self.place.address
            found = session.merge_environment_settings(address, {}, None, session.verify, None)
            names = ("proxies", "verify", "cert")
            self.__dict__["_settings"] = {name: found[name] for name in names}
        settings: dict[str, Any] = self.__dict__["_settings"]
        return settings


class MaybeDoneError(Exception):
    """A request that must not be repeated blindly was cut off: it may have been done, or not."""


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
