"""Points of metrics, in and out by MLflow's own interface.

`ClientMetrics` is MLflow's client, for a database whose tables nobody tested. `HttpMetrics` says
the same to a server in plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any, Protocol

from migration_pipeline.targets.mlflow.capabilities import CAPABILITIES, HISTORY_PAGE
from migration_pipeline.targets.mlflow.rest import Rest
from migration_pipeline.targets.remote.pieces import Piece, piece


@dataclass(frozen=True)
class FoundRun:
    """A run of the listing: no more than what it is found by and judged by."""

    id: str
    experiment: str
    start: int
    artifacts: str
    """Where its files are."""
    tags: dict[str, str]


class Metrics(Protocol):
    """A way for points of metrics."""

    batch: int
    """Points of one call to `send`, at most. They arrive all or not at all."""

    def send(self, run_id: str, pieces: Sequence[Piece]) -> None: ...

    def finish(self, run_id: str) -> None:
        """Once all points of a run are there."""
        ...

    def points(self, run_id: str, keys: Collection[str], others: bool) -> Iterator[Piece]:
        """All points of these metrics, in any order; `others`: of metrics that are not named as
        well, where it can tell."""
        ...


class ClientMetrics:
    """`MlflowClient.log_batch` and `get_metric_history`."""

    batch = CAPABILITIES.points_per_request

    def __init__(self, client: Any, metric: Any) -> None:
        self._client, self._metric = client, metric

    def send(self, run_id: str, pieces: Sequence[Piece]) -> None:
        metrics = [
            self._metric(piece.key, value, time, step)
            for piece in pieces
            for value, time, step in zip(
                piece.values.tolist(), piece.times.tolist(), piece.steps.tolist(), strict=True
            )
        ]
        self._client.log_batch(run_id, metrics=metrics)

    def finish(self, run_id: str) -> None:
        """MLflow keeps the latest values itself."""

    def points(self, run_id: str, keys: Collection[str], others: bool) -> Iterator[Piece]:
        for key in keys:
            token = None
            while True:
                # The pages are not on the client itself.
                page = self._client._tracking_client.store.get_metric_history(
                    run_id, key, max_results=HISTORY_PAGE, page_token=token
                )
                if page:
                    yield piece(
                        key,
                        [p.step for p in page],
                        [p.timestamp for p in page],
                        [p.value for p in page],
                    )
                if not (token := page.token):
                    break


class HttpMetrics:
    """The same two requests to a tracking server."""

    batch = CAPABILITIES.points_per_request

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def send(self, run_id: str, pieces: Sequence[Piece]) -> None:
        metrics = ",".join(
            f'{{"key":{key},"value":{_number(value)},"timestamp":{time},"step":{step}}}'
            for piece in pieces
            for key in (dumps(piece.key),)
            for value, time, step in zip(
                piece.values.tolist(), piece.times.tolist(), piece.steps.tolist(), strict=True
            )
        )
        body = f'{{"run_id":"{run_id}","metrics":[{metrics}]}}'
        self._rest.post("runs/log-batch", body.encode())

    def finish(self, run_id: str) -> None:
        """The server keeps the latest values itself."""

    def points(self, run_id: str, keys: Collection[str], others: bool) -> Iterator[Piece]:
        for key in keys:
            token = ""
            while True:
                asked = {"run_id": run_id, "metric_key": key, "max_results": HISTORY_PAGE}
                if token:
                    asked["page_token"] = token
                answer = self._rest.get("metrics/get-history", asked)
                if page := answer.get("metrics"):
                    yield piece(
                        key,
                        [int(p.get("step", 0)) for p in page],
                        [int(p["timestamp"]) for p in page],
                        [float(p["value"]) for p in page],
                    )
                if not (token := answer.get("next_page_token", "")):
                    break


def _number(value: float) -> str:
    """A double as protobuf's JSON has it; infinities never come here."""
    return '"NaN"' if math.isnan(value) else repr(value)
