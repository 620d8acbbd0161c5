"""One door for all requests to a project: what may pass is repeated, the rest is said in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

import orjson
import requests
import stamina

from migration_pipeline.errors import TargetRefusedError, TargetUnavailableError
from migration_pipeline.targets.neptune2.dialect import Place
from migration_pipeline.targets.neptune2.refusals import NotThereError, Refusals
from migration_pipeline.targets.neptune2.sdk import PASSING
from migration_pipeline.targets.neptune2.session import Again, Document, Session, first_line

_UNTOUCHED = frozenset({429})
"""Answers that say that nothing was done."""


class Connection:
    """To one project of a server, or to the server where the project is empty. Threads share it."""

    def __init__(self, session: Session, place: Place, retry_seconds: float) -> None:
        self.session, self.place, self.dialect = session, place, place.dialect
        self._refusals = Refusals(place.server, place.project)
        self._retry_seconds = retry_seconds

    @property
    def address(self) -> str:
        return self.place.address

    @cached_property
    def project(self) -> dict[str, Any]:
        """What the server says of the project: `id`, `organizationName`, `name` and others.
        Asked for once; raises as `check` does."""
        return self.check()

    def check(self) -> dict[str, Any]:
        """Asks for the project.

        Raises:
            NotThereError: it does not exist.
            TargetRefusedError: it is not one of this protocol.
            TargetUnavailableError
        """
        wanted, server = self.place.project, self.place.server.address
        try:
            found = self.json("backend", "getProject", {"projectIdentifier": wanted})
        except NotThereError as error:
            raise NotThereError(
                f"there is no project {wanted!r} at {server}, or the token may not see it",
                f"Create it there, or {self.dialect.elsewhere} that the token's user may write to.",
            ) from error
        if found.get("version", 2) != 2:
            raise TargetRefusedError(
                f"project {wanted!r} at {server} is not of the protocol of Neptune 2.x",
                f"To load into one that is, {self.dialect.elsewhere}.",
            )
        return dict(found)

    @property
    def version(self) -> str:
        """The client's."""
        return str(self.session.version)

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
        method, url = self.session.operation(document, operation)

        def attempt() -> requests.Response:
            request = requests.Request(
                method, url, params=dict(params), data=content, headers=dict(headers or {})
            )
            return self._once(operation, request, stream)

        return self._patiently(operation, attempt, once)

    def fetch(self, url: str, params: Mapping[str, Any] | None = None) -> requests.Response:
        """The answer of an address that the server named, not read yet. Another host, such as an
        object store's, gets no token."""
        address = urljoin(f"{self.session.opened.api}/", url)

        def attempt() -> requests.Response:
            request = requests.Request("GET", address, params=dict(params or {}))
            return self._once("a download", request, True)

        return self._patiently("a download", attempt, False)

    # --- attempts -------------------------------------------------------------------------------

    def _patiently(
        self, operation: str, attempt: Callable[[], requests.Response], once: bool
    ) -> requests.Response:
        started = time.monotonic()

        def passing(error: Exception) -> bool | float:
            if not isinstance(error, Again) or (once and not error.untouched):
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
        except Again as error:
            if once and not error.untouched:
                raise MaybeDoneError(str(error)) from error
            raise self.unavailable(f"{operation}: {error}", time.monotonic() - started) from error
        raise AssertionError("an attempt returns or raises")

    def unavailable(self, reason: str, seconds: float = 0.0) -> TargetUnavailableError:
        tried = f" (tried for {seconds:.0f} s)" if seconds >= 1 else ""
        return TargetUnavailableError(self.dialect.target, self.address, f"{reason}{tried}")

    def _once(self, operation: str, request: requests.Request, stream: bool) -> requests.Response:
        opened = self.session.opened
        for renewed in (False, True):
            prepared = self.session.prepared(request)
            try:
                answer = self.session.exchange(opened.session, prepared, stream)
                if answer.status_code >= 400:
                    answer.content  # noqa: B018  of one that is streamed
            except OSError as error:  # as are all of requests
                raise Again(f"{type(error).__name__}: {first_line(error)}") from error
            if answer.status_code != 401 or renewed:
                break
            self.session.renew(prepared.headers.get("Authorization"))
        if answer.status_code in PASSING:
            wait = _seconds(answer.headers.get("retry-after"))
            reason = f"it answered {answer.status_code}"
            raise Again(reason, wait, answer.status_code in _UNTOUCHED)
        if answer.status_code >= 400:
            raise self._refusals.of(operation, answer)
        return answer


class MaybeDoneError(Exception):
    """A request that must not be repeated blindly was cut off: it may have been done, or not."""


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None
