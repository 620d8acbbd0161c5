"""`wandb.Api`, with what it leaves out: errors in this project's words, and patience.

The SDK's requests are made by its own process, wandb-core, which repeats what may pass (429, 5xx,
cut connections) after the Retry-After of the answer, or else after waits that double from two
seconds on, and gives up on a refusal at once. W&B documents RateLimit-Reset for 429, which
wandb-core reads for its file stream only and does not hand on. It does not repeat an answer that
was cut, and nothing once it has waited for as long as it was told to; that is repeated here. 401,
403 and 404 are terminal.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import stamina

from migration_pipeline.errors import (
    IncompleteAnswerError,
    MissingSettingError,
    RunGoneError,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownProjectError,
)
from migration_pipeline.sources.patience import Again
from migration_pipeline.sources.wandb import queries
from migration_pipeline.sources.wandb.config import KEY_VARIABLE, WandbSourceConfig
from migration_pipeline.sources.wandb.failures import Gone, named
from migration_pipeline.sources.wandb.names import archive_projects
from migration_pipeline.sources.wandb.queries import More
from migration_pipeline.wandb_sdk import key_of_login, public_api

log = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST_REQUEST = 300
"""Seconds that wandb-core may take for one request with all its repetitions."""
_STRANGE_ANSWERS = 3
_ROWS_AT_ONCE = 1_000
_LARGE_ANSWER = 10_000
"""Rows of system metrics above which an answer is waited for alone."""
LIST_PAGE = 500
FILES_PAGE = 200


class WandbClient:
    """The calls that the exporter makes. Thread-safe; the first one starts wandb-core."""

    def __init__(self, config: WandbSourceConfig) -> None:
        self._config = config
        self.address = config.url
        self._lock = threading.Lock()
        self._large_answer = threading.Lock()
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

        doing = f"listing the runs of {project}"
        return self.call(doing, ask, lambda: self._check_project(project))

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
            said = self._service.execute_graphql(queries.MORE_OF_RUNS, variables)
            nodes = [edge["node"] for edge in said["project"]["runs"]["edges"]]
            return {node["name"]: More.of(node) for node in nodes}

        doing = f"reading more of the runs of {project}"
        return self.call(doing, ask, lambda: self._check_project(project))

    def scan(self, run: Any, page_size: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """All rows of a run's history from a step on, a page of `page_size` steps at a time; what
        fails between two rows goes on at the page that failed."""
        doing = "reading the history"
        scan = self.call_of(
            run,
            doing,
            lambda: run.scan_history(page_size=page_size, min_step=first, use_cache=False),
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
            more = self.call_of(run, doing, some)
            yield from read
            read.clear()

    def system_metrics(self, run: Any, lines: int) -> Iterator[dict[str, Any]]:
        """Rows of system metrics; the server samples them to fewer only above `lines`.

        They come in one answer: the SDK knows no other argument of `events` than `samples`. Where
        the SDK makes objects of all its rows at once, a row is one here in its turn, and its text
        is gone then. 100,000 rows of 20 metrics take 350 MB and wandb-core 600 MB, 10,000 rows 80
        MB and 100 MB (benchmarks/wandb_system_memory.py); of large answers there is one at a time.
        """
        variables = {"entity": run.entity, "project": run.project, "name": run.id, "samples": lines}

        def ask() -> list[str]:
            said = self._service.execute_graphql(queries.SYSTEM_METRICS, variables)
            return list(reversed(said["project"]["run"]["events"]))

        with self._large_answer if lines > _LARGE_ANSWER else contextlib.nullcontext():
            rows = self.call_of(run, "reading the system metrics", ask)
        while rows:
            yield json.loads(rows.pop())

    def file_pages(self, run: Any, names: Sequence[str] = ()) -> Iterator[list[Any]]:
        """The run's files, or those of these names: `wandb.apis.public.File`."""
        files = self._public.Files(self._service, run, list(names), per_page=FILES_PAGE)

        def load() -> bool:
            before = files.last_response
            more = bool(files._load_page())
            # The SDK takes a run that is not there for one without files.
            if more and not (files.last_response.get("project") or {}).get("run"):
                files.last_response = before
                raise IncompleteAnswerError(f"{_place(run)} is not there", "Is it deleted?")
            return more

        yield from self._pages(run, "listing the files", files, load)

    def artifacts(self, run: Any) -> Iterator[list[Any]]:
        """The artifacts that the run logged: `wandb.Artifact`."""
        doing = "listing the artifacts"
        listed = self.call_of(run, doing, lambda: run.logged_artifacts(per_page=FILES_PAGE))
        yield from self._pages(run, doing, listed, listed._load_page)

    def artifact_files(self, run: Any, artifact: Any) -> Iterator[list[Any]]:
        """The files of an artifact of the run that W&B holds."""
        doing = f"listing the files of {artifact.name}"
        files = self.call_of(run, doing, lambda: artifact.files(per_page=FILES_PAGE))
        yield from self._pages(run, doing, files, files._load_page)

    def sweep(self, run: Any) -> dict[str, Any]:
        """What W&B says of the sweep that the run belongs to.

        Raises:
            Gone: it says that there is none.
        """
        doing = f"reading the sweep of {_place(run)}"

        def ask() -> dict[str, Any]:
            if (sweep := run.sweep) is None:
                raise Gone(f"W&B at {self.address}, {doing}: not found", "It was deleted.")
            return dict(sweep._attrs)

        return self.call(doing, ask)

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

    def _pages(
        self, run: Any, doing: str, listed: Any, load: Callable[[], bool]
    ) -> Iterator[list[Any]]:
        """What a paginator of the SDK has, a page at a time; it goes on where it failed."""
        while self.call_of(run, doing, load):
            page, listed.objects = listed.objects, []
            yield page

    def _check_project(self, project: str) -> None:
        """
        Raises:
            UnknownProjectError: it is not there any more.
        """
        self._names.pop(project.partition("/")[0], None)
        self.project_at(project)

    def check_run(self, run: Any) -> None:
        """
        Raises:
            UnknownProjectError, RunGoneError: it is not there any more.
        """
        variables = {"entity": run.entity, "project": run.project, "name": run.id}
        said = self.call(
            f"asking for {_place(run)}",
            lambda: dict(self._service.execute_graphql(queries.STILL_THERE, variables)),
        )
        if not (project := said.get("project")):
            raise UnknownProjectError(f"{run.entity}/{run.project}")
        if not project.get("run"):
            raise RunGoneError(_place(run))

    def call_of(self, run: Any, doing: str, ask: Callable[[], T]) -> T:
        """`call` for what is asked of a run."""
        return self.call(f"{doing} of {_place(run)}", ask, lambda: self.check_run(run))

    def call(self, doing: str, ask: Callable[[], T], check: Callable[[], None] | None = None) -> T:
        """Does it, again while it may pass.

        Args:
            check: raises when what it is about is gone; asked when answers stay strange.

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
            if check is not None:
                check()
            # Not as it is: whoever reads would begin anew what was read in part.
            raise SourceUnavailableError(error.what, error.remedy) from None
        raise AssertionError("unreachable")

    def _named(self, doing: str, error: Exception) -> Exception:
        return named(self.address, doing, error, self._scrub(str(error)))

    def _scrub(self, text: str) -> str:
        """One line without the key."""
        line = " ".join(text.split())[:300]
        key = self.__dict__.get("_key", "")
        return line.replace(key, "***") if key else line


def _place(run: Any) -> str:
    return f"run {run.entity}/{run.project}/{run.id}"


def _tidy(runs: Any) -> None:
    """The SDK makes a folder for every run that it lists; they are empty."""
    for run in runs:
        with contextlib.suppress(OSError):
            os.removedirs(run.dir)
