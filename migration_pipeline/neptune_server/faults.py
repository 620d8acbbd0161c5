"""Failures on request, and a record of what clients asked for.

An exporter is only as good as what it does when a server misbehaves. Rules say which requests are
answered badly and how; the record tells a test how many requests were made and whether one came
while the server had asked for silence.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

_SERIES = r"/attributes/(series|floatSeries|stringSeries|imageSeries)"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as rules see it. `body` is empty for uploads, which are not read in advance.

    `query` has the values of each name in the address, decoded.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """Which requests fail, and how. Unset conditions hold for every request.

    Conditions:
        path, method: a regex searched in the path; a method.
        body, query: whether the request's body, or the values of each name in its address, is one
            of those meant.
        holder: identifiers of which the request must name one as the object that it is about:
            in the address, as 2.x does, or in the body, as 3.x does for series.
        times: how many requests, then the rule is spent; probability: each with this one.
    What happens, in this order where several are set:
        latency: seconds of waiting; hold: waiting until this is set.
        reset: the connection is cut without an answer.
        status: this answer instead of the real one, with `retry_after` in seconds as its header
            and `content` as body (a small JSON error when None).
        truncate: the real answer's headers, then this part of its body (0 to 1), then a cut.
    """

    path: str = ""
    method: str | None = None
    body: Callable[[bytes], bool] | None = None
    query: Callable[[dict[str, list[str]]], bool] | None = None
    holder: frozenset[str] = frozenset()
    times: int | None = None
    probability: float | None = None
    latency: float = 0.0
    hold: threading.Event | None = None
    reset: bool = False
    status: int | None = None
    retry_after: float | None = None
    content: bytes | None = None
    content_type: str = "application/json"
    truncate: float | None = None

    def matches(self, request: Incoming) -> bool:
        """Whether the conditions hold, apart from `times` and `probability`."""
        return (
            (self.method is None or self.method == request.method)
            and re.search(self.path, request.path) is not None
            and (self.body is None or self.body(request.body))
            and (self.query is None or self.query(request.query))
            and (not self.holder or _names(request, self.holder))
        )


@dataclass
class Limits:
    """Most items in a page, however many the client asked for. None: as asked."""

    search: int | None = None
    """Runs in a page of a table, of either protocol."""
    definitions: int | None = None
    values: int | None = None
    float_points: int | None = None
    series_points: int = 10_000
    """Points in an answer of string, histogram or file series; the real number is unknown."""
    points_of_one: int = 1_000
    """Points in a page of a 2.x series: as many as its clients ask for; the real number is
    unknown."""
    zip_polls: int = 0
    """How often a 2.x client that polls for the zip of a file set is told: not ready."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A request in a window that an answer with Retry-After had opened for its client.

    `early` is how many seconds before the window's end it came; `repeated` says that it was the
    refused request itself, not another one of the same client.
    """

    client: str
    method: str
    path: str
    early: float
    repeated: bool


@dataclass
class _Window:
    opened: float
    until: float
    refused: set[bytes] = field(default_factory=set)


class Faults:
    """The rules in force. Thread-safe; rules may come and go while the server runs.

    `violations` and `injected` (number of faults shown, by status or kind) are for reading.
    `in_flight` is for how many seconds after an answer with Retry-After another request of the
    same client counts as sent before it; a busy machine may need more.
    """

    def __init__(self, seed: int = 0) -> None:
        self.limits = Limits()
        self.in_flight = 0.05
        self.violations: list[Violation] = []
        self.injected: Counter[str] = Counter()
        self._rules: list[Fault] = []
        self._random = random.Random(seed)
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Put a rule in force; the first that matches a request decides."""
        with self._lock:
            self._rules.append(fault)
        return fault

    def unavailable(
        self,
        status: int = 503,
        *,
        retry_after: float | None = None,
        path: str = "",
        times: int | None = None,
        probability: float | None = None,
    ) -> Fault:
        """Answer `status`, with Retry-After in seconds when given."""
        return self.add(
            Fault(
                path,
                status=status,
                retry_after=retry_after,
                times=times,
                probability=probability,
            )
        )

    def refuse_series(self, holders: Iterable[str], status: int = 400) -> Fault:
        """Refuse every request for series that names one of these holder identifiers.

        A holder is `workspace/project/SYS-ID`, `CUSTOM/workspace/project/run id` (3.x) or a UUID
        (2.x); all of a run are given by `RunningServer.refuse_series`.
        """
        return self.add(Fault(_SERIES, holder=frozenset(holders), status=status))

    def clear(self) -> None:
        """Remove all rules and limits; the records stay."""
        with self._lock:
            self._rules.clear()
            self.limits = Limits()

    def decide(self, client: str, request: Incoming) -> Fault | None:
        """The fault that this request shall meet; also records it when it came too early."""
        with self._lock:
            self._watch(client, request)
            for index, rule in enumerate(self._rules):
                if not rule.matches(request):
                    continue
                if rule.probability is not None and self._random.random() >= rule.probability:
                    continue
                if rule.times is not None:
                    if rule.times <= 1:
                        del self._rules[index]
                    else:
                        self._rules[index] = replace(rule, times=rule.times - 1)
                self.injected[_kind(rule)] += 1
                return rule
        return None

    def told_to_wait(self, client: str, request: Incoming, seconds: float) -> None:
        """Open a window for the client: the answer with Retry-After is leaving now."""
        with self._lock:
            now = time.monotonic()
            window = self._windows.get(client)
            if window is None or window.until < now:
                window = self._windows[client] = _Window(now, now + seconds)
            window.until = max(window.until, now + seconds)
            window.refused.add(_digest(request))

    def _watch(self, client: str, request: Incoming) -> None:
        window = self._windows.get(client)
        now = time.monotonic()
        if window is None or not window.opened + self.in_flight < now < window.until:
            return
        repeated = _digest(request) in window.refused
        self.violations.append(
            Violation(client, request.method, request.path, window.until - now, repeated)
        )


