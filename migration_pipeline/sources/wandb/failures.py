"""What the SDK raises, in this project's words: what may pass, what was refused, what is gone."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from migration_pipeline.errors import (
    CredentialsRefusedError,
    IncompleteAnswerError,
    MigrationError,
    SourceRefusedError,
)
from migration_pipeline.sources.patience import Again
from migration_pipeline.sources.wandb.config import KEY_VARIABLE

_PASSING = (408, 425, 429)
_OF_THE_SDK = {"WandbApiFailedError", "AuthenticationError", "CommError", "RequestException"}
_NO_RUN = re.compile(r"no (parquet )?history found for run")
"""What wandb-core says where the answer has no run."""
_STATUS = re.compile(r"returned error (\d{3})")


class Gone(SourceRefusedError):
    """What was asked for is not there (404)."""


def named(address: str, doing: str, error: Exception, said: str) -> Exception:
    """What the SDK raised as an error of ours, or `Again` where it may pass.

    Args:
        doing: what was asked for, as a clause.
        said: the error's text, without the key.
    """
    if isinstance(error, MigrationError | Again):
        return error
    status = _status_of(error)
    if isinstance(error, OSError) and not _is_the_sdks(error):
        return error
    if os.strerror(errno.ENOSPC).lower() in said.lower():
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    where = f"W&B at {address}, {doing}"
    malformed = type(error).__name__ == "AuthenticationError" and error.__cause__ is None
    if status == 401 or malformed:
        return CredentialsRefusedError(
            f"{where}: the API key is refused ({said})",
            f"Set {KEY_VARIABLE} to a key of an account of this server, or run "
            f"`wandb login --relogin --host {address}`.",
        )
    if status == 403:
        return SourceRefusedError(
            f"{where}: permission denied ({said})",
            f"Give the account of {KEY_VARIABLE} the right to read it, or leave it out.",
        )
    if status == 404:
        return Gone(f"{where}: not found ({said})", "It may have been deleted meanwhile.")
    if status and 400 <= status < 500 and status not in _PASSING:
        return SourceRefusedError(
            f"{where}: refused with status {status} ({said})",
            "Correct what it names, or report it.",
        )
    if _NO_RUN.search(said):
        return IncompleteAnswerError(f"{where}: {said}", "Start the job again.")
    if "invalid character" in said or not _is_the_sdks(error):
        return IncompleteAnswerError(
            f"{where}: the answer is not W&B's ({type(error).__name__}: {said})",
            "Is WANDB_BASE_URL the address of a W&B server, without a proxy's page before it?",
        )
    return Again(said)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "exc", None) or seen.__cause__


def _status_of(error: Exception) -> int | None:
    """The status of an answer, wherever the SDK keeps it; of history it is in the text alone."""
    for one in _chain(error):
        if found := _STATUS.match(str(one)):
            return int(found[1])
        response = getattr(one, "response", None)
        for name in ("http_status", "status_code"):
            if isinstance(status := getattr(response, name, None), int) and status:
                return status
    return None


def _is_the_sdks(error: Exception) -> bool:
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    return bool(kinds & _OF_THE_SDK)
