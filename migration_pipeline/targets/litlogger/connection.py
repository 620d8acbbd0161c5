"""The one place where Lightning's SDK is imported, kept from telling of this machine, and its
errors are given our names.

The SDK's generated client says what an endpoint takes and where it is; requests go out here, over
its pool of connections and with its credentials. So answers stay plain JSON (its models take half a
minute for 100,000 points), and nothing is sent twice unasked: urllib3 would repeat a PUT that was
cut off, and points that come twice are there twice. `Experiment` and `init` of litlogger are not
used: they replace signal handlers, start threads, make folders and tell of host, git and packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import IO, Any
from urllib.parse import urljoin

import orjson
import stamina

from migration_pipeline.errors import (
    MigrationError,
    MissingExtraError,
    MissingSettingError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.targets.litlogger.config import LitloggerConfig
from migration_pipeline.targets.litlogger.pace import Pace
from migration_pipeline.targets.litlogger.refusals import (
    Again,
    TooLongError,
    UnclearError,
    check,
    check_store,
)

_ATTEMPTS = 5
_WAIT_FIRST, _WAIT_MOST = 0.2, 10.0
_RETRY_SECONDS = 300.0
_CHUNK = 1 << 20
_AGENT = "migration_pipeline"
_CONNECT_SECONDS = 10.0
_import_lock = threading.Lock()


class Connection:
    """Lightning's API, opened on first use."""

    def __init__(self, config: LitloggerConfig) -> None:
        self._config = config
        self.address = config.address
        self.owner = config.owner.strip()
        self.visible_seconds = config.visible_seconds
        self.pace = Pace(config.requests_per_second)

    @cached_property
    def _sdk(self) -> Any:
        """The generated client, whose requests go through `_request`."""
        with _import_lock, _unchanged_environment():
            # Its import would ask PyPI whether it is the newest.
            os.environ["LIGHTNING_DISABLE_VERSION_CHECK"] = "1"
            try:
                import litlogger  # noqa: F401
                from lightning_sdk.lightning_cloud import env, openapi
                from lightning_sdk.lightning_cloud.login import Auth
            except ImportError as error:
                raise MissingExtraError("litlogger", "litlogger", error.name or "") from error
        settings = openapi.Configuration()
        settings.host = self.address
        settings.ssl_ca_cert = env.SSL_CA_CERT
        client = openapi.ApiClient(settings)
        client.default_headers["Authorization"] = self._credentials(Auth)
        client.user_agent = _AGENT
        client.request = self._request

        class Api(
            openapi.AuthServiceApi,  # type: ignore[misc]
            openapi.LitLoggerServiceApi,  # type: ignore[misc]
            openapi.OrganizationsServiceApi,  # type: ignore[misc]
            openapi.ProjectsServiceApi,  # type: ignore[misc]
        ):
            models = openapi

        return Api(client)

    def _credentials(self, auth_of: Any) -> str:
        """The Authorization header; never by a browser, as the SDK would.

        Raises:
            MissingSettingError: there are none.
        """
        key = self._config.api_key.get_secret_value()
        if key:
            auth = auth_of(user_id=self._config.user_id, api_key=key)
            return str(auth.get_auth_header("api_key"))
        auth = auth_of(user_id="", api_key="")
        if auth.auth_token or (auth.load() and (auth.auth_token or auth.api_key)):
            return str(auth.get_auth_header())
        raise MissingSettingError(
            "LIGHTNING_API_KEY",
            f"loading into Lightning AI (there is no session in {auth.secrets_file} either, which "
            "`lightning login` writes)",
        )

    @property
    def models(self) -> Any:
        """The SDK's models of what requests carry."""
        return self._sdk.models

    # --- calls ----------------------------------------------------------------------------------

    def call(self, name: str, doing: str, /, **arguments: Any) -> dict[str, Any]:
        """One call of the generated client, repeated where that may help; the answer's JSON.

        Args:
            doing: what is being done, for messages.

        Raises:
            NotFoundError, TakenError, TargetRefusedError, TargetUnavailableError
        """
        method = getattr(self._sdk, name)

        def once() -> Any:
            return method(**arguments, _preload_content=False)

        return self._object(self.patiently(once, doing), doing)

    def once(self, name: str, doing: str, /, **arguments: Any) -> dict[str, Any]:
        """The same for what must not happen twice: repeated only if it was surely not done.

        Raises:
            UnclearError: nobody knows whether it was done.
        """
        method = getattr(self._sdk, name)

        def attempt() -> Any:
            return method(**arguments, _preload_content=False)

        return self._object(self.patiently(attempt, doing, twice=False), doing)

    def append(self, teamspace: str, stream: str, body: bytes) -> None:
        """Points, as JSON text; at the pace that was set.

        Raises:
            UnclearError: nobody knows whether they were taken.
        """
        url = f"{self.address}/v1/projects/{teamspace}/logger-metrics/{stream}"
        headers = {**self._headers, "Content-Type": "application/json"}

        def attempt() -> bytes:
            self.pace.wait()
            try:
                return self._exchange("PUT", url, headers=headers, body=body)
            except Again as error:
                self.pace.hold(error.wait or 0.0)
                raise

        self.patiently(attempt, "sending points", twice=False)

    def points(self, teamspace: str, query: dict[str, str], most: int) -> dict[str, Any]:
        """Points of an experiment, as many as `query` says.

        Raises:
            TooLongError: the answer has more than `most` bytes.
        """
        url = f"{self.address}/v1/projects/{teamspace}/logger-metrics"

        def attempt() -> bytes:
            return self._exchange("GET", url, headers=self._headers, fields=query, most=most)

        doing = "reading points"
        return self._object(self.patiently(attempt, doing), doing)

    def plain(self, method: str, path: str, doing: str, body: Any = None) -> dict[str, Any]:
        """Endpoints that the generated client has not: those of the drive of a teamspace."""
        headers = {**self._headers, "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body).encode()
        url = f"{self.address}{path}"
        said = self.patiently(
            lambda: self._exchange(method, url, headers=headers, body=text), doing
        )
        return self._object(said, doing) if said.strip() else {}

    def put(self, url: str, headers: dict[str, str], content: bytes | IO[bytes], size: int) -> str:
        """Puts a file or a part to a signed address, which wants no credentials; its ETag."""
        # Without a length it would go in chunks, which object stores do not take.
        sent = {**headers, "Content-Length": str(size), "User-Agent": _AGENT}
        with self._answer("PUT", url, headers=sent, body=content) as answer:
            check_store(answer, answer.read(_CHUNK), self.address)
            return str(answer.headers.get("ETag", ""))

    def download(self, path: str, to: IO[bytes]) -> None:
        """A file of the drive.

        Raises:
            NotFoundError: there is none.
        """

        def attempt() -> None:
            to.seek(0)
            to.truncate()
            with self._redirected(f"{self.address}{path}") as answer:
                if answer.status != 200:
                    check(answer, answer.read(_CHUNK), self.address, self.scrub)
                for chunk in answer.stream(_CHUNK):
                    to.write(chunk)

        self.patiently(attempt, "downloading a file")

    @contextlib.contextmanager
    def _redirected(self, url: str) -> Iterator[Any]:
        """The answer for a file; the place that it is at gets no credentials."""
        with self._answer("GET", url, headers=self._headers) as answer:
            place = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not place:
                yield answer
                return
        with self._answer("GET", urljoin(url, place), headers={"User-Agent": _AGENT}) as answer:
            if answer.status != 200:
                check_store(answer, answer.read(_CHUNK), self.address)
            yield answer

    @property
    def _headers(self) -> dict[str, str]:
        return dict(self._sdk.api_client.default_headers)

    def _object(self, said: Any, doing: str) -> dict[str, Any]:
        try:
            found = orjson.loads(said)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TargetRefusedError(
                f"what answers at {self.address} is not Lightning AI ({doing}: its answer is no "
                "JSON)",
                "Correct LIGHTNING_CLOUD_URL, or look whether a proxy stands before it.",
            )
        return found

    # --- one request ----------------------------------------------------------------------------

    def patiently(self, attempt: Callable[[], Any], doing: str, twice: bool = True) -> Any:
        """Repeats what may pass, a Retry-After honoured; gives errors our names.

        Args:
            twice: it does no harm if it is done again.
        """

        def again(error: Exception) -> bool | float:
            if not isinstance(error, Again) or (error.taken and not twice):
                return False
            return True if error.wait is None else error.wait

        try:
            for trial in stamina.retry_context(
                on=again,
                attempts=_ATTEMPTS,
                timeout=_RETRY_SECONDS,
                wait_initial=_WAIT_FIRST,
                wait_max=_WAIT_MOST,
                wait_jitter=_WAIT_FIRST,
            ):
                with trial:
                    return attempt()
        except Again as error:
            kind = UnclearError if error.taken and not twice else TargetUnavailableError
            raise kind("litlogger", self.address, self.scrub(f"{doing}: {error}")) from None
        except (MigrationError, TooLongError):
            raise
        except OSError as error:
            text = self.scrub(f"{doing}: {type(error).__name__}: {error}")
            raise TargetUnavailableError("litlogger", self.address, text) from None
        raise AssertionError("unreachable")

    def _request(
        self,
        method: str,
        url: str,
        query_params: Any = None,
        headers: Any = None,
        post_params: Any = None,
        body: Any = None,
        _preload_content: bool = False,
        _request_timeout: Any = None,
    ) -> bytes:
        """What the generated client sends its requests with."""
        text = None if body is None else json.dumps(body).encode()
        sent = {**(headers or {}), "Content-Type": "application/json"}
        if method in ("POST", "PUT") and text is None:
            text = b"{}"
        return self._exchange(method, url, headers=sent, body=text, fields=query_params)

    def _exchange(self, method: str, url: str, most: int | None = None, **what: Any) -> bytes:
        """The body of an answer.

        Raises:
            TooLongError: it has more than `most` bytes.
        """
        with self._answer(method, url, **what) as answer:
            content = answer.read() if most is None else b"".join(_up_to(answer, most))
            check(answer, content, self.address, self.scrub)
            return bytes(content)

    @contextlib.contextmanager
    def _answer(self, method: str, url: str, **what: Any) -> Iterator[Any]:
        """An answer whose body is still to be read."""
        import urllib3
        from urllib3 import exceptions

        unsent = (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=self._config.read_timeout)
        if not what.get("fields"):
            what.pop("fields", None)
        try:
            answer = self._send(
                method, url, timeout=timeout, retries=False, preload_content=False, **what
            )
            try:
                yield answer
            except TooLongError:
                answer.close()
                raise
            finally:
                answer.release_conn()
        except exceptions.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"
            raise Again(reason, taken=not isinstance(error, unsent)) from None

    def _send(self, method: str, url: str, **what: Any) -> Any:
        """Every request passes here, over the SDK's connections."""
        return self._sdk.api_client.rest_client.pool_manager.request(method, url, **what)

    def scrub(self, text: str) -> str:
        """Text without the credentials."""
        secrets = [self._config.api_key.get_secret_value()]
        if (sdk := self.__dict__.get("_sdk")) is not None:
            secrets.append(sdk.api_client.default_headers["Authorization"].partition(" ")[2])
        for secret in secrets:
            if secret:
                text = text.replace(secret, "***")
        return text


@contextlib.contextmanager
def _unchanged_environment() -> Iterator[None]:
    """The SDK's import sets variables that would make other libraries' bars of progress crawl."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _up_to(answer: Any, most: int) -> Iterator[bytes]:
    total = 0
    for chunk in answer.stream(_CHUNK):
        total += len(chunk)
        if total > most:
            raise TooLongError
        yield chunk
