"""A W&B server as the place of runs: GraphQL, filestream, uploads."""

from __future__ import annotations

import mimetypes
import threading
import zlib
from collections.abc import Iterator, Sequence
from json import loads
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.remote.sending import Upload
from migration_pipeline.targets.wandb import documents
from migration_pipeline.targets.wandb.capabilities import (
    HISTORY_PAGE,
    LIST_PAGE,
    RUN_KEY,
)
from migration_pipeline.targets.wandb.config import WandbConfig
from migration_pipeline.targets.wandb.connection import Connection
from migration_pipeline.targets.wandb.naming import attempt_id, attempt_of
from migration_pipeline.targets.wandb.rows import Row
from migration_pipeline.targets.wandb.runs import First, FoundRun, config_of

_GZIP = "FILESTREAM_GZIP"
_UPLOADED = "MARK_RUN_FILES_UPLOADED"


class Server:
    """See `runs.Place`."""

    def __init__(self, config: WandbConfig) -> None:
        self.to = Connection(config)
        self.address = self.to.address
        self._entity = config.entity.strip()
        self._lock = threading.Lock()

    @property
    def entity(self) -> str:
        """The user or team that projects are of."""
        with self._lock:
            if not self._entity:
                viewer = self.to.graphql(documents.VIEWER).get("viewer") or {}
                self._entity = viewer.get("entity") or ""
                if not self._entity:
                    raise TargetRefusedError(
                        f"the account of the API key at {self.address} has no default entity",
                        "Set WANDB_ENTITY to a user or team.",
                    )
            return self._entity

    def check(self) -> None:
        with self.to.calls("looking whether it is there"):
            if not self.to.graphql(documents.VIEWER).get("viewer"):
                raise TargetRefusedError(
                    f"target wandb at {self.address} refuses the API key: nobody is logged in",
                    "Set WANDB_API_KEY to a key of an account of this server.",
                )

    def runs(self, project: str) -> list[FoundRun]:
        found: list[FoundRun] = []
        cursor = None
        with self.to.calls("listing runs"):
            while True:
                said = self._ask(
                    documents.RUNS,
                    project,
                    perPage=LIST_PAGE,
                    cursor=cursor,
                    filters="{}",
                )
                if not said:
                    return found
                page = said["runs"]
                found += [self._run(edge["node"], project) for edge in page["edges"]]
                if not page["pageInfo"]["hasNextPage"] or not page["edges"]:
                    return [run for run in found if run.mark]
                cursor = page["pageInfo"]["endCursor"] or page["edges"][-1]["cursor"]

    def find(self, project: str, key: str) -> list[FoundRun]:
        filters = orjson.dumps({f"config.{RUN_KEY}.value": key}).decode()
        with self.to.calls("looking for a run"):
            said = self._ask(documents.FIND, project, name=key, filters=filters)
        if not said:
            return []
        nodes = [edge["node"] for edge in said["runs"]["edges"]]
        # What was just made may not be in the index of the listing yet.
        nodes += [said["run"]] if said["run"] else []
        found = {node["name"]: self._run(node, project) for node in nodes}
        return [run for run in found.values() if attempt_of(key, run.name)]

    def create(self, first: First, attempt: int, config: str) -> FoundRun:
        with self.to.calls("creating a run"):
            said = self.to.graphql(
                documents.UPSERT,
                name=attempt_id(first.key, attempt),
                project=first.project,
                entity=self.entity,
                displayName=first.name,
                groupName=first.group or None,
                jobType=first.kind,
                notes=first.notes or None,
                tags=list(first.tags),
                config=config,
                state="running",
            )
        return self._run(said["upsertBucket"]["bucket"], first.project)

    def change(self, run: FoundRun, config: str) -> None:
        with self.to.calls("changing a run"):
            self.to.graphql(documents.UPSERT, id=run.id, config=config)

    def send_lines(self, run: FoundRun, offset: int, lines: Sequence[str]) -> None:
        files = {"wandb-history.jsonl": {"offset": offset, "content": lines}}
        with self.to.calls("sending rows"):
            self._stream(run, {"files": files})

    def finish(self, run: FoundRun, summary: str, failed: bool) -> None:
        files = {"wandb-summary.json": {"offset": 0, "content": [summary]}}
        with self.to.calls("finishing a run"):
            self._stream(run, {"files": files, "complete": True, "exitcode": int(failed)})

    def _stream(self, run: FoundRun, body: dict[str, Any]) -> None:
        data = orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        if len(data) > 1000 and _GZIP in self.to.features:
            compressor = zlib.compressobj(1, wbits=31)
            data = compressor.compress(data) + compressor.flush()
            headers["Content-Encoding"] = "gzip"
        where = "/".join(quote(part, safe="") for part in (self.entity, run.project, run.name))
        self.to.ask("POST", f"{self.to.url}/files/{where}/file_stream", data=data, headers=headers)

    def send_files(self, run: FoundRun, files: Sequence[Upload]) -> None:
        names = [file.name for file in files]
        where = {"entity": self.entity, "project": run.project, "run": run.name, "files": names}
        with self.to.calls("sending files"):
            said = self.to.graphql(documents.CREATE_FILES, **where)["createRunFiles"]
            headers = {
                name.strip(): value.strip()
                for name, _, value in (h.partition(":") for h in said["uploadHeaders"] or ())
            }
            urls = {one["name"]: one["uploadUrl"] for one in said["files"]}
            for file in files:
                self._upload(file, urls[file.name], headers)
            if _UPLOADED in self.to.features:
                self.to.graphql(documents.UPLOADED, **where)

    def _upload(self, file: Upload, url: str, headers: dict[str, str]) -> None:
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = {"Content-Type": kind, **headers}
        with file.source.open("rb") as stream:
            # An empty stream would be sent in chunks, which object stores refuse.
            data: Any = stream if file.size else b""
            self.to.ask("PUT", self._absolute(url), signed=True, data=data, headers=headers)

    def rows(self, run: FoundRun, place: int | None = None) -> Iterator[list[Row]]:
        """Windows of `_step`: an end counts as within or not, as the server is old or new, so it is
        asked for one row more than there are, and what is beyond is left out."""
        first, end = run.first_row, run.first_row + run.lines
        if place is not None:
            first, end = first + place, first + place + 1
        for start in range(first, end, HISTORY_PAGE):
            stop = min(start + HISTORY_PAGE, end)
            with self.to.calls("reading rows"):
                said = self._ask(
                    documents.HISTORY,
                    run.project,
                    run=run.name,
                    minStep=start,
                    maxStep=stop,
                    pageSize=stop - start + 1,
                )
            if not said or not said["run"]:
                raise TargetRefusedError(
                    f"run {run.name} is not at {self.address} any more", "Load it again."
                )
            rows = [_loads(line) for line in said["run"]["history"] or ()]
            yield [row for row in rows if start <= row.get("_step", start) < stop]

    def files(self, run: FoundRun) -> dict[str, int]:
        return {name: node["sizeBytes"] for name, node in self._files(run).items()}

    def _files(self, run: FoundRun) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        cursor = None
        with self.to.calls("listing files"):
            while True:
                said = self._ask(
                    documents.FILES,
                    run.project,
                    name=run.name,
                    fileCursor=cursor,
                    fileLimit=LIST_PAGE,
                )
                if not said or not said["run"]:
                    return found
                page = said["run"]["files"]
                found |= {edge["node"]["name"]: edge["node"] for edge in page["edges"]}
                if not page["pageInfo"]["hasNextPage"] or not page["edges"]:
                    return found
                cursor = page["pageInfo"]["endCursor"] or page["edges"][-1]["cursor"]

    def fetch(self, run: FoundRun, name: str, to: Path) -> bool:
        if run.listed is None:
            run.listed = self._files(run)
        if name not in run.listed:
            return False
        with self.to.calls("fetching a file"):
            try:
                self._download(run.listed[name], to)
            except TargetRefusedError:  # addresses are good for some time only
                run.listed = self._files(run)
                self._download(run.listed[name], to)
        return True

    def _download(self, file: dict[str, Any], to: Path) -> None:
        self.to.ask("GET", self._absolute(file["directUrl"]), signed=True, to=to)

    def delete(self, run: FoundRun) -> None:
        with self.to.calls("deleting a run"):
            self.to.graphql(documents.DELETE, id=run.id, deleteArtifacts=False)

    def _ask(self, document: str, project: str, **variables: Any) -> dict[str, Any] | None:
        said = self.to.graphql(document, project=project, entity=self.entity, **variables)
        found: dict[str, Any] | None = said.get("project")
        return found

    def _run(self, node: dict[str, Any], project: str) -> FoundRun:
        where = "/".join(quote(part, safe="") for part in (self.entity, project))
        return FoundRun(
            id=node["id"],
            name=node["name"],
            project=project,
            display_name=node["displayName"] or "",
            state=node["state"] or "",
            tags=tuple(node["tags"] or ()),
            group=node["group"] or "",
            notes=node["notes"] or "",
            config=config_of(node["config"]),
            lines=node["historyLineCount"] or 0,
            url=f"{_app(self.to.url)}/{where}/runs/{quote(node['name'], safe='')}",
        )

    def _absolute(self, url: str) -> str:
        """Servers on premises give addresses without a host."""
        return f"{self.to.url}{url}" if url.startswith("/") else url


def _app(url: str) -> str:
    """Where people look: on the service another host than that of the API."""
    return url.replace("://api.wandb.ai", "://wandb.ai")


def _loads(line: Any) -> Row:
    row: Row = loads(line) if isinstance(line, str) else line
    return row
