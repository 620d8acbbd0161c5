"""Sends one run to MLflow: params, metrics, files, what is kept beside, datasets; the mark is the
caller's.

What an earlier load has sent is not sent again: MLflow takes seven to ten times as long for a point
that it knows already.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.datasets import log_datasets
from migration_pipeline.targets.mlflow.models import MODEL_OF, STAGE_OF
from migration_pipeline.targets.remote.pieces import Piece
from migration_pipeline.targets.remote.resume import Held
from migration_pipeline.targets.remote.sending import Parameter, RemoteSender, Upload
from migration_pipeline.targets.target import LoadReport, Meter

_SAID = (MODEL_OF, STAGE_OF)


class Sender(RemoteSender):
    """Sends the rows of one run.

    Args:
        to: the connection.
        run_id: MLflow's.
        root: where the run's files are.
    """

    def __init__(
        self,
        to: Connection,
        scan: RunScan,
        run_id: str,
        root: str,
        scratch: Path,
        meter: Meter | None,
        held: Held,
    ) -> None:
        super().__init__(scan, scratch, meter, held)
        self._to, self._run_id, self._root = to, run_id, root
        self.points_at_a_time = to.metrics.batch
        self.said: dict[str, Any] = {}
        """Values of the attributes in `_SAID`."""

    def send(self) -> LoadReport:
        report = super().send()
        log_datasets(self._to, self.scan, self._run_id, self._root, self.files.rows)
        return report

    def look_at(self, path: str, kind: str, value: Any) -> None:
        if path in _SAID:
            self.said.setdefault(path, value)

    def put_points(self, pieces: Sequence[Piece]) -> None:
        with self._to.calls("sending metrics"):
            self._to.metrics.send(self._run_id, pieces)

    def finish_points(self) -> None:
        with self._to.calls("finishing metrics"):
            self._to.metrics.finish(self._run_id)

    def put_parameters(self, parameters: Sequence[Parameter]) -> None:
        params = [self._to.entities.Param(p.name, p.shown) for p in parameters]
        with self._to.calls("sending params"):
            self._to.client.log_batch(self._run_id, params=params)

    def put_files(self, files: Sequence[Upload]) -> None:
        with scratch() as folder, self._to.calls("sending files"):
            for file in files:
                link = folder / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.source.absolute())
            self._to.client.log_artifacts(self._run_id, str(folder))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory."""
    with tempfile.TemporaryDirectory(prefix="migration-") as name:
        yield Path(name)
