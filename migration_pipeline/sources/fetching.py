"""One file to one path: whatever may pass is tried again, and the size is looked at.

A size that is not the announced one is tried again too, and then taken and said: at some servers
several names share one stored object, which holds what was uploaded last.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import stamina

from migration_pipeline.archive.location import writing
from migration_pipeline.errors import SourceUnavailableError
from migration_pipeline.sources.patience import Again
from migration_pipeline.sources.source import RunRef

OTHER_SIZE = "files of another size than announced: {list}"
"""What a manifest notes of them."""
ATTEMPTS = 8
_SIZE_ATTEMPTS = 3


def fetch(
    run: RunRef, name: str, target: Path, size: int | None, get: Callable[[int], bool]
) -> bool:
    """Downloads a file to `target`; False when it is not there.

    Args:
        name: what messages call the file.
        size: bytes that were announced, if they were.
        get: takes the number of the attempt, from 1, and writes `target`; False when the file is
            not there, `Again` for what may pass.

    Raises:
        SourceUnavailableError: after all attempts.
        ArchiveNotWritableError: there is no room for it.
    """
    tries = 0
    try:
        for attempt in stamina.retry_context(on=Again.when, attempts=ATTEMPTS, timeout=300):
            with attempt:
                tries += 1
                with writing(target):
                    found = get(tries)
                if found and size is not None and tries < _SIZE_ATTEMPTS:
                    _compare(target, size)
                return found
    except Again as error:
        target.unlink(missing_ok=True)
        raise SourceUnavailableError(
            f"run {run.key}: file {name!r} could not be downloaded: {error}",
            "Start the job again; it does only what is missing.",
        ) from None
    raise AssertionError("unreachable")


def _compare(target: Path, size: int) -> None:
    if (found := target.stat().st_size) != size:
        raise Again(f"{found} bytes, not {size}", 0.1)
