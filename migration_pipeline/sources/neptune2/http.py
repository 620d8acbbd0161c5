"""Requests by the gate: what may pass is repeated, what the server refuses is said in its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
import stamina
from requests.adapters import HTTPAdapter

from migration_pipeline.errors import SourceRefusedError, SourceUnavailableError
from migration_pipeline.sources.patience import Again, Gate

TIMEOUT = (30, 120)
"""Seconds to connect, and between two pieces of an answer."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_CHUNK = 1 << 20
_T = TypeVar("_T")


class RefusedAnswer(SourceRefusedError):
    """What the server said no to, and how: `status`, `error_type` and `title` of its answer."""

    def __init__(self, place: str, answer: requests.Response) -> None:
        said = json_object(answer)
        self.status = answer.status_code
        self.error_type, self.title = str(said.get("errorType")), str(said.get("title"))
        self.said = str(said.get("message") or said.get("title") or answer.reason)[:500]
        super().__init__(
            f"{place} refused a request ({self.status}: {self.said})",
            "If it names a limit or a filter, narrow the selection; if it is a permission, use "
            "another token.",
        )


class GatedAdapter(HTTPAdapter):
    """Every request passes the gate; what may pass when it is repeated becomes `Again`."""

    def __init__(self, gate: Gate, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self._gate = gate

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        self._gate.wait()
        try:
            answer = super().send(request, stream, timeout, verify, cert, proxies)
            wait = self._gate.note(answer.headers.get("retry-after"))
            passing = answer.status_code in _PASSING
            if passing or not stream:
                answer.content  # noqa: B018  read here, where a cut is understood
        except requests.RequestException as error:
            raise Again(f"{type(error).__name__}: {error}") from error
        if passing:
            raise Again(f"it answered {answer.status_code}: {answer.text[:200]}", wait)
        return answer


def chunks(answer: requests.Response) -> Iterator[bytes]:
    """The body of an answer that is read as it comes; `Again` where it is cut off."""
    try:
        yield from answer.iter_content(_CHUNK)
    except requests.RequestException as error:
        raise Again(f"{type(error).__name__}: {error}") from error


def _untold(error: Exception) -> bool:
    """stamina's hook: whether to try again after a while of our own choosing."""
    return isinstance(error, Again) and error.wait is None


def patiently(call: Callable[[], _T], seconds: float, place: str) -> _T:
    """Repeats what may pass; time in which the server asked for silence does not count.

    Raises:
        SourceUnavailableError: it did not pass within `seconds`.
    """
    while True:
        try:
            for attempt in stamina.retry_context(
                on=_untold,
                attempts=None,
                timeout=seconds,
                wait_initial=0.25,
                wait_max=15.0,
                wait_jitter=0.25,
            ):
                with attempt:
                    return call()
        except Again as error:
            if error.wait is None:
                raise SourceUnavailableError(
                    f"{place} cannot be reached or keeps failing ({error})",
                    "Check the address inside the token and the server; the same job goes on "
                    "where it stopped.",
                ) from None


def json_object(answer: requests.Response) -> dict[str, Any]:
    """The answer's JSON object; an empty one when it is none."""
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
