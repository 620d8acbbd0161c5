"""The one place where pluto-ml is imported, and where its services are talked to.

Addresses, the API key and the client's options are those of `pluto.sets`; requests are made here,
since the SDK's own ways start a process a run, send what they find of the machine, and give up
without an error. What may pass is tried again, as long as the server asks for where it says so.
"""

from __future__ import annotations

import logging
import mimetypes
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from json import JSONDecodeError
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import stamina

from migration_pipeline.errors import (
    MissingExtraError,
    MissingSettingError,
    TargetError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.targets.pluto.config import PlutoConfig

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
"""A connection that hangs is given up after these, and tried again `ATTEMPTS` times in all."""
ATTEMPTS = 4
_PATIENCE = 300.0
_PASSING = frozenset((408, 429, 500, 502, 503, 504))
"""pluto/iface.py RETRYABLE_STATUS_CODES and 5xx; its 401 is told apart below."""
_SHOWN = 300
_CHUNK = 1024 * 1024


class _Again(Exception):
    """What was tried may pass when it is tried again.

    Args:
        wait: seconds, where the server said so.
        final: what it is if it does not pass; None: that Pluto cannot be reached.
    """

    def __init__(
        self, reason: str, wait: float | None = None, final: TargetError | None = None
    ) -> None:
        self.reason, self.wait, self.final = reason, wait, final
        super().__init__(reason)


def _when(error: Exception) -> bool | float:
    """stamina's hook."""
    if not isinstance(error, _Again):
        return False
    if error.wait is None:
        return True
    # What the server asks for is waited for, unless that is longer than all patience.
    return error.wait if error.wait <= _PATIENCE else False


class Connection:
    """The services of one Pluto, for one API key. Used by several threads."""

    def __init__(self, config: PlutoConfig) -> None:
        self._config = config
        self._urls = config.urls
        self._accepted = False
        """The key was taken before: a refusal may be the server's own, and pass."""

    @property
    def address(self) -> str:
        parts = urlsplit(self._urls.get("url_app", "https://pluto.trainy.ai"))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @cached_property
    def settings(self) -> Any:
        """`pluto.Settings` with addresses and key.

        Raises:
            MissingExtraError, MissingSettingError
        """
        os.environ.setdefault("PLUTO_DISABLE_TELEMETRY", "1")
        try:
            from pluto.query import _resolve_api_token
            from pluto.sets import Settings
        except ImportError as error:
            raise MissingExtraError("pluto", "pluto", "pluto-ml") from error
        settings = Settings()
        settings.update_host()
        for name, url in self._urls.items():
            setattr(settings, name, url)
        settings.update_url()
        settings._auth = self._config.api_key.get_secret_value().strip() or _resolve_api_token()
        if not settings._auth:
            raise MissingSettingError("PLUTO_API_KEY", "the API key of Pluto")
        return settings

    @cached_property
    def client(self) -> httpx.Client:
        """As `pluto.iface.ServerInterface` makes it. The key goes to Pluto only, see `_headers`."""
        settings = self.settings
        # It tells of every request, with addresses of files that are secret for their time.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        return httpx.Client(
            verify=False if settings.insecure_disable_ssl else _certificates(),
            proxy=settings.http_proxy or settings.https_proxy or None,
            limits=httpx.Limits(max_connections=settings.x_file_stream_max_conn),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )

    def check(self) -> None:
        """Looks whether it is there and takes the key, as `pluto login` does."""
        answer = self._send("POST", self.settings.url_login, "looking whether it is there")
        if "organization" not in self._json(answer, "looking whether it is there"):
            raise self._not_pluto(answer)

    # --- the API --------------------------------------------------------------------------------

    def get(self, path: str, doing: str, **asked: Any) -> dict[str, Any]:
        answer = self._send("GET", f"{self.settings.url_api}{path}", doing, params=asked)
        return self._json(answer, doing)

    def post(self, path: str, doing: str, said: dict[str, Any]) -> dict[str, Any]:
        answer = self._send("POST", f"{self.settings.url_api}{path}", doing, json=said)
        return self._json(answer, doing)

    # --- ingestion ------------------------------------------------------------------------------

    def metrics(self, project: str, run_id: int, body: bytes) -> None:
        """Lines of metrics; sent twice they count once."""
        url = self.settings.url_num
        self._send("POST", url, "sending points", content=body, of=(project, run_id))

    def data(self, project: str, run_id: int, body: bytes) -> None:
        """Lines of text and histograms; sent twice they would be there twice, so only a request
        that was surely not taken is repeated."""
        url, of = self.settings.url_data, (project, run_id)
        self._send("POST", url, "sending text and histograms", content=body, of=of, once=True)

    def presign(self, project: str, run_id: int, files: list[dict[str, Any]]) -> dict[str, Any]:
        """Log name → list of file name → address to put it to."""
        url, of, doing = self.settings.url_file, (project, run_id), "announcing files"
        return self._json(self._send("POST", url, doing, json={"files": files}, of=of), doing)

    def put(self, url: str, source: Path) -> None:
        """A file to an address of the object store; not chunked, which those refuse."""
        kind = mimetypes.guess_type(source.name)[0] or "application/octet-stream"
        headers = {"Content-Type": kind, "Content-Length": str(source.stat().st_size)}

        def body() -> Iterator[bytes]:
            with source.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk

        self._send("PUT", url, "sending a file", stream=body, headers=headers, stored=True)

    def fetch(self, url: str, to: Path) -> bool:
        """A file from the object store; False where it has none."""
        for attempt in self._attempts("reading a file"):
            with attempt, self._hearing(), self.client.stream("GET", url) as answer:
                if answer.status_code in (403, 404) and _is_xml(answer):
                    return False  # announced, and never sent
                self._look(answer, "reading a file", stored=True)
                with to.open("wb") as stream:
                    for chunk in answer.iter_bytes(_CHUNK):
                        stream.write(chunk)
        return True

    def size(self, url: str) -> int | None:
        """Bytes of a file in the object store; None where it has none."""
        for attempt in self._attempts("looking at a file"):
            with attempt, self._hearing(), self.client.stream("GET", url) as answer:
                if answer.status_code in (403, 404) and _is_xml(answer):
                    return None
                self._look(answer, "looking at a file", stored=True)
                return int(answer.headers.get("content-length", -1))
        return None

    # --- requests -------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        url: str,
        doing: str,
        *,
        of: tuple[str, int] | None = None,
        stream: Callable[[], Iterator[bytes]] | None = None,
        stored: bool = False,
        once: bool = False,
        headers: dict[str, str] | None = None,
        **content: Any,
    ) -> httpx.Response:
        """
        Args:
            of: project and run that an ingestion is about.
            stream: makes the body, for each attempt anew.
            stored: it goes to the object store, which must not see the key.
            once: it must not arrive twice.
        """
        given = {**(headers or {}), **({} if stored else self._headers(of))}
        for attempt in self._attempts(doing):
            with attempt, self._hearing(once):
                if stream:
                    content["content"] = stream()
                answer = self.client.request(method, url, headers=given, **content)
                self._look(answer, doing, stored, once)
                self._accepted = True
                return answer
        raise AssertionError("stamina raises what it caught last")

    def _headers(self, of: tuple[str, int] | None) -> dict[str, str]:
        settings = self.settings
        headers = {"Authorization": f"Bearer {settings._auth}", "User-Agent": settings.tag}
        if of is not None:
            headers |= {"X-Project-Name": of[0], "X-Run-Id": str(of[1])}
        return headers

    def _attempts(self, doing: str) -> Iterator[Any]:
        """
        Raises:
            TargetUnavailableError: none passed.
        """
        try:
            yield from stamina.retry_context(
                on=_when, attempts=ATTEMPTS, timeout=_PATIENCE, wait_initial=0.5, wait_max=8.0
            )
        except _Again as error:
            reason = f"{doing}: {self.scrub(error.reason)}"
            raise error.final or TargetUnavailableError("pluto", self.address, reason) from None

    @contextmanager
    def _hearing(self, once: bool = False) -> Iterator[None]:
        """Errors of the connection: what may pass, and what must not be tried twice."""
        try:
            yield
        except httpx.ConnectError as error:
            raise _Again(f"{type(error).__name__}: {error}") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            said = f"{type(error).__name__}: {error}"
            if once:
                reason = self.scrub(f"it is not known whether the last lines arrived: {said}")
                raise TargetUnavailableError("pluto", self.address, reason) from None
            raise _Again(said) from None
        except ConnectionError as error:
            raise TargetUnavailableError("pluto", self.address, self.scrub(str(error))) from None
        except OSError as error:  # of this machine: its client has names of its own for others
            raise TargetRefusedError(
                f"target pluto at {self.address}: a file of this machine cannot be read or written:"
                f" {error}",
                "Make room, or give this user the right, and start again.",
            ) from error
        except httpx.InvalidURL as error:
            raise TargetRefusedError(
                f"target pluto at {self.address} gave an address that is none: {error}",
                "Correct PLUTO_URL_API and PLUTO_URL_INGEST.",
            ) from None

    def _look(
        self, answer: httpx.Response, doing: str, stored: bool = False, once: bool = False
    ) -> None:
        """
        Raises:
            _Again: it may pass.
            TargetRefusedError: it does not.
        """
        code = answer.status_code
        if code in (200, 201):
            if _is_html(answer) and not stored:
                raise self._not_pluto(answer)
            return
        said = self.scrub(_said(answer))
        reason = f"it answers {code}: {said}"
        if code in _PASSING and not (once and code != 429):
            raise _Again(reason, _retry_after(answer))
        if code in _PASSING:
            raise TargetUnavailableError("pluto", self.address, f"{doing}: {reason}")
        if code == 401 and self._accepted and not stored:
            # "auth/token validation races … which clear on retry" (pluto/iface.py)
            raise _Again(reason, final=self._refusal(code, said, doing, False))
        if code == 403 and stored:
            raise TargetRefusedError(
                f"target pluto at {self.address}, {doing}: its object store refuses an address "
                f"that Pluto gave: {said}",
                "Such addresses live for an hour. Set NEPTUNE_EXPORTER_PLUTO_FILE_CHUNK_SIZE to "
                "less and load again; files that are there are not sent again.",
            )
        raise self._refusal(code, said, doing, _is_html(answer) and not stored)

    def _refusal(self, code: int, said: str, doing: str, html: bool) -> TargetRefusedError:
        where, said = f"target pluto at {self.address}", self.scrub(said)
        if html:
            return self._not_pluto(None, code)
        if code == 401:
            return TargetRefusedError(
                f"{where} refuses the API key: {said}",
                f"Make a new key at {self.address}/api-keys and set PLUTO_API_KEY, or run "
                "`pluto login`.",
            )
        if code == 403:
            return TargetRefusedError(
                f"{where}, {doing}: permission denied: {said}",
                "Use an API key of a member who may write to this organization.",
            )
        if code == 400 and "at limit" in said:
            return TargetRefusedError(
                f"{where}, {doing}: the storage of its plan is used up: {said}",
                f"Free space at {self.address}, or take a larger plan, and start again; runs that "
                "are complete are not sent again.",
            )
        if code == 413:
            return TargetRefusedError(
                f"{where}, {doing}: a request is too large for it, or for a proxy before it: "
                f"{said}",
                "Set NEPTUNE_EXPORTER_PLUTO_FLUSH_EVERY (points) or "
                "NEPTUNE_EXPORTER_PLUTO_FILE_CHUNK_SIZE (files) to less.",
            )
        return TargetRefusedError(
            f"{where}, {doing}: it answers {code}: {said}",
            "Correct what it names and start again; runs that are complete are not sent again.",
        )

    def _not_pluto(self, answer: httpx.Response | None, code: int = 200) -> TargetRefusedError:
        code = code if answer is None else answer.status_code
        return TargetRefusedError(
            f"what answers at {self.address} is not Pluto's API (status {code}, a page)",
            "Correct PLUTO_URL_API and PLUTO_URL_INGEST; a log-in page in front of them must let "
            "requests with an API key pass.",
        )

    def _json(self, answer: httpx.Response, doing: str) -> dict[str, Any]:
        try:
            found = answer.json()
        except (JSONDecodeError, UnicodeDecodeError):
            raise self._not_pluto(answer) from None
        if not isinstance(found, dict):
            raise self._not_pluto(answer)
        return found

    def scrub(self, text: str) -> str:
        """Text without the key."""
        key = self.__dict__.get("settings") and self.settings._auth
        return text.replace(key, "***") if key else text

    def until(self, there: Callable[[], bool], what: str, seconds: float) -> None:
        """Waits until something can be read: what is ingested is shown some seconds later.

        Raises:
            TargetUnavailableError: it is not there in time.
        """
        deadline, pause = time.monotonic() + seconds, 0.1
        while not there():
            if time.monotonic() > deadline:
                raise TargetUnavailableError(
                    "pluto", self.address, f"it took {what} and does not show it"
                )
            time.sleep(pause)
            pause = min(pause * 2, 2.0)


@cache
def _certificates() -> ssl.SSLContext:
    """To read them takes longer than most loads of a run."""
    return httpx.create_ssl_context()


def _said(answer: httpx.Response) -> str:
    """Why, in the server's words (`pluto.iface._server_error_message` reads the same fields)."""
    answer.read()
    try:
        body = answer.json()
    except (JSONDecodeError, UnicodeDecodeError):
        return answer.text[:_SHOWN] if not _is_html(answer) else "a page"
    if not isinstance(body, dict):
        return str(body)[:_SHOWN]
    parts = [str(body[name]) for name in ("error", "message") if body.get(name)]
    return ": ".join(parts)[:_SHOWN] or answer.reason_phrase


def _is_html(answer: httpx.Response) -> bool:
    return "html" in answer.headers.get("content-type", "")


def _is_xml(answer: httpx.Response) -> bool:
    """As object stores say that there is no such key."""
    return "xml" in answer.headers.get("content-type", "")


def _retry_after(answer: httpx.Response) -> float | None:
    """RFC 9110: a number of seconds, or a date."""
    text = answer.headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
