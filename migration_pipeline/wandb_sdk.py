"""The W&B SDK, imported where it is used, and so that Pluto does not hear of it.

With pluto-ml installed and a key of Pluto set, `import wandb` loads all of pluto-ml and patches
`wandb.init` to log to Pluto as well. Nothing here calls `wandb.init`; its import hook does not see
these imports at all. Source and target share this, and nothing else.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from migration_pipeline.errors import ConfigError, MissingExtraError

_lock = threading.Lock()


@contextlib.contextmanager
def _unseen(kind: Literal["source", "target"]) -> Iterator[None]:
    """Hides imports from pluto-ml's hook.

    Raises:
        MissingExtraError: the SDK is not installed.
    """
    with _lock:
        hooks = [f for f in sys.meta_path if type(f).__module__ == "pluto._wandb_hook"]
        sys.meta_path[:] = [f for f in sys.meta_path if f not in hooks]
        # The SDK would report its errors to its vendor, and say on the terminal who is logged in.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            yield
        except ImportError as error:
            raise MissingExtraError("wandb", "wandb", "wandb", kind) from error
        finally:
            sys.meta_path[:0] = hooks


def records(kind: Literal["source", "target"]) -> tuple[Any, Any]:
    """The SDK's records (`wandb_internal_pb2`) and the file that it keeps them in (`DataStore`)."""
    with _unseen(kind):
        from wandb.proto import wandb_internal_pb2
        from wandb.sdk.internal.datastore import DataStore
    return wandb_internal_pb2, DataStore


def public_api() -> Any:
    """The module `wandb.apis.public`, with `Api` and what it lists."""
    with _unseen("source"):
        import wandb.apis.public
    return wandb.apis.public


def server_url(base_url: str) -> str:
    """The address of WANDB_BASE_URL, without a slash at its end.

    Raises:
        ConfigError: it is no http(s) address.
    """
    url = base_url.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"WANDB_BASE_URL: W&B cannot be reached by {without_password(url)!r}",
            "Give an address that begins with https:// or http://.",
        )
    return url


def without_password(url: str) -> str:
    """What messages show of an address."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def key_of_login(url: str) -> str:
    """The API key in ~/.netrc, where `wandb login` writes it (sdk/lib/wbauth/wbnetrc.py); empty:
    there is none for this server.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        found = netrc.netrc(path).authenticators(urlsplit(url).netloc)
    except FileNotFoundError:
        return ""
    except (netrc.NetrcParseError, OSError) as error:
        said = str(error).strip().splitlines()[0] if str(error) else ""
        raise ConfigError(
            f"{path} cannot be read: {type(error).__name__}: {said[:300]}",
            "Correct it, or set WANDB_API_KEY.",
        ) from None
    return found[2] if found else ""
