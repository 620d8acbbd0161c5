"""What Lightning AI answers when it does not do what it was asked for, in our names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from migration_pipeline.errors import TargetRefusedError, TargetUnavailableError


class UnclearError(TargetUnavailableError):
    """Nobody knows whether the service took what was sent."""


class NotFoundError(TargetRefusedError):
    """The service says that there is no such thing."""


class TakenError(TargetRefusedError):
    """A thing of that name is there already."""


class TooLongError(Exception):
    """An answer has more bytes than were wanted."""


class Again(Exception):
    """What was tried may pass when it is tried again.

    Args:
        wait: seconds that the service asked for, where it did.
        taken: it may have been done in spite of that.
    """

    def __init__(self, reason: str, wait: float | None = None, taken: bool = True) -> None:
        self.wait, self.taken = wait, taken
        super().__init__(reason)


def check(answer: Any, content: bytes, address: str, scrub: Callable[[str], str]) -> None:
    """Gives a refusal our names.

    Args:
        content: of the answer.
        scrub: takes credentials out of a text.

    Raises:
        Again, NotFoundError, TakenError, TargetRefusedError
    """
    status = answer.status
    if 200 <= status < 300:
        return
    said = scrub(_message(content))
    if status == 429 or (status >= 500 and status not in (501, 505)):
        wait = answer.headers.get("Retry-After")
        # These two say that nothing was done.
        undone = status in (429, 503)
        raise Again(f"it answers {status}: {said}", _seconds(wait), taken=not undone)
    if status == 401:
        raise TargetRefusedError(
            f"target litlogger at {address} refuses the credentials ({said})",
            "Set LIGHTNING_API_KEY and LIGHTNING_USER_ID as the settings page of lightning.ai "
            "shows them, or run `lightning login`.",
        )
    if status == 404 and _is_json(content):
        raise NotFoundError(f"target litlogger at {address}: {said}", "Start the load again.")
    if status == 409:
        raise TakenError(f"target litlogger at {address}: {said}", "Start again.")
    if not _is_json(content):
        raise TargetRefusedError(
            f"what answers at {address} is not Lightning AI (status {status}: {said})",
            "Correct LIGHTNING_CLOUD_URL, or look whether a proxy stands before it.",
        )
    raise TargetRefusedError(
        f"target litlogger at {address} refuses (status {status}): {said}",
        "Correct what it names (rights in the teamspace, limits of the plan, a value) and "
        "start again; runs that are complete are not sent again.",
    )


def check_store(answer: Any, content: bytes, address: str) -> None:
    """The same for the object store that files are in, which speaks for itself.

    Raises:
        Again: also where a signed address has expired; the next one is signed anew.
        TargetRefusedError
    """
    status = answer.status
    if 200 <= status < 300:
        return
    said = f"the store for files answers {status}: {_message(content)}"
    if status in (401, 403, 429) or (status >= 500 and status not in (501, 505)):
        raise Again(said, _seconds(answer.headers.get("Retry-After")))
    raise TargetRefusedError(
        f"target litlogger at {address}: {said}",
        "Look whether the teamspace's cloud account and its storage are in order, and start again.",
    )


def _is_json(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _message(content: bytes) -> str:
    """What a refusal says, on one line."""
    try:
        said = json.loads(content)
    except ValueError:
        said = None
    text = said.get("message") if isinstance(said, dict) else None
    text = text or content.decode(errors="replace")
    return " ".join(str(text).split())[:300]


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None  # a date: our own waits will do
