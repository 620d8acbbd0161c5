"""The protocol's operations as this project uses them: runs, attributes, points, files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import requests

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.neptune2.capabilities import (
    PART_BYTES,
    POINTS_PAGE,
    RUNS_PAGE,
    WINDOW,
)
from migration_pipeline.targets.neptune2.connection import Connection, NotThereError
from migration_pipeline.targets.neptune2.marks import LISTED, Found, Operation
from migration_pipeline.targets.neptune2.numbers import decoded

_CHUNK = 1 << 20
_OPERATIONS = 1_000
"""Of one request: as many as the client sends."""
_SERIES = {
    "floatSeries": "getFloatSeriesValues",
    "stringSeries": "getStringSeriesValues",
}


class Moment(int):
    """A time, ms since 1970: told apart from a whole number."""


class Api:
    """Runs of one project. Threads share it."""

    def __init__(self, to: Connection) -> None:
        self.to = to

    # --- runs -----------------------------------------------------------------------------------

    def create(self, custom_id: str) -> dict[str, Any]:
        """A new run, or the one that has this id already: `id`, `shortId`, `trashed`.

        Nothing is said of the machine, its code or its user.
        """
        project = self.to.project
        body = {
            "projectIdentifier": project["id"],
            "parentId": project["id"],
            "type": "run",
            "cliVersion": self.to.version,
            "customId": custom_id,
            "gitInfo": None,
        }
        made = self.to.json(
            "leaderboard", "createExperiment", {}, body, headers=self.to.creation_headers
        )
        return dict(made)

    def runs(self, query: str = "", sys_id: str = "") -> Iterator[Found]:
        """Runs that are not in the trash, with what `LISTED` names.

        A server may pass over the query; then more come than were asked for.

        Raises:
            TargetRefusedError: there are more than it lists.
        """
        last = ""
        while True:
            asked = " AND ".join(f"({part})" for part in (query, _after(last)) if part)
            count, page_start = 0, last
            for found in self._window(asked, sys_id):
                count += 1
                if found.values.get("sys/trashed") is not True:
                    yield found
                last = max(last, found.sys_id)
            if count < WINDOW:
                return
            if last == page_start:
                raise TargetRefusedError(
                    f"{self.to.address} has more than {WINDOW:,} runs and lists no others",
                    f"Set {self.to.dialect.project_variable} to another project.",
                )

    def _window(self, query: str, sys_id: str) -> Iterator[Found]:
        offset = 0
        while offset < WINDOW:
            limit = min(RUNS_PAGE, WINDOW - offset)
            body: dict[str, Any] = {
                "pagination": {"offset": offset, "limit": limit},
                "sorting": {
                    "dir": "ascending",
                    "aggregationMode": "none",
                    "sortBy": {"name": "sys/id", "type": "string"},
                },
                "attributeFilters": [{"path": path} for path in LISTED],
                "attributeStrings": list(LISTED),
                "trashed": False,
            }
            if query:
                body["query"] = {"query": query}
            if sys_id:
                body["runIds"] = [sys_id]
            answer = self.to.json(
                "leaderboard",
                "searchLeaderboardEntries",
                {"projectIdentifier": self.to.project["id"], "type": "run"},
                body,
            )
            for entry in answer["entries"]:
                yield Found(entry["experimentId"], _values(entry["attributes"]))
            offset += len(answer["entries"])
            if not answer["entries"] or offset >= answer["matchingItemCount"]:
                return

    def attributes(self, run: str) -> dict[str, dict[str, Any]]:
        """All of a run: path → type and properties.

        Raises:
            NotThereError
        """
        answer = self.to.json("leaderboard", "getExperimentAttributes", {"experimentId": run})
        return {one["name"]: one for one in _listed(answer["attributes"])}

    def found(self, run: str) -> Found:
        """A run with all of its values."""
        return Found(run, _values(self.attributes(run).values()))

    def of_sys_id(self, sys_id: str) -> str:
        """The id by which requests name a run.

        Raises:
            NotThereError
        """
        project = self.to.project
        qualified = f"{project['organizationName']}/{project['name']}/{sys_id}"
        found = self.to.json("leaderboard", "getExperiment", {"experimentId": qualified})
        return str(found["id"])

    def remove(self, sys_id: str) -> None:
        """Into the trash, and out of it for good; it is no error when it is there or gone."""
        project = self.to.project
        params = {"projectIdentifier": project["id"]}
        body = [f"{project['organizationName']}/{project['name']}/{sys_id}"]
        for operation, harmless in (
            ("trashExperiments", ("ALREADY_TRASHED", "NOT_EXISTS")),
            ("deleteExperiments", ("NOT_EXISTS",)),
        ):
            answer = self.to.json("leaderboard", operation, params, body)
            for error in answer.get("errors") or ():
                if error.get("reason") not in harmless:
                    raise TargetRefusedError(
                        f"{self.to.address} does not delete {sys_id}: "
                        f"{error.get('message') or error.get('reason')}"
                    )

    # --- writing --------------------------------------------------------------------------------

    def execute(self, run: str, operations: Sequence[Operation], *, once: bool = False) -> None:
        """Changes a run, some operations a request.

        Raises:
            TargetRefusedError: one of them was refused; 200 alone is no success.
            MaybeDoneError: with `once`.
        """
        for start in range(0, len(operations), _OPERATIONS):
            self.execute_raw(run, orjson.dumps(operations[start : start + _OPERATIONS]), once=once)

    def execute_raw(self, run: str, content: bytes, *, once: bool = False) -> None:
        """The same of one request that is written already."""
        params = {"experimentId": run}
        if self.to.dialect.organization:
            params["organizationName"] = self.to.project["organizationName"]
        headers = {"Content-Type": "application/json"}
        with self.to.send(
            "leaderboard", "executeOperations", params, content, headers, once=once
        ) as answer:
            errors = answer.json()
        if errors:
            raise refused(self.to, errors)

    def upload(self, run: str, path: str, extension: str, file: Path) -> None:
        """A file as an attribute, in parts when it is large."""
        size = file.stat().st_size
        params = {"experimentIdentifier": run, "attribute": path, "ext": extension}
        if size <= PART_BYTES:
            self._sent("fileAtomUpload", params, file.read_bytes())
            return
        begun = self._sent("fileAtomMultipartUploadStart", {**params, "totalLength": str(size)})
        of_upload = {"uploadId": begun["uploadId"], **params}
        of_upload.pop("ext")
        with file.open("rb") as stream:
            for number, first in enumerate(range(0, size, self.part_bytes(size))):
                data = stream.read(self.part_bytes(size))
                self._sent(
                    "fileAtomMultipartUploadPart",
                    {**of_upload, "uploadPartIdx": str(number)},
                    data,
                    {"X-Range": f"bytes={first}-{first + len(data) - 1}/{size}"},
                )
        self._sent("fileAtomMultipartUploadFinish", of_upload)

    @staticmethod
    def part_bytes(size: int) -> int:
        """A thousand parts at most."""
        return max(PART_BYTES, -(-size // 1_000))

    def _sent(
        self,
        operation: str,
        params: dict[str, str],
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        with self.to.send("leaderboard", operation, params, content, headers) as answer:
            said = answer.json()
        if said and said.get("errors"):
            raise refused(self.to, said["errors"])
        return dict(said or {})

    # --- reading --------------------------------------------------------------------------------

    def points(self, run: str, path: str, kind: str) -> Iterator[list[dict[str, Any]]]:
        """Pages of `{step, timestampMillis, value}` of a `floatSeries` or `stringSeries`."""
        offset = 0
        while True:
            params = {"experimentId": run, "attribute": path, "offset": str(offset)}
            params["limit"] = str(POINTS_PAGE)
            try:
                answer = self.to.json("leaderboard", _SERIES[kind], params)
            except NotThereError:
                return
            page = answer["values"]
            if page:
                yield page
            offset += len(page)
            if not page or offset >= answer["totalItemCount"]:
                return

    def download(self, run: str, path: str, to: Path) -> bool:
        """A file attribute; False when there is none."""
        params = {"experimentId": run, "attribute": path}
        try:
            answer = self.to.send("leaderboard", "downloadAttribute", params, stream=True)
        except NotThereError:
            return False
        keep(self.to, answer, to)
        return True


def keep(connection: Connection, answer: requests.Response, to: Path) -> None:
    """The body of an answer as a file.

    Raises:
        TargetUnavailableError: it was cut off.
    """
    with answer, to.open("wb") as stream:
        try:
            for chunk in answer.iter_content(_CHUNK):
                stream.write(chunk)
        except requests.RequestException as error:
            raise connection.unavailable(f"a download was cut off: {error}") from error


def refused(to: Connection, errors: Sequence[dict[str, Any]]) -> TargetRefusedError:
    """What the server did not take of a request that it answered with 200."""
    first = errors[0]
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    said = first.get("errorDescription") or first.get("errorType")
    return TargetRefusedError(f"{to.dialect.product} at {to.address} refuses: {said}{more}")


def _after(sys_id: str) -> str:
    return f'`sys/id`:string > "{sys_id}"' if sys_id else ""


def _listed(attributes: Any) -> Collection[dict[str, Any]]:
    """A newer server keys them by an id of theirs (searching_entries.py to_leaderboard_entry)."""
    return attributes.values() if isinstance(attributes, dict) else attributes


def _values(attributes: Any) -> dict[str, Any]:
    """Path → value of those that have a single one."""
    found = {}
    for one in _listed(attributes):
        value = value_of(one)
        if value is not None:
            found[one["name"]] = value
    return found


def value_of(attribute: dict[str, Any]) -> Any:
    """The value of an attribute as the server tells it; None where it has no single one."""
    kind = attribute["type"]
    properties = attribute.get(f"{kind}Properties") or {}
    if kind == "stringSet":
        return list(properties.get("values") or ())
    value = properties.get("value")
    if value is None or kind not in ("float", "int", "bool", "string", "datetime"):
        return None
    if kind == "float":
        return decoded(value)
    if kind == "datetime":
        return Moment(_milliseconds(value))
    return value


def _milliseconds(text: str) -> int:
    """`2023-11-14T22:13:20.123Z`, exactly; Python's own floats are not."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1000 + moment.microsecond // 1000
