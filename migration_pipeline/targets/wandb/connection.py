"""Requests to a W&B server: credentials, retries, and the service's errors in our names.

They are W&B's own (GraphQL, filestream, uploads), with the SDK's credentials, and do not pass
through its wandb-core: that is a process beside this one, waits up to 15 seconds between requests
and repeats a refusal for minutes. So `wandb` is not imported either, and what patches it when it
is, as pluto-ml's import hook does, is never reached.
"""

from __future__ import annotations

import contextlib
import errno
import re
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
import stamina

from migration_pipeline import __version__
from migration_pipeline.errors import (
    MigrationError,
    MissingSettingError,
    TargetError,
    TargetRefusedError,
    TargetUnavailableError,
)
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline.wandb_sdk import key_of_login

_ATTEMPTS = 5
_CONNECT_SECONDS = 5.0
_PASSING = (408, 429, 500, 502, 503, 504)
"""wandb-core's retry_policy.go: all but 400, 401, 403, 404, 409, 410, 413, 422, 501."""
_MOST_WAIT = 120.0
"""Seconds; a server that asks for more is left alone and named."""
_CUT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_QUERY = re.compile(r"\?[^\s'\"]+")


class BurntIdError(Exception):
    """The id belonged to a run that was deleted; W&B never gives it again."""


