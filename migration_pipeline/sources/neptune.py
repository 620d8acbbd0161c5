"""What the sources of both Neptune protocols share: the token, the settings, whose project it is.

One server serves both protocols, and each of its projects belongs to one of them: its `version` is
2 or 3. A source names the projects of its own version only; asked for another one it says which
setting reads it.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from migration_pipeline.errors import (
    IncompleteAnswerError,
    InvalidTokenError,
    MissingSettingError,
    SourceRefusedError,
    WrongProtocolError,
)

log = logging.getLogger(__name__)
TOKEN_VARIABLE = "NEPTUNE_API_TOKEN"
Version = Literal[2, 3]
SOURCE_OF: dict[int, str] = {2: "neptune2", 3: "neptune3"}
"""A project's version → the value of MIGRATION_SOURCE that reads it."""
_PROJECTS_PER_PAGE = 500


class NeptuneConfig(BaseModel):
    """How to reach the server and how hard to pull."""

    model_config = ConfigDict(frozen=True)

    api_token: SecretStr = Field(
        default=SecretStr(""), description="NEPTUNE_API_TOKEN: holds the server's address too."
    )
    workers: int = Field(default=4, ge=1, le=64, description="Requests under way at once.")
    retry_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long a request is repeated while the server answers 429, 5xx or not at "
        "all; waits that the server asks for do not count.",
    )
    connect_seconds: float = Field(
        default=30.0, gt=0, description="The same for the very first request of a process."
    )
    accept_missing_files: bool = Field(
        default=False,
        description="MIGRATION_ACCEPT_MISSING_FILES: export a run although files that it names "
        "are gone from the server's storage; its manifest names them.",
    )


def server_address(token: SecretStr) -> str:
    """The base address inside a token.

    neptune-query turns a token without `api_url` into the address "None"; here `api_address`
    stands in for it.

    Raises:
        MissingSettingError: the token is empty.
        InvalidTokenError: it is not base64, not JSON, or holds no address.
    """
    text = token.get_secret_value().strip()
    if not text:
        raise MissingSettingError(TOKEN_VARIABLE, "reading from a Neptune server")
    try:
        content = json.loads(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidTokenError(TOKEN_VARIABLE, "it is not base64 text of a JSON object") from None
    address = isinstance(content, dict) and (content.get("api_url") or content.get("api_address"))
    if not isinstance(address, str) or not address.startswith(("http://", "https://")):
        raise InvalidTokenError(TOKEN_VARIABLE, "it holds no server address")
    return address


def list_projects(
    page: Callable[[int, int], Mapping[str, Any]], version: Version, address: str
) -> list[str]:
    """`workspace/project` of this version, sorted; says how many of the other one are left out.

    Pages advance by what was received and end at the server's count. The order is the one that
    Neptune's clients ask for, by the time of the last visit: a visit meanwhile may move a project
    from one page to another, which shows in the count.

    Args:
        page: `(offset, limit)` → the answer of `GET /api/backend/v1/projects`.
        version: which projects; one that the server gives no version counts as either.
        address: the server's, for messages.

    Raises:
        IncompleteAnswerError: the answer is none, or names fewer projects than it counts.
        WrongProtocolError: there are projects, and none is of this version.
    """
    found: dict[str, int | None] = {}
    received, count = 0, 1
    while received < count:
        answer = page(received, _PROJECTS_PER_PAGE)
        try:
            entries = answer["entries"]
            found |= {f"{e['organizationName']}/{e['name']}": e.get("version") for e in entries}
            count = int(answer.get("matchingItemCount") or received + len(entries))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_a_server(address, "the list of projects", answer) from error
        received += len(entries)
        if not entries:
            break
    if len(found) < count:
        raise IncompleteAnswerError(
            f"{address} counts {count} projects and listed {len(found)}",
            "Start the job again; they may have changed while they were listed.",
        )
    own = sorted(name for name, its in found.items() if its in (None, version))
    other: Version = 2 if version == 3 else 3
    others = sorted(name for name, its in found.items() if its == other)
    if others and not own:
        raise WrongProtocolError(
            f"all {len(others)} project(s) at {address}, such as {others[0]!r}, are of Neptune "
            f"{other}.x, this source reads {version}.x",
            SOURCE_OF[other],
        )
    if others:
        log.info(
            "%d project(s) are of Neptune %d.x, such as %s: MIGRATION_SOURCE=%s reads them",
            len(others),
            other,
            others[0],
            SOURCE_OF[other],
        )
    return own


def check_version(project: str, found: int | None, version: Version, address: str) -> None:
    """Refuses a project of the other protocol.

    Raises:
        WrongProtocolError: `found` is the version that the other source reads.
        SourceRefusedError: it is one that none reads.
    """
    if found in (None, version):
        return
    if found not in SOURCE_OF:
        raise SourceRefusedError(
            f"project {project!r} at {address} has a structure of version {found}, which no "
            "source reads",
            "Convert it at the server: versions 2 and 3 are read.",
        )
    raise WrongProtocolError(
        f"project {project!r} at {address} is of Neptune {found}.x, this source reads {version}.x",
        SOURCE_OF[found],
    )


def not_a_server(address: str, asked: str, answer: object) -> IncompleteAnswerError:
    """What to raise when something that is not Neptune answers."""
    return IncompleteAnswerError(
        f"{address} answered {asked} with something else ({str(answer)[:80]!r})",
        "Is this address a Neptune server?",
    )
