"""`wandb.Api`, with what it leaves out: errors in this project's words, and patience.

The SDK's requests are made by its own process, wandb-core, which repeats what may pass (429 with
the wait that the server asks for, 5xx, cut connections) and gives up on a refusal at once. It does
not repeat an answer that was cut, and nothing once it has waited for as long as it was told to;
that is repeated here. 401, 403 and 404 are terminal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import stamina

from migration_pipeline.errors import (
    CredentialsRefusedError,
    IncompleteAnswerError,
    MigrationError,
    MissingSettingError,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownProjectError,
)
from migration_pipeline.sources.patience import Again
from migration_pipeline.sources.wandb.config import KEY_VARIABLE, WandbSourceConfig
from migration_pipeline.sources.wandb.names import archive_projects
from migration_pipeline.wandb_sdk import key_of_login, public_api

log = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST_REQUEST = 300
"""Seconds that wandb-core may take for one request with all its repetitions."""
_PASSING = (408, 425, 429)
_STRANGE_ANSWERS = 3
_ROWS_AT_ONCE = 1_000
_OF_THE_SDK = {"WandbApiFailedError", "AuthenticationError", "CommError", "RequestException"}
_STATUS = re.compile(r"returned error (\d{3})")
LIST_PAGE = 500
FILES_PAGE = 200
_MORE = """
query MoreOfRuns($project: String!, $entity: String!, $filters: JSONString, $first: Int) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) {
      edges { node { name eventsLineCount config outputArtifacts(first: 1) { totalCount } } }
    }
  }
}
"""


class Gone(SourceRefusedError):
    """What was asked for is not there (404)."""


@dataclass(frozen=True)
class More:
    """Of one run.

    Args:
        system_rows: of system metrics, as the server counts them.
        artifacts: that it logged.
        internal: `_wandb` of its config, which the SDK drops from a run in a list.
    """

    system_rows: int
    artifacts: int
    internal: Any


class WandbClient:
    """The calls that the exporter makes. Thread-safe; the first one starts wandb-core."""

    def __init__(self, config: WandbSourceConfig) -> None:
        self._config = config
        self.address = config.url
        self._lock = threading.Lock()
        self._names: dict[str, dict[str, str]] = {}

    @cached_property
    def _key(self) -> str:
        """
        Raises:
            MissingSettingError: none is set, and nobody has logged in.
        """
        key = self._config.api_key.get_secret_value().strip() or key_of_login(self.address)
        if not key:
            raise MissingSettingError(
                KEY_VARIABLE, f"reading from W&B at {self.address} (or `wandb login`)"
            )
        return key

    @cached_property
    def _public(self) -> Any:
        return public_api()

    @property
    def api(self) -> Any:
        with self._lock:
            return self._api

    @cached_property
    def _api(self) -> Any:
        public, key = self._public, self._key
        timeout = max(1, min(_LONGEST_REQUEST, int(self._config.retry_seconds)))
        settings = {"base_url": self.address}

        def connect() -> Any:
            return public.Api(overrides=settings, timeout=timeout, api_key=key)

        return self.call("logging in", connect)

    @property
    def app_url(self) -> str:
        """Where people look, with a slash at its end."""
        return str(self._service.app_url)

    @property
    def _service(self) -> Any:
        return self.api._service_api

    def entities(self) -> list[str]:
        """The users and teams whose projects are listed."""
        if self._config.entities:
            return self._config.entities
        entity = self.call("asking who the key belongs to", lambda: self.api.default_entity)
        if not entity:
            raise SourceRefusedError(
                f"the account of the API key at {self.address} has no default entity",
                "Set WANDB_ENTITY to a user or team.",
            )
        return [str(entity)]

    def projects(self, entity: str) -> dict[str, str]:
        """Name in the archive → W&B's, of all projects of an entity."""

        def ask() -> dict[str, str]:
            found = self._public.Projects(self._service, entity, per_page=LIST_PAGE)
            return archive_projects(str(project.name) for project in found)

        names = self.call(f"listing the projects of {entity}", ask)
        self._names[entity] = names
        return names

    def project_at(self, project: str) -> tuple[str, str]:
        """Entity and W&B's own name of a project, from its name in the archive.

        Raises:
            UnknownProjectError: there is none.
        """
        entity, _, name = project.partition("/")
        names = self._names.get(entity) or {}
        if name not in names:
            try:
                names = self.projects(entity)
            except Gone:
                raise UnknownProjectError(project) from None
        if name in names:
            return entity, names[name]
        for ours, theirs in names.items():
            if theirs == name:
                raise SourceRefusedError(
                    f"W&B's project {project!r} is {entity}/{ours} in the archive, as Neptune has "
                    "no underscores there",
                    f"Name it {entity}/{ours}.",
                )
        raise UnknownProjectError(project)

    def runs(
        self, project: str, ids: Sequence[str] = (), *, full: bool = False, page: int = LIST_PAGE
    ) -> list[Any]:
        """Runs of a project by creation, or those of these ids: `wandb.apis.public.Run`.

        Args:
            full: with config and summary, which may be large.

        Raises:
            IncompleteAnswerError: fewer than the server counts.
        """
        entity, name = self.project_at(project)
        filters = {"name": {"$in": list(ids)}} if ids else {}

        def ask() -> list[Any]:
            listed = self._public.Runs(
                self._service, entity, name, filters=filters, per_page=page, lazy=not full
            )
            found = {run.id: run for run in listed}
            _tidy(found.values())
            if len(found) < len(listed):
                raise IncompleteAnswerError(
                    f"{self.address} counts {len(listed)} runs in {project} and listed "
                    f"{len(found)}",
                    "Start the job again; they may have changed while they were listed.",
                )
            return list(found.values())

        return self.call(f"listing the runs of {project}", ask)

    def more_of_runs(self, project: str, ids: Sequence[str]) -> dict[str, More]:
        """What `wandb.Api` does not say of a run without a request for each, by its id."""
        entity, name = self.project_at(project)
        variables = {
            "entity": entity,
            "project": name,
            "filters": json.dumps({"name": {"$in": list(ids)}}),
            "first": len(ids),
        }

        def ask() -> dict[str, More]:
            said = self._service.execute_graphql(_MORE, variables)
            nodes = [edge["node"] for edge in said["project"]["runs"]["edges"]]
            return {
                node["name"]: More(
                    int(node["eventsLineCount"] or 0),
                    int((node["outputArtifacts"] or {}).get("totalCount") or 0),
                    _internal(node["config"]),
                )
                for node in nodes
            }

        return self.call(f"reading more of the runs of {project}", ask)

    def scan(self, run: Any, page_size: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """All rows of a run's history from a step on, a page of `page_size` steps at a time; what
        fails between two rows goes on at the page that failed."""
        doing = f"reading the history of {_place(run)}"
        scan = self.call(
            doing, lambda: run.scan_history(page_size=page_size, min_step=first, use_cache=False)
        )
        rows, read = iter(scan), list[dict[str, Any]]()

        def some() -> bool:
            """Reads rows, of which none is lost when a page fails; False at the end."""
            while len(read) < _ROWS_AT_ONCE:
                if (row := next(rows, None)) is None:
                    return False
                read.append(row)
            return True

        more = True
        while more:
            more = self.call(doing, some)
            yield from read
            read.clear()

    def system_metrics(self, run: Any, lines: int) -> list[dict[str, Any]]:
        """Rows of system metrics; the server samples them to fewer only above `lines`."""
        return self.call(
            f"reading the system metrics of {_place(run)}",
            lambda: list(run.history(samples=lines, pandas=False, stream="system")),
        )

    def file_pages(self, run: Any, names: Sequence[str] = ()) -> Iterator[list[Any]]:
        """The run's files, or those of these names: `wandb.apis.public.File`."""
        files = self._public.Files(self._service, run, list(names), per_page=FILES_PAGE)
        yield from self._pages(f"listing the files of {_place(run)}", files)

    def artifacts(self, run: Any) -> Iterator[list[Any]]:
        """The artifacts that the run logged: `wandb.Artifact`."""
        listed = self.call(
            f"listing the artifacts of {_place(run)}",
            lambda: run.logged_artifacts(per_page=FILES_PAGE),
        )
        yield from self._pages(f"listing the artifacts of {_place(run)}", listed)

    def artifact_files(self, artifact: Any) -> Iterator[list[Any]]:
        """The files of an artifact that W&B holds."""
        files = self.call(
            f"listing the files of {artifact.name}", lambda: artifact.files(per_page=FILES_PAGE)
        )
        yield from self._pages(f"listing the files of {artifact.name}", files)

    def sweep(self, run: Any) -> dict[str, Any]:
        """What W&B says of the sweep that the run belongs to."""
        return self.call(
            f"reading the sweep of {_place(run)}",
            lambda: dict(run.sweep._attrs if run.sweep else {}),
        )

    def download(self, file: Any, folder: Path) -> Path | None:
        """One file into a folder, which it needs for itself; None when it is not there.

        Raises:
            Again: what may pass.
        """
        try:
            file.download(root=str(folder), replace=True).close()
        except Exception as error:
            named = self._named("downloading a file", error)
            if isinstance(named, Gone):
                return None
            raise named from None
        return folder / str(file.name)

    def _pages(self, doing: str, listed: Any) -> Iterator[list[Any]]:
        """What a paginator of the SDK has, a page at a time; it goes on where it failed."""
        while self.call(doing, listed._load_page):
            page, listed.objects = listed.objects, []
            yield page

    def call(self, doing: str, ask: Callable[[], T]) -> T:
        """Does it, again while it may pass.

        Raises:
            CredentialsRefusedError, SourceRefusedError, UnknownProjectError: it was refused.
            SourceUnavailableError: it did not pass in `retry_seconds`, or what answers is not W&B.
        """
        strange = 0
        try:
            for attempt in stamina.retry_context(
                on=Again.when, attempts=None, timeout=self._config.retry_seconds, wait_max=20.0
            ):
                with attempt:
                    try:
                        return ask()
                    except Exception as error:
                        named = self._named(doing, error)
                        if isinstance(named, IncompleteAnswerError):
                            strange += 1
                            if strange <= _STRANGE_ANSWERS:
                                named = Again(named.what, 0.2)
                        raise named from None
        except Again as error:
            raise SourceUnavailableError(
                f"W&B at {self.address}, {doing}: {self._scrub(str(error))}",
                "Start the job again; it does only what is missing.",
            ) from None
        except IncompleteAnswerError as error:
            # Not as it is: whoever reads would begin anew what was read in part.
            raise SourceUnavailableError(error.what, error.remedy) from None
        raise AssertionError("unreachable")

    def _named(self, doing: str, error: Exception) -> Exception:
        """The SDK's error as ours."""
        if isinstance(error, MigrationError | Again):
            return error
        status, said = _status_of(error), self._scrub(str(error))
        if isinstance(error, OSError) and not _is_the_sdks(error):
            return error
        if os.strerror(errno.ENOSPC).lower() in said.lower():
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        where = f"W&B at {self.address}, {doing}"
        malformed = type(error).__name__ == "AuthenticationError" and error.__cause__ is None
        if status == 401 or malformed:
            return CredentialsRefusedError(
                f"{where}: the API key is refused ({said})",
                f"Set {KEY_VARIABLE} to a key of an account of this server, or run "
                f"`wandb login --relogin --host {self.address}`.",
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
        if "invalid character" in said or not _is_the_sdks(error):
            return IncompleteAnswerError(
                f"{where}: the answer is not W&B's ({type(error).__name__}: {said})",
                "Is WANDB_BASE_URL the address of a W&B server, without a proxy's page before it?",
            )
        return Again(said)

    def _scrub(self, text: str) -> str:
        """One line without the key."""
        line = " ".join(text.split())[:300]
        key = self.__dict__.get("_key", "")
        return line.replace(key, "***") if key else line


def _internal(config: str | None) -> Any:
    own = json.loads(config or "{}").get("_wandb")
    return own.get("value") if isinstance(own, dict) else None


def _place(run: Any) -> str:
    return f"run {run.entity}/{run.project}/{run.id}"


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


def _tidy(runs: Any) -> None:
    """The SDK makes a folder for every run that it lists; they are empty."""
    for run in runs:
        with contextlib.suppress(OSError):
            os.removedirs(run.dir)
