"""What object stores' packages raise, as errors of ours: refused for good, or may pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from migration_pipeline.errors import (
    MigrationError,
    MissingExtraError,
    ObjectStoreRefusedError,
    ObjectStoreUnavailableError,
)


@dataclass(frozen=True)
class Package:
    """What reads a kind of store, and where it looks for credentials."""

    module: str
    variables: str


PACKAGES = {
    "s3": Package(
        "s3fs",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE, or the machine's role), and "
        "AWS_ENDPOINT_URL for a store that is not Amazon's",
    ),
    "gs": Package("gcsfs", "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth`, or the machine's"),
    "az": Package(
        "adlfs",
        "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and "
        "AZURE_STORAGE_ACCOUNT_KEY",
    ),
}
_VENDORS = {"botocore", "aiobotocore", "s3fs", "gcsfs", "google", "azure", "adlfs", "aiohttp"}
_REFUSALS = ("Credential", "Auth", "ProfileNotFound", "TokenRetrieval", "ParamValidation")
_STATUS = (401, 403)


def missing_package(protocol: str) -> MissingExtraError:
    return MissingExtraError(
        f"{protocol}://", protocol, PACKAGES[protocol].module, kind="an archive at"
    )


class Answer(Exception):
    """Carries an OSError past `translated`: not a failure, but what the store has to say."""

    def __init__(self, error: OSError) -> None:
        self.error = error


@contextlib.contextmanager
def translated(path: object, protocol: str) -> Iterator[None]:
    """Names bucket, reason and remedy of whatever a store's package raises.

    Raises:
        ObjectStoreRefusedError: no such bucket, or no right to it.
        ObjectStoreUnavailableError: whatever may pass.
    """
    try:
        yield
    except Answer as answer:
        raise answer.error from None
    except MigrationError:
        raise
    except Exception as error:
        variables = PACKAGES[protocol].variables
        reason = _reason(error)
        # adlfs has a name of its own for what is written into a container that is not there.
        if isinstance(error, FileNotFoundError) or type(error).__name__ == "ResourceNotFoundError":
            raise ObjectStoreRefusedError(
                str(path), f"there is no such bucket ({reason})"
            ) from error
        if _is_refusal(error):
            raise ObjectStoreRefusedError(
                str(path), f"access is refused ({reason})", f"Credentials come from {variables}."
            ) from error
        if isinstance(error, OSError) or _vendor(error):
            raise ObjectStoreUnavailableError(str(path), reason) from error
        raise


def _vendor(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _VENDORS


def _is_refusal(error: BaseException) -> bool:
    said = getattr(error, "code", None) or getattr(error, "status_code", None)
    # gcsfs makes a 403 an OSError that has only words.
    if isinstance(error, PermissionError) or said in _STATUS or str(error).startswith("Forbidden:"):
        return True
    return _vendor(error) and any(word in type(error).__name__ for word in _REFUSALS)


def _reason(error: BaseException) -> str:
    said = str(error).strip().partition("\n")[0][:300]
    return said.rstrip(".") or type(error).__name__
