"""Requests to Comet, tried again where that may help; their errors are given our names.

Requests go through the SDK's own session: its certificates, its headers, its hooks for
authentication. Its background threads, which tell of host, git and packages, are never started.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import stamina

from migration_pipeline.errors import (
    MigrationError,
    TargetError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.targets.comet.config import CometConfig
from migration_pipeline.targets.comet.pace import Pace
from migration_pipeline.targets.comet.refusals import refusal
from migration_pipeline.targets.comet.sdk import imported

log = logging.getLogger(__name__)

_TRIES = 4
_FIRST_WAIT = 0.5
_PATIENCE = 900.0
"""Seconds that a server that answers 429 is waited for, in all."""
_WAIT_UNSAID = 60.0
"""comet_ml/streamer/retry: after a 429 that does not say how long."""
_lock = threading.Lock()


class _Again(Exception):
    """What was tried may pass when it is tried again."""


class Connection:
    """One Comet; used by several threads, each with a session of its own."""

    def __init__(self, config: CometConfig) -> None:
        self._config = config
        self.address = config.root
        self._key = config.api_key.get_secret_value()
        self._paces = {kind: Pace(most) for kind, most in config.paces.items()}
        self._of_thread = threading.local()
        self._quiet_until = 0.0
        self._workspace = config.workspace

    # --- the SDK --------------------------------------------------------------------------------

    def make(self) -> Any:
        """The SDK's `LowLevelHTTPClient` for this address and key."""
        with _lock:
            sdk = imported()
        made = sdk.get_rest_api_client(
            "v2",
            server_address=self.address,
            api_key=self._key,
            use_cache=False,
            check_version=False,
        ).low_level_api_client
        for session in (made.session, made.retry_session):
            session.headers.pop("X-COMET-DEBUG-PY-VERSION", None)
        return made

    @property
    def http(self) -> Any:
        """That of this thread."""
        if not hasattr(self._of_thread, "http"):
            self._of_thread.http = self.make()
        return self._of_thread.http

    def share(self, http: Any) -> None:
        """This thread takes the session of another, which makes no request meanwhile."""
        self._of_thread.http = http

    def timeout(self, of: str = "http") -> float:
        """The user's `comet.timeout.…`, seconds."""
        return float(self.http_config[f"comet.timeout.{of}"])

    @property
    def http_config(self) -> Any:
        if not hasattr(self._of_thread, "config"):
            with _lock:
                self._of_thread.config = imported().get_config()
        return self._of_thread.config

    # --- requests -------------------------------------------------------------------------------

    @property
    def workspace(self) -> str:
        """The one that gets the projects; asked for where none is set."""
        if not self._workspace:
            details = self.get("account-details", {}, "asking for the default workspace")
            self._workspace = str(details["defaultWorkspaceName"])
        return self._workspace

    def get(self, path: str, asked: Mapping[str, Any], doing: str) -> Any:
        """JSON of an endpoint of the REST API.

        Raises:
            TargetRefusedError, TargetUnavailableError
        """

        def send() -> Any:
            return self.http.get(self._rest(path), params=dict(asked), **self._options())

        return self._json(self._sent(send, doing), doing)

    def find(self, path: str, asked: Mapping[str, Any], doing: str) -> Any:
        """The same, or None where Comet says that it is not there: 404, or 400 in older versions,
        whatever is asked for."""

        def send() -> Any:
            return self.http.get(self._rest(path), params=dict(asked), **self._options())

        answer = self._sent(send, doing, absent=(400, 404))
        return None if answer is None else self._json(answer, doing)

    def post(self, path: str, payload: Any, doing: str) -> Any:
        """JSON to an endpoint of the REST API, and its answer."""

        def send() -> Any:
            return self.http.post(self._rest(path), payload, **self._options())

        return self._json(self._sent(send, doing), doing)

    def add_run(self, key: str, project: str) -> bool:
        """Makes an experiment, or finds the one that has the key; False: the key is taken by one
        that was deleted."""
        payload = {
            "experimentKey": key,
            "projectName": project,
            "teamName": self.workspace,
            "offline": False,
            "getOrCreateEnabled": True,
            "libVersion": imported().version,
        }
        url = imported().urls.add_run_url(self._clientlib)

        def send() -> Any:
            return self.http.post(url, payload, **self._options())

        doing = "creating an experiment"
        answer = self._sent(send, doing, known=imported().EXPERIMENT_ALREADY_EXISTS)
        if answer is not None:
            self._json(answer, doing)
        return answer is not None

    def log_parameters(self, body: bytes, values: int) -> None:
        """`body`: JSON as the batch endpoint takes it; of one name the last value stays."""
        url = imported().urls.parameters_batch_url(self._clientlib)
        self._batch(url, body, "parameter", values, None)

    def log_metrics(self, body: bytes, values: int, arrived: Callable[[], bool]) -> None:
        """`body`: JSON as the batch endpoint takes it.

        Args:
            arrived: is asked, when no answer came, whether the values are there: what is sent
                twice is there twice.
        """
        url = imported().urls.metrics_batch_url(self._clientlib)
        self._batch(url, body, "metric", values, arrived)

    def _batch(
        self, url: str, body: bytes, kind: str, values: int, arrived: Callable[[], bool] | None
    ) -> None:
        packed = gzip.compress(body, 1)
        headers = {
            "Content-Type": "application/json;charset=utf-8",
            "Content-Encoding": "gzip",
            **self.http.headers,
        }

        def send() -> Any:
            timeout = self.timeout()
            return self.http.session.post(url, data=packed, headers=headers, timeout=timeout)

        doing = f"sending {kind}s"
        answer = self._sent(send, doing, kind, values, arrived)
        if answer is not None:
            self._json(answer, doing)

    def upload(self, key: str, file: Path, name: str, about: Mapping[str, Any]) -> bool:
        """Makes a file an asset of an experiment, in place of one of that name; False: it has all
        the histograms that it may have.

        Args:
            about: `type`, `step` and so on; `overwrite` where it shall not replace any.
        """
        params = {"experimentKey": key, "fileName": name, "overwrite": "true", **about}
        if "extension" not in about and (extension := os.path.splitext(name)[1]):
            params["extension"] = extension
        doing = f"sending the file {name!r}"

        def send() -> Any:
            return imported().send_file(
                self._rest("write/experiment/upload-asset"),
                str(file),
                params,
                dict(self.http.headers),
                self.timeout("file_upload"),
                self.http.session,
            )

        answer = self._sent(send, doing, known=imported().HISTOGRAM_LIMIT_REACHED)
        if answer is not None:
            self._json(answer, doing)
        return answer is not None

    def download(self, key: str, asset: str, to: Path) -> None:
        """The content of an asset."""
        asked = {"experimentKey": key, "assetId": asset}
        doing = "reading a file"
        options = {**self._options(), "timeout": self.timeout("file_download"), "stream": True}

        def send() -> Any:
            url = self._rest("experiment/asset/get-asset")
            answer = self.http.get(url, params=asked, **options)
            if answer.status_code == 200:
                with to.open("wb") as stream:
                    for chunk in answer.iter_content(1024 * 1024):
                        stream.write(chunk)
            return answer

        self._sent(send, doing)

    @property
    def _clientlib(self) -> str:
        return f"{self.address}/clientlib/"

    def _rest(self, path: str) -> str:
        return f"{self.address}/api/rest/v2/{path}"

    def _options(self) -> dict[str, Any]:
        return {"retry": False, "timeout": self.timeout()}

    # --- answers --------------------------------------------------------------------------------

    def _sent(
        self,
        send: Callable[[], Any],
        doing: str,
        kind: str = "other",
        values: int = 1,
        arrived: Callable[[], bool] | None = None,
        absent: tuple[int, ...] = (),
        known: int | None = None,
    ) -> Any:
        """The answer, tried again where that may help; None: absent, refused with the code `known`,
        or there already."""
        lost = False
        try:
            for attempt in stamina.retry_context(
                on=_Again, attempts=_TRIES, timeout=None, wait_initial=_FIRST_WAIT, wait_jitter=0.1
            ):
                with attempt:
                    if lost and arrived is not None and arrived():
                        return None
                    try:
                        answer = self._let_in(send, kind, values)
                    except imported().RequestException as error:
                        lost = True
                        raise _Again(_reason(error)) from error
                    if answer.status_code >= 500:
                        lost = True
                        raise _Again(f"it answers with status {answer.status_code}")
                    return self._checked(answer, doing, absent, known)
        except _Again as error:
            reason = self.scrub(f"{doing}: {error}")
            raise TargetUnavailableError("comet", self.address, reason) from None
        raise AssertionError  # stamina gives an answer or raises

    def _let_in(self, send: Callable[[], Any], kind: str, values: int) -> Any:
        """The answer, once the server has room for it."""
        until = time.monotonic() + _PATIENCE
        pace = self._paces.get(kind)
        while True:
            if (left := self._quiet_until - time.monotonic()) > 0:
                time.sleep(left)
            with pace.room(values) if pace else contextlib.nullcontext():
                answer = send()
            if answer.status_code != 429:
                return answer
            wait = _asked_wait(answer.headers)
            log.info("comet at %s asks to wait %.1f s", self.address, wait)
            with _lock:
                self._quiet_until = max(self._quiet_until, time.monotonic() + wait)
            if time.monotonic() + wait > until:
                raise TargetUnavailableError(
                    "comet", self.address, f"it has answered 429 for {_PATIENCE:.0f} seconds"
                )

    def _checked(self, answer: Any, doing: str, absent: tuple[int, ...], known: int | None) -> Any:
        if answer.status_code < 400:
            return answer
        said = _json_of(answer) or {}
        code = said.get("sdk_error_code")
        if code is not None and code == known:
            return None
        if answer.status_code in absent and code is None:
            return None
        raise refusal(
            doing,
            self.address,
            self._workspace,
            answer.status_code,
            code,
            self.scrub(str(said.get("msg") or ""))[:500] if said else None,
        )

    def _json(self, answer: Any, doing: str) -> Any:
        if (said := _json_of(answer)) is None:
            raise refusal(doing, self.address, self._workspace, answer.status_code, None, None)
        return said

    # --- all together ---------------------------------------------------------------------------

    def probe(self) -> None:
        """Raises if nobody is there, or the key or the workspace is refused."""
        doing = "looking whether it is there"
        details = self.get("account-details", {}, doing)
        if not isinstance(details, dict) or "userName" not in details:
            raise refusal(doing, self.address, "", 200, None, None)
        asked = {"workspaceName": self.workspace}
        self.get("projects", asked, f"looking for the workspace {self.workspace!r}")

    @contextlib.contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Gives errors that are none of Comet's answers our names.

        Args:
            doing: what was being done, for the message.
        """
        try:
            yield
        except MigrationError:
            raise
        except Exception as error:
            raise self._named(error, doing) from None

    def _named(self, error: Exception, doing: str) -> TargetError:
        text = " ".join(self.scrub(str(error)).split())[:500]
        if isinstance(error, ConnectionError):
            return TargetUnavailableError("comet", self.address, f"{doing}: {text}")
        return TargetRefusedError(
            f"target comet at {self.address}, {doing}: {type(error).__name__}: {text}",
            "Correct what it names and start again; runs that are complete are not sent again.",
        )

    def scrub(self, text: str) -> str:
        """Text without the key."""
        return text.replace(self._key, "***").replace(self._key.partition("*")[0], "***")


def _json_of(answer: Any) -> Any:
    """None: it is no JSON."""
    try:
        return answer.json()
    except ValueError:
        return None


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds, and half a second more as the SDK does."""
    for name in ("Retry-After-Custom", "Retry-After"):
        with contextlib.suppress(KeyError, ValueError):
            return float(headers[name]) + 0.5
    return _WAIT_UNSAID


def _reason(error: Exception) -> str:
    """Without the address, which the message names already."""
    text = str(error)
    return f"{type(error).__name__}: {text.rpartition('>: ')[2] or text}"[:300]
