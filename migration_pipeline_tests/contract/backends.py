"""Every target with a real back end of it, for the tests that all targets pass.

A new target joins by a line in `BACKENDS`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_pipeline.targets.target import Target
from migration_pipeline_tests.targets import (
    comet_backend,
    dummy_backend,
    goodseed_backend,
    litlogger_backend,
    minfx_backend,
    mlflow_backend,
    neptune2_backend,
    neptune_backend,
    pluto_backend,
    trackio_backend,
    wandb_backend,
    zenml_backend,
)

Seen = Callable[[str], None]
"""Is told the name of a call to the back end."""


@contextlib.contextmanager
def read_only_folder(folder: Path) -> Iterator[None]:
    """Nobody may write below a folder until the block ends."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@dataclass(frozen=True)
class Backend:
    """One target for the contract.

    Args:
        make: the target with the store below a folder: a new, empty one the first time, the same
            one when it is called again, by another process as well.
        watch: lets `before` and `after` be called around every call that the target makes to its
            back end, reads and writes. What they raise comes out of that call; a process that
            they end is ended there.
        whole: what a store holds, as values that are equal when the stores are: for comparing a
            disturbed load with an undisturbed one. Ids and times that the back end makes up are
            left out; runs that it has thrown away too.
        locked: lets a store be read and not written until the block ends.
        refusal: words of which the message then has one, in lower case.
    """

    name: str
    make: Callable[[Path], Target]
    watch: Callable[[Target, Seen, Seen], None]
    whole: Callable[[Path], Any]
    locked: Callable[[Path], AbstractContextManager[None]] = read_only_folder
    refusal: tuple[str, ...] = ("read-only", "readonly", "permission denied")


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            "comet",
            comet_backend.make,
            comet_backend.watch,
            comet_backend.whole,
            comet_backend.locked,
            ("may not write", "may only view"),
        ),
        Backend("dummy", dummy_backend.make, dummy_backend.watch, dummy_backend.whole),
        Backend("goodseed", goodseed_backend.make, goodseed_backend.watch, goodseed_backend.whole),
        Backend(
            "litlogger",
            litlogger_backend.make,
            litlogger_backend.watch,
            litlogger_backend.whole,
            litlogger_backend.locked,
            ("permission denied",),
        ),
        Backend(
            "minfx",
            minfx_backend.make,
            neptune2_backend.watch,
            minfx_backend.whole,
            minfx_backend.locked,
            neptune2_backend.REFUSAL,
        ),
        Backend("mlflow", mlflow_backend.make, mlflow_backend.watch, mlflow_backend.whole),
        Backend(
            "neptune",
            neptune_backend.make,
            neptune2_backend.watch,
            neptune_backend.whole,
            neptune_backend.locked,
            neptune2_backend.REFUSAL,
        ),
        Backend(
            "pluto",
            pluto_backend.make,
            pluto_backend.watch,
            pluto_backend.whole,
            pluto_backend.locked,
            pluto_backend.REFUSAL,
        ),
        Backend("trackio", trackio_backend.make, trackio_backend.watch, trackio_backend.whole),
        Backend(
            "wandb",
            wandb_backend.make,
            wandb_backend.watch,
            wandb_backend.whole,
            wandb_backend.locked,
            ("permission denied",),
        ),
        Backend("zenml", zenml_backend.make, zenml_backend.watch, zenml_backend.whole),
    )
}
