"""Teamspaces and experiments at Lightning AI, and the tags that say what is what."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.targets.litlogger.capabilities import LIST_PAGE
from migration_pipeline.targets.litlogger.connection import Connection
from migration_pipeline.targets.litlogger.naming import colors
from migration_pipeline.targets.litlogger.refusals import NotFoundError, TakenError, UnclearError


@dataclass(frozen=True)
class Owner:
    """Who has teamspaces: a user, or an organization."""

    id: str
    name: str
    organization: bool


@dataclass(frozen=True)
class Teamspace:
    id: str
    name: str


@dataclass(frozen=True)
class Experiment:
    """One of a teamspace, as the service shows it."""

    id: str
    name: str
    phase: str
    tags: dict[str, str]
    cloud_account: str
    teamspace: Teamspace

    @property
    def folder(self) -> str:
        """Where its files are on the drive of the teamspace."""
        return f"experiments/{self.name}"


class Records:
    """Finds and makes them; used by several threads."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._teamspaces: dict[str, Teamspace] = {}
        self._owner: Owner | None = None
        self._lock = threading.Lock()

    # --- owner and teamspaces -------------------------------------------------------------------

    def check(self) -> None:
        """Raises if the service is not there, refuses the credentials or knows no such owner."""
        self._find_owner()

    def owner(self) -> Owner:
        """The user that loads, or whom LITLOGGER_OWNER names.

        Raises:
            TargetRefusedError: there is no such user or organization, or it is another's.
        """
        if self._owner is None:
            self._owner = self._find_owner()
        return self._owner

    def _find_owner(self) -> Owner:
        me = self._to.call("auth_service_get_user", "asking who loads")
        wanted, name = self._to.owner, str(me.get("username", ""))
        if wanted in ("", name):
            return Owner(str(me.get("id", "")), name, organization=False)
        doing = "asking for organizations"
        found = self._to.call("organizations_service_list_organizations", doing)
        there = {str(one.get("name")): one for one in found.get("organizations") or ()}
        if wanted in there:
            return Owner(str(there[wanted]["id"]), wanted, organization=True)
        raise TargetRefusedError(
            f"target litlogger at {self._to.address}: the owner {wanted!r} is neither the user "
            f"that loads, {name!r}, nor an organization of theirs ({', '.join(there) or 'none'})",
            "Correct LITLOGGER_OWNER, or unset it to load into the user's own teamspaces.",
        )

    def teamspace(self, name: str) -> Teamspace | None:
        """One of the owner's, None where there is none; those that were found are remembered."""
        with self._lock:
            if known := self._teamspaces.get(name):
                return known
        owner = self.owner()
        said = self._to.call(
            "projects_service_list_memberships", "asking for teamspaces", filter_by_user_id=True
        )
        for one in said.get("memberships") or ():
            named = name in (one.get("name"), one.get("displayName"))
            if named and one.get("ownerId") == owner.id:
                found = Teamspace(str(one["projectId"]), str(one.get("name") or name))
                with self._lock:
                    self._teamspaces[name] = found
                return found
        return None

    def make_teamspace(self, name: str) -> Teamspace:
        """One of the owner's, made if it is not there."""
        with _making:
            if found := self.teamspace(name):
                return found
            owner, body = self.owner(), self._to.models.V1CreateProjectRequest
            organization = {"organization_id": owner.id} if owner.organization else {}
            try:
                self._to.once(
                    "projects_service_create_project",
                    f"making the teamspace {name}",
                    body=body(name=name, display_name=name, **organization),
                )
            except (TakenError, UnclearError):
                # Another process was faster, or the answer was lost.
                if self.teamspace(name) is None:
                    raise
            made = self.teamspace(name)
        if made is None:
            raise TargetRefusedError(
                f"target litlogger at {self._to.address}: the teamspace {name} was made, and the "
                f"user that loads is no member of it",
                f"Make {name} a teamspace of this user, and start again.",
            )
        return made

    @contextlib.contextmanager
    def _still_there(self) -> Iterator[None]:
        """A teamspace that was found may be gone; it is then looked for again the next time."""
        try:
            yield
        except NotFoundError:
            with self._lock:
                self._teamspaces.clear()
            raise

    # --- experiments ----------------------------------------------------------------------------

    def experiments(self, within: Teamspace) -> Iterator[Experiment]:
        """All of a teamspace, each once. The service may give fewer than are asked for, so the end
        is only where there is nothing new."""
        seen: set[str] = set()
        offset = 0
        while True:
            with self._still_there():
                said = self._to.call(
                    "lit_logger_service_list_metrics_streams",
                    "listing experiments",
                    project_id=within.id,
                    limit=str(LIST_PAGE),
                    offset=str(offset),
                )
            page = said.get("metricsStreams") or []
            new = [one for one in page if one["id"] not in seen]
            if not new:
                return
            seen.update(one["id"] for one in new)
            offset += len(page)
            yield from (_experiment(one, within) for one in new)

    def experiment(self, within: Teamspace, name: str) -> Experiment | None:
        try:
            said = self._to.call(
                "lit_logger_service_get_metrics_stream",
                "looking for an experiment",
                project_id=within.id,
                name=name,
            )
        except NotFoundError:
            return None
        return _experiment(said, within) if said.get("id") else None

    def make_experiment(self, within: Teamspace, name: str, tags: Mapping[str, str]) -> Experiment:
        """A new one that keeps steps and times, which can be said now only; nothing is told of
        this machine (`systemInfo`)."""
        light, dark = colors(name)
        body = self._to.models.LitLoggerServiceCreateMetricsStreamBody(
            name=name,
            tags=self._tags(tags),
            store_step=True,
            store_created_at=True,
            light_color=light,
            dark_color=dark,
        )
        try:
            with self._still_there():
                said = self._to.once(
                    "lit_logger_service_create_metrics_stream",
                    f"making the experiment {name}",
                    project_id=within.id,
                    body=body,
                )
        except UnclearError:
            # The answer was lost; the experiment may be there.
            found = self.experiment(within, name)
            if found is None or found.tags != dict(tags):
                raise
            return found
        return _experiment(said, within)

    def update(self, experiment: Experiment, tags: Mapping[str, str], phase: str) -> None:
        """Replaces all its tags. The phase must be said with them: none is the first one."""
        body = self._to.models.LitLoggerServiceUpdateMetricsStreamBody(
            persisted=True, phase=phase, tags=self._tags(tags)
        )
        self._to.call(
            "lit_logger_service_update_metrics_stream",
            f"writing the tags of the experiment {experiment.name}",
            project_id=experiment.teamspace.id,
            id=experiment.id,
            body=body,
        )

    def delete(self, experiment: Experiment) -> None:
        """Its files first: they lie under its name, and while it is there it can be found."""
        path = f"/v1/projects/{experiment.teamspace.id}/artifacts/trees/{quote(experiment.folder)}"
        with contextlib.suppress(NotFoundError):
            self._to.plain("DELETE", path, "deleting files")
        body = self._to.models.LitLoggerServiceDeleteMetricsStreamBody(ids=[experiment.id])
        with contextlib.suppress(NotFoundError):
            self._to.call(
                "lit_logger_service_delete_metrics_stream",
                "deleting an experiment",
                project_id=experiment.teamspace.id,
                body=body,
            )

    def counts(self, experiment: Experiment) -> dict[str, dict[str, Any]]:
        """Name of a metric → its summary."""
        said = self._to.call(
            "lit_logger_service_get_logger_metrics_summary",
            "asking how many points are there",
            project_id=experiment.teamspace.id,
            ids=[experiment.id],
        )
        found = said.get("summariesPerName") or {}
        per_id = {name: one.get("summariesPerId") or {} for name, one in found.items()}
        return {name: of[experiment.id] for name, of in per_id.items() if experiment.id in of}

    # --- files ----------------------------------------------------------------------------------

    def sign(
        self, experiment: Experiment, path: str, parts: int = 1, part_bytes: int = 0
    ) -> tuple[str, list[dict[str, Any]]]:
        """Addresses to put a file of the drive to; in parts, also the id of the upload."""
        blob: dict[str, Any] = {"path": path}
        if parts > 1:
            blob |= {"parts": parts, "part_size": part_bytes}
        said = self._blobs(experiment, "", blob, "asking where to put a file")
        result = said["results"][0]
        return str(result.get("upload_id") or ""), list(result.get("urls") or ())

    def complete_upload(
        self, experiment: Experiment, path: str, upload: str, parts: list[dict[str, Any]]
    ) -> None:
        blob = {"path": path, "upload_id": upload, "parts": parts}
        self._blobs(experiment, "/complete", blob, "finishing a file")

    def _blobs(
        self, experiment: Experiment, suffix: str, blob: dict[str, Any], doing: str
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"blobs": [blob]}
        if experiment.cloud_account:
            body["cluster_id"] = experiment.cloud_account
        path = f"/v1/projects/{experiment.teamspace.id}/artifacts/blobs{suffix}"
        return self._to.plain("POST", path, doing, body)

    def register_file(self, experiment: Experiment, name: str) -> None:
        """Lets the experiment show a file that is on the drive."""
        self._to.call(
            "lit_logger_service_create_logger_artifact",
            "naming a file",
            project_id=experiment.teamspace.id,
            metrics_stream_id=experiment.id,
            body=self._to.models.LitLoggerServiceCreateLoggerArtifactBody(path=name),
        )

    def files(self, experiment: Experiment) -> set[str]:
        said = self._to.call(
            "lit_logger_service_list_logger_artifacts",
            "listing files",
            project_id=experiment.teamspace.id,
            metrics_stream_id=experiment.id,
        )
        return {str(one.get("path", "")) for one in said.get("loggerArtifacts") or ()}

    def drive(self, experiment: Experiment, name: str) -> str:
        """The address of a file, below the platform's."""
        path = quote(f"{experiment.folder}/{name}")
        account = experiment.cloud_account
        query = f"?clusterId={quote(account, safe='')}" if account else ""
        return f"/v1/projects/{experiment.teamspace.id}/artifacts/blobs/{path}{query}"

    def url(self, experiment: Experiment) -> str:
        owner, teamspace = self.owner().name, experiment.teamspace.name
        return f"{self._to.address}/{owner}/{teamspace}/experiments/{quote(experiment.name)}"

    def _tags(self, tags: Mapping[str, str]) -> list[Any]:
        """`from_code`: others are dropped by litlogger when a user writes one."""
        make = self._to.models.V1MetricsTags
        return [make(name=n, value=v, from_code=True, active=True) for n, v in tags.items()]


_making = threading.Lock()


def _experiment(said: dict[str, Any], within: Teamspace) -> Experiment:
    tags = {str(one.get("name")): str(one.get("value") or "") for one in said.get("tags") or ()}
    return Experiment(
        str(said["id"]),
        str(said.get("name", "")),
        str(said.get("phase", "")),
        tags,
        str(said.get("clusterId") or ""),
        within,
    )
