"""The protocol's operations as this project uses them: runs, attributes, points, files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
from migration_pipeline.targets.neptune2.connection import Connection
from migration_pipeline.targets.neptune2.marks import LISTED, Found, Operation
from migration_pipeline.targets.neptune2.refusals import NotThereError
from migration_pipeline.targets.neptune2.values import attributes_of, values_of

_CHUNK = 1 << 20
_ZIP_SECONDS = 600.0
"""How long a server may take to make a zip."""
_OPERATIONS = 1_000
"""Of one request: as many as the client sends."""
_SERIES = {
    "floatSeries": "getFloatSeriesValues",
    "stringSeries": "getStringSeriesValues",
}
_ELEMENTS = {
    "fileSeries": ("getFileSeriesValues", "fileUrl"),
    "htmlSeries": ("getHtmlSeriesValues", "htmlUrl"),
}


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
                    f"To load into it, {self.to.dialect.elsewhere}.",
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
                yield Found(entry["experimentId"], values_of(entry["attributes"]))
            offset += len(answer["entries"])
            if not answer["entries"] or offset >= answer["matchingItemCount"]:
                return

    def attributes(self, run: str) -> dict[str, dict[str, Any]]:
        """All of a run: path → type and properties.

        Raises:
            NotThereError
        """
        answer = self.to.json("leaderboard", "getExperimentAttributes", {"experimentId": run})
        return {one["name"]: one for one in attributes_of(answer["attributes"])}

    def found(self, run: str) -> Found:
        """A run with all of its values."""
        return Found(run, values_of(self.attributes(run).values()))

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
            errors = self.to.said("executeOperations", answer)
        if errors:
            raise refused(self.to, errors)

    def upload(self, run: str, path: str, extension: str, file: Path) -> None:
        """A file as an attribute, in parts when it is large."""
        params = {"experimentIdentifier": run, "attribute": path, "ext": extension}
        self._upload("fileAtom", params, file)

    def put_member(self, run: str, path: str, inside: str, file: Path) -> None:
        """A file into a set."""
        params = {"experimentIdentifier": run, "attribute": path, "subPath": inside}
        self._upload("fileSetFile", params, file)

    def _upload(self, what: str, params: dict[str, str], file: Path) -> None:
        size = file.stat().st_size
        if size <= PART_BYTES:
            self._sent(f"{what}Upload", params, file.read_bytes())
            return
        begun = self._sent(f"{what}MultipartUploadStart", {**params, "totalLength": str(size)})
        of_upload = {"uploadId": begun["uploadId"], **params}
        of_upload.pop("ext", None)
        with file.open("rb") as stream:
            for number, first in enumerate(range(0, size, part_bytes(size))):
                data = stream.read(part_bytes(size))
                self._sent(
                    f"{what}MultipartUploadPart",
                    {**of_upload, "uploadPartIdx": str(number)},
                    data,
                    {"X-Range": f"bytes={first}-{first + len(data) - 1}/{size}"},
                )
        self._sent(f"{what}MultipartUploadFinish", of_upload)

    def put_tar(self, run: str, path: str, content: bytes, *, reset: bool) -> None:
        """Files of a gzipped tar into a set; with `reset` they are all of it."""
        params = {"experimentId": run, "attribute": path, "reset": str(reset)}
        headers = {"Content-Type": "application/octet-stream"}
        self._sent("uploadFileSetAttributeTar", params, content, headers)

    def put_artifact(
        self, run: str, path: str, hash_: str, files: Sequence[dict[str, Any]]
    ) -> bool:
        """An artifact: a list of files that lie elsewhere, known by its hash.

        False where the project knows another list by that hash.
        """
        params = {"projectIdentifier": self.to.project["id"], "hash": hash_}
        sizes = [one["size"] for one in files]
        size = {} if None in sizes else {"size": str(sum(sizes))}
        announced = {**params, **size, "parentIdentifier": run}
        made = self.to.json("artifacts", "createNewArtifact", announced)
        if not made.get("receivedMetadata"):
            body = {"files": list(files)}
            self.to.json("artifacts", "uploadArtifactFilesMetadata", params, body)
        elif listed(self.artifact_files(hash_)) != listed(files):
            return False
        self.execute(run, [{"path": path, "assignArtifact": {"hash": hash_}}])
        return True

    def _sent(
        self,
        operation: str,
        params: dict[str, str],
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        with self.to.send("leaderboard", operation, params, content, headers) as answer:
            said = self.to.said(operation, answer)
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

    def download_set(self, run: str, path: str, to: Path) -> bool:
        """A file set as a zip, which the server makes first; False when there is none."""
        params = {"experimentId": run, "attribute": path}
        try:
            asked = self.to.json("leaderboard", "prepareForDownloadFileSetAttributeZip", params)
        except NotThereError:
            return False
        wait, deadline = 0.05, time.monotonic() + _ZIP_SECONDS
        while not (url := asked.get("downloadUrl")):
            asked = self.to.json("leaderboard", "getDownloadPrepareRequest", {"id": asked["id"]})
            if asked.get("downloadUrl"):
                continue
            if time.monotonic() > deadline:
                raise self.to.unavailable(f"the zip of {path!r} was not made", _ZIP_SECONDS)
            time.sleep(wait)
            wait = min(2 * wait, 5.0)
        keep(self.to, self.to.fetch(url), to)
        return True

    def element(
        self, run: str, path: str, kind: str, number: int, links: dict[str, list[str]], to: Path
    ) -> bool:
        """A file of a series by its number; False when there is none.

        Args:
            kind: `imageSeries`, `fileSeries` or `htmlSeries`.
            links: what was learnt of addresses of elements.
        """
        if kind == "imageSeries":
            params = {"experimentId": run, "attribute": path, "index": str(number)}
            try:
                answer = self.to.send("leaderboard", "getImageSeriesValue", params, stream=True)
            except NotThereError:
                return False
            keep(self.to, answer, to)
            return True
        if kind not in _ELEMENTS:
            return False
        if path not in links:
            links[path] = list(self._links(run, path, *_ELEMENTS[kind]))
        if number >= len(links[path]):
            return False
        keep(self.to, self.to.fetch(links[path][number]), to)
        return True

    def _links(self, run: str, path: str, operation: str, field: str) -> Iterator[str]:
        offset = 0
        while True:
            params = {"experimentId": run, "attribute": path, "offset": str(offset)}
            page = self.to.json("leaderboard", operation, {**params, "limit": "1000"})
            yield from (one[field] for one in page["values"])
            offset += len(page["values"])
            if not page["values"] or offset >= page["totalItemCount"]:
                return

    def artifact_files(self, hash_: str) -> list[dict[str, Any]]:
        """The files that an artifact lists; none of one that the server does not know."""
        params = {"projectIdentifier": self.to.project["id"], "hash": hash_}
        try:
            return list(self.to.json("artifacts", "listArtifactFiles", params)["files"])
        except NotThereError:
            return []


def listed(files: Sequence[dict[str, Any]]) -> list[Any]:
    """Files of an artifact, to be compared: where they lie does not count."""
    fields = ("filePath", "fileHash", "type", "size")
    return sorted(([one.get(field) for field in fields] for one in files), key=repr)


def part_bytes(size: int) -> int:
    """A thousand parts at most, as the client has it."""
    return max(PART_BYTES, -(-size // 1_000))


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