class _AgainError(Exception):
    """What was tried may pass.

    Args:
        wait: seconds that the server asked for, where it did.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(reason)


def _when(error: Exception) -> bool | float:
    if not isinstance(error, _AgainError) or (error.wait or 0) > _MOST_WAIT:
        return False
    return True if error.wait is None else error.wait


class Connection:
    """One server and one key; used by several threads."""

    def __init__(self, config: WandbConfig) -> None:
        self._config = config
        self.url, self.address = config.url, config.address
        self._local = threading.local()

    @cached_property
    def key(self) -> str:
        """
        Raises:
            MissingSettingError: none is set, and nobody has logged in.
        """
        key = self._config.api_key.get_secret_value().strip() or key_of_login(self.url)
        if not key:
            raise MissingSettingError(
                "WANDB_API_KEY", f"W&B at {self.address} (or `wandb login --host {self.address}`)"
            )
        return key

    def deliver(self, request: requests.PreparedRequest, stream: bool) -> requests.Response:
        """One request, once; all pass here. `stream`: the body is read by the caller, and may be
        elsewhere."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        settings = session.merge_environment_settings(request.url or "", {}, stream, None, None)
        timeout = (min(_CONNECT_SECONDS, self._config.timeout), self._config.timeout)
        return session.send(request, timeout=timeout, allow_redirects=stream, **settings)

    def graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of one operation; variables that are None are left out.

        Raises:
            BurntIdError: of an upsert.
        """
        given = {name: value for name, value in variables.items() if value is not None}
        body = {"query": document, "variables": given}
        answer = self.ask("POST", f"{self.url}/graphql", json=body)
        try:
            said = answer.json()
            data: dict[str, Any] = said["data"]
            errors = said.get("errors")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._not_wandb(answer) from None
        if errors or not isinstance(data, dict):
            raise self._refused(answer.status_code, _message(answer))
        return data

    def ask(
        self, method: str, url: str, *, signed: bool = False, to: Path | None = None, **what: Any
    ) -> requests.Response:
        """A request, repeated while it may pass.

        Args:
            signed: the address itself permits it, so it gets no key.
            to: where the body of the answer is written.

        Raises:
            BurntIdError, TargetRefusedError, TargetUnavailableError
        """
        headers = {"User-Agent": f"migration_pipeline {__version__}", **what.pop("headers", {})}
        auth = None if signed else ("api", self.key)
        # Once: of a file that was read already the length is not seen any more.
        request = requests.Request(method, url, headers=headers, auth=auth, **what).prepare()
        try:
            for attempt in stamina.retry_context(
                on=_when, attempts=_ATTEMPTS, timeout=None, wait_initial=0.3, wait_max=8.0
            ):
                with attempt:
                    answer = self._once(request, to)
        except _AgainError as error:
            raise TargetUnavailableError("wandb", self.address, self.scrub(str(error))) from None
        if answer.status_code >= 300:
            if signed:
                raise self._refused_by_store(answer)
            raise self._refused(answer.status_code, _message(answer), answer)
        return answer

    def _once(self, request: requests.PreparedRequest, to: Path | None) -> requests.Response:
        body: Any = request.body
        if hasattr(body, "seek"):
            body.seek(0)
        try:
            answer = self.deliver(request, to is not None)
            if to is not None and answer.status_code < 300:
                with answer, to.open("wb") as file:
                    for chunk in answer.iter_content(1 << 20):
                        file.write(chunk)
        except _CUT as error:
            raise _AgainError(_first_line(error)) from None
        if answer.status_code in _PASSING:
            reason = f"it answers with status {answer.status_code}: {_message(answer)}"
            raise _AgainError(reason, _wait(answer))
        return answer

    def _refused(
        self, status: int, message: str, answer: requests.Response | None = None
    ) -> Exception:
        text = self.scrub(message)
        if status == 409:
            return BurntIdError(text)
        if status == 401:
            return TargetRefusedError(
                f"target wandb at {self.address} refuses the API key (status 401: {text})",
                "Set WANDB_API_KEY to a key of an account of this server, or run "
                f"`wandb login --relogin --host {self.address}`.",
            )
        entity = self._config.entity or "the key's default entity"
        if "limit" in text and status in (402, 403):
            return TargetRefusedError(
                f"target wandb at {self.address} takes no more for {entity} "
                f"(status {status}: {text})",
                "Set WANDB_ENTITY to a team whose plan has room, or make room; runs that are "
                "complete are not sent again.",
            )
        if status == 403:
            return TargetRefusedError(
                f"target wandb at {self.address}: permission denied for {entity} "
                f"(status 403: {text})",
                "Give the account of WANDB_API_KEY the right to write there, or set WANDB_ENTITY "
                "to a user or team where it may.",
            )
        if answer is not None and "json" not in answer.headers.get("content-type", "json"):
            return self._not_wandb(answer)
        if status == 404:
            return TargetRefusedError(
                f"target wandb at {self.address} does not find it (entity {entity}; "
                f"status 404: {text})",
                "Correct WANDB_ENTITY: a user or team that WANDB_API_KEY is a member of.",
            )
        return TargetRefusedError(
            f"target wandb at {self.address} refuses what was sent (status {status}: {text})",
            "Correct what it names and start again; runs that are complete are not sent again.",
        )

    def _refused_by_store(self, answer: requests.Response) -> TargetRefusedError:
        """Files are mostly elsewhere, where W&B's keys and statuses mean nothing."""
        return TargetRefusedError(
            f"the store for files of W&B at {self.address} refuses a file "
            f"(status {answer.status_code}: {self.scrub(_message(answer))})",
            "Start again, for addresses of files are good for some time only; if it stays so, look "
            "whether a proxy stands before the store, or the file is larger than it takes.",
        )

    def _not_wandb(self, answer: requests.Response) -> TargetRefusedError:
        kind = answer.headers.get("content-type", "nothing").partition(";")[0]
        return TargetRefusedError(
            f"what answers at {self.address} is not W&B (status {answer.status_code}, {kind})",
            "Correct WANDB_BASE_URL: the address of the server's API, such as "
            "https://api.wandb.ai or https://<company>.wandb.io.",
        )

    @contextlib.contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Names what was being done when the connection itself, or a file, failed."""
        try:
            yield
        except (MigrationError, BurntIdError):
            raise
        except OSError as error:
            raise self._named(error, doing) from None

    def _named(self, error: OSError, doing: str) -> TargetError:
        text = self.scrub(_first_line(error))
        if error.errno in _FULL:
            return TargetRefusedError(
                f"target wandb at {self.address}, {doing}: no room is left: {text}",
                "Make room and start again; runs that are complete are not sent again.",
            )
        return TargetUnavailableError("wandb", self.address, f"{doing}: {text}")

    def scrub(self, text: str) -> str:
        """Text without the key."""
        key = self.__dict__.get("key", "")
        return text.replace(key, "***") if key else text

    @cached_property
    def features(self) -> frozenset[str]:
        """What the server says that it can do; older ones say nothing."""
        from migration_pipeline.targets.wandb.documents import FEATURES

        try:
            found = self.graphql(FEATURES)["serverInfo"]["features"]
        except (TargetRefusedError, KeyError, TypeError):
            return frozenset()
        return frozenset(one["name"] for one in found or () if one["isEnabled"])


def _message(answer: requests.Response) -> str:
    """What the service says: the first of its errors, or the beginning of its answer."""
    try:
        said = answer.json()
        errors = said.get("errors") or [{"message": said.get("error") or said.get("message")}]
        text = str(errors[0]["message"] if isinstance(errors[0], dict) else errors[0])
    except (ValueError, AttributeError, LookupError, TypeError):
        text = answer.text
    return " ".join(text.split())[:300]


def _wait(answer: requests.Response) -> float | None:
    """Seconds that the server asks for: Retry-After, or on 429 RateLimit-Reset."""
    names = ("retry-after", "ratelimit-reset") if answer.status_code == 429 else ("retry-after",)
    for name in names:
        try:
            return max(0.0, float(answer.headers[name]))
        except (KeyError, ValueError):
            continue
    return None


def _first_line(error: Exception) -> str:
    """Without what stands behind the `?` of an address: it permits to read or write a file."""
    text = str(error).strip().splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {_QUERY.sub('?…', text)}"[:300]