class Traffic:
    """What was asked and answered: `requests` by endpoint, `statuses` by code, `bytes_sent`."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.bytes_sent = 0
        self._lock = threading.Lock()

    def asked(self, method: str, path: str) -> None:
        """Count a request; object stores count as one endpoint each, whatever the object."""
        with self._lock:
            self.requests[f"{method} {_endpoint(path)}"] += 1

    def answered(self, status: int) -> None:
        with self._lock:
            self.statuses[status] += 1

    def sent(self, size: int) -> None:
        with self._lock:
            self.bytes_sent += size

    def reset(self) -> None:
        """Forget everything, so that the next numbers belong to one piece of work."""
        with self._lock:
            self.requests.clear()
            self.statuses.clear()
            self.bytes_sent = 0


def _endpoint(path: str) -> str:
    if path.startswith("/storage/"):
        return "/".join(path.split("/")[:3])
    if path.startswith("/dl/"):
        return "/dl"
    return path.rstrip("/")


def _kind(rule: Fault) -> str:
    if rule.reset:
        return "reset"
    if rule.status is not None:
        return str(rule.status)
    if rule.hold is not None:
        return "hold"
    return "truncate" if rule.truncate is not None else "latency"


def _digest(request: Incoming) -> bytes:
    asked = f"{request.method} {request.path} {sorted(request.query.items())}"
    return hashlib.blake2b(asked.encode() + request.body, digest_size=16).digest()


def _names(request: Incoming, holders: frozenset[str]) -> bool:
    named = request.query.get("experimentId") or request.query.get("experimentIdentifier") or ()
    if not holders.isdisjoint(named):
        return True
    try:
        asked = json.loads(request.body)["requests"]
        return any(one["series"]["holder"]["identifier"] in holders for one in asked)
    except (ValueError, KeyError, TypeError):
        return False
