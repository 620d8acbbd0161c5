"""ZenML as a target: finds, loads, reads back and marks runs.

A Neptune project is a model, a run is one of its versions, by a name made from its id. The rows of
a run are a version of the artifact `<model>-data`, under the same name; its metadata says whose it
is from the first write on, and `complete` as the very last one. They stand there, not among the
cards of the model version, so that a listing of thousands of runs does not fetch all their cards.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa

from migration_pipeline import __version__
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.facts import parse_tags
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import Capabilities, ProjectMapping, RunFacts
from migration_pipeline.mapping.values import cut, from_text, shown, tags_text, to_text, without_nul
from migration_pipeline.targets.target import Kin, LoadReport, LoadState, Meter, TargetRun
from migration_pipeline.targets.zenml.capabilities import (
    CAPABILITIES,
    DESCRIPTION_MAX_LENGTH,
    TAG_MAX_LENGTH,
    TAGS_PER_RUN,
)
from migration_pipeline.targets.zenml.config import ZenmlConfig
from migration_pipeline.targets.zenml.connection import Connection
from migration_pipeline.targets.zenml.folders import Folder
from migration_pipeline.targets.zenml.naming import (
    DATA,
    FILES,
    artifact_name,
    is_taggable,
    model_name,
    version_name,
)
from migration_pipeline.targets.zenml.read_back import Reader
from migration_pipeline.targets.zenml.records import Records
from migration_pipeline.targets.zenml.sending import Sender

MAPPING_VERSION = 1
"""Raised when runs that were loaded before should be loaded again."""
MARK = "neptune"
"""Key of what is known of a run: on its data artifact for us, on its model version for people."""
FORK = "fork"
_FOLDER_NAME = 100
"""Characters that a name of a folder begins with; object stores stop at 1,024 for a whole path."""
_COMPLETE, _LOADING, _DISCARDING = "complete", "loading", "discarding"


@dataclass(frozen=True)
class _Found:
    """What is at ZenML under the name of a run."""

    version: UUID | None = None
    data: Any = None
    """The version of its data artifact."""

    @property
    def mark(self) -> dict[str, Any]:
        return dict(self.data.run_metadata.get(MARK, {})) if self.data is not None else {}


class ZenmlTarget:
    """See `targets.target.Target`."""

    name = "zenml"

    def __init__(self, config: ZenmlConfig) -> None:
        self._to = Connection(config)
        self._records = Records(self._to)
        self._known: dict[tuple[str, RunKey], _Found] = {}
        self._lock = threading.Lock()
        # SQLite has one writer at a time; further ones only wait for it and may give up.
        parallel = 1 if self._to.one_writer else CAPABILITIES.parallel_runs
        self.capabilities: Capabilities = CAPABILITIES.model_copy(
            update={"parallel_runs": parallel}
        )

    @property
    def address(self) -> str:
        return self._to.address

    def check(self) -> None:
        with self._to.calls("looking whether it is there"):
            self._to.probe()
            self._to.store.get_user()  # with the credentials

    def has_store(self) -> bool:
        return self._to.has_tables()

    def runs(self, project: str, mapping: ProjectMapping) -> Mapping[RunKey, TargetRun]:
        name = model_name(project, mapping)
        if (model := self._records.model(name)) is None:
            return {}
        versions = self._records.versions(model)
        found: dict[RunKey, TargetRun] = {}
        for artifact in self._records.artifacts(artifact_name(name, DATA)):
            at = _Found(versions.get(artifact.version), artifact)
            if (key := _key_of(at.mark)) and key.project == project:
                found[key] = self._target_run(at)
                self._known[mapping.name_prefix, key] = at
        return found

    def find(self, key: RunKey, mapping: ProjectMapping) -> TargetRun:
        return self._target_run(self._find(key, mapping))

    def load(
        self, scan: RunScan, mapping: ProjectMapping, kin: Kin, meter: Meter | None = None
    ) -> LoadReport:
        key = scan.key
        model, name = model_name(key.project, mapping), version_name(key)
        model_id = self._records.make_model(model, f"Runs of the Neptune project {key.project}")
        self.discard(key, mapping)
        data, files = self._folders(model, name)
        mark = {**_identity(scan), "state": _LOADING, "mapping_version": MAPPING_VERSION}
        data_id = self._records.make_artifact(
            artifact_name(model, DATA), name, data.uri, {MARK: mark}
        )
        version = self._records.make_version(
            model_id, name, self.shown_facts(scan.facts).description, _tags(scan.facts)
        )
        cards = {MARK: self._card(scan)}
        if kin.parent:
            cards[FORK] = self._parent(kin.parent)
        self._records.link(version, data_id)
        if any(row.path is not None for row in scan.files):
            mark = {MARK: _identity(scan)}
            files_id = self._records.make_artifact(
                artifact_name(model, FILES), name, files.uri, mark
            )
            self._records.link(version, files_id)
        report = Sender(self._records, scan, version, data, files, meter, cards).send()
        for child in kin.children:
            self._records.put_cards(UUID(child), {FORK: self._parent(str(version))})
        self._finish(scan, data_id)
        report.id, report.url = str(version), self._to.page(version)
        return report

    def _finish(self, scan: RunScan, data_id: UUID) -> None:
        content = scan.content
        mark = {
            "state": _COMPLETE,
            "digest": content.digest,
            "fingerprint": content.fingerprint,
            "step_decimals": content.step_decimals,
            "loaded_by": f"migration_pipeline {__version__}",
        }
        self._records.put_mark(data_id, {MARK: mark})

    def read_back(
        self,
        key: RunKey,
        mapping: ProjectMapping,
        into: Path,
        attributes: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        found = self._one(key, mapping)
        name = artifact_name(model_name(key.project, mapping), FILES)
        files = self._records.artifacts(name, version_name(key))
        cards = self._records.version(found.version).run_metadata if found.version else {}
        reader = Reader(
            key,
            cards,
            Folder(self._to, found.data.uri),
            Folder(self._to, files[0].uri if files else ""),
            self.address,
            into,
            attributes,
        )
        with self._to.calls("reading a run"):
            yield from reader.batches()

    def facts(self, key: RunKey, mapping: ProjectMapping) -> RunFacts:
        found = self._one(key, mapping)
        version = self._records.version(found.version) if found.version else None
        if version is None:
            return RunFacts("")
        card = version.run_metadata.get(MARK, {})
        time = {k: from_text("datetime", card[k]) for k in ("start", "end") if k in card}
        tags = parse_tags(card.get("tags", ""))
        there = {tag.name.casefold() for tag in version.tags}
        expected = _tags(RunFacts("", tags=tags, experiment=card.get("experiment", "")))
        return RunFacts(
            name=card.get("run_id", ""),
            start=time.get("start"),
            end=time.get("end"),
            failed=bool(card.get("failed", False)),
            # Those that ought to be tags of the version as well count only if they are.
            tags=tuple(t for t in tags if t not in expected or t.casefold() in there),
            group_tags=parse_tags(card.get("group_tags", "")),
            description=version.description or "",
            owner=card.get("owner", ""),
            parent=card.get("forked_from", ""),
            experiment=card.get("experiment", ""),
            sys_id=card.get("sys_id", ""),
            fork_step=float(card["fork_step"]) if "fork_step" in card else None,
        )

    def shown_facts(self, facts: RunFacts) -> RunFacts:
        held = shown(facts, self.capabilities.tag_max_length)
        description = without_nul(cut(facts.description, DESCRIPTION_MAX_LENGTH))
        return replace(held, description=description)

    def mark_verified(self, key: RunKey, mapping: ProjectMapping, verified: bool) -> None:
        found = self._one(key, mapping)
        self._records.put_mark(found.data.id, {MARK: {"verified": verified}})

    def discard(self, key: RunKey, mapping: ProjectMapping) -> None:
        """Deletes the model version, its artifacts and their folders."""
        found = self._find(key, mapping)
        self._known.pop((mapping.name_prefix, key), None)
        if found.version is None and found.data is None:
            return
        self._check_ours(key, found)
        if found.data is not None and found.mark.get("state") == _COMPLETE:
            # It is not, from here on.
            self._records.put_mark(found.data.id, {MARK: {"state": _DISCARDING}})
        model, name = model_name(key.project, mapping), version_name(key)
        for artifact in self._records.artifacts(artifact_name(model, FILES), name):
            Folder(self._to, artifact.uri).remove()
            self._records.delete_artifact(artifact.id)
        if found.version is not None:
            self._records.delete_version(found.version)
        if found.data is not None:  # last: it says whose the others are
            Folder(self._to, found.data.uri.removesuffix(f"/{DATA}")).remove()
            self._records.delete_artifact(found.data.id)

    # --- finding ----------------------------------------------------------------------------

    def _find(self, key: RunKey, mapping: ProjectMapping) -> _Found:
        name = model_name(key.project, mapping)
        if (model := self._records.model(name)) is None:
            return _Found()
        own = version_name(key)
        version = self._records.versions(model, own).get(own)
        data = self._records.artifacts(artifact_name(name, DATA), own)
        found = _Found(version, data[0] if data else None)
        self._known[mapping.name_prefix, key] = found
        return found

    def _one(self, key: RunKey, mapping: ProjectMapping) -> _Found:
        known = self._known.get((mapping.name_prefix, key))
        if known is None or known.data is None or known.version is None:
            known = self._find(key, mapping)
        if known.data is None or known.version is None:
            raise TargetRefusedError(
                f"run {key} is not at {self.address}", "Load it first, then verify it."
            )
        return known

    def _check_ours(self, key: RunKey, found: _Found) -> None:
        """Raises where something of another origin has the name of a run."""
        mark = found.mark
        if found.data is None and found.version is not None:
            mark = self._records.version(found.version).run_metadata.get(MARK, {})
        if _key_of(mark) != key:
            raise TargetRefusedError(
                f"at {self.address} there is a model version {version_name(key)!r} that is not of "
                f"run {key}",
                "Rename or delete it, or set MIGRATION_NAME_PREFIX to load under another name.",
            )

    def _target_run(self, found: _Found) -> TargetRun:
        if found.version is None and found.data is None:
            return TargetRun(LoadState.ABSENT)
        mark = found.mark
        complete = (
            found.version is not None
            and mark.get("state") == _COMPLETE
            and mark.get("mapping_version") == MAPPING_VERSION
        )
        return TargetRun(
            LoadState.COMPLETE if complete else LoadState.PARTIAL,
            digest=mark.get("digest", ""),
            fingerprint=mark.get("fingerprint", ""),
            step_decimals=mark.get("step_decimals", 0),
            damaged=mark.get("damaged", False),
            verified=mark.get("verified", False),
            ids=(str(found.version),) if found.version else (),
            parent=mark.get("forked_from", ""),
            sys_id=mark.get("sys_id", ""),
            url=self._to.page(found.version) if found.version else "",
        )

    # --- what is written --------------------------------------------------------------------

    def _folders(self, model: str, name: str) -> tuple[Folder, Folder]:
        """Of one attempt to load a run: what an earlier one has left is never mixed in."""
        own = f"{name[:_FOLDER_NAME].rstrip(' .')}-{uuid4().hex[:12]}"
        root = f"{self._to.artifacts.path.rstrip('/')}/{model[:_FOLDER_NAME]}/{own}"
        return Folder(self._to, f"{root}/{DATA}"), Folder(self._to, f"{root}/{FILES}")

    def _card(self, scan: RunScan) -> dict[str, Any]:
        """What a person wants to know of the run first."""
        limit = self.capabilities.tag_max_length
        facts = self.shown_facts(scan.facts)
        card: dict[str, Any] = {
            **_identity(scan),
            "experiment": facts.experiment,
            "owner": facts.owner,
            "tags": tags_text(scan.facts.tags, limit) if facts.tags else "",
            "group_tags": tags_text(facts.group_tags, limit) if facts.group_tags else "",
            "start": None if facts.start is None else to_text("datetime", facts.start),
            "end": None if facts.end is None else to_text("datetime", facts.end),
            "fork_step": None if facts.fork_step is None else to_text("float", facts.fork_step),
        }
        card = {name: value for name, value in card.items() if value not in ("", None)}
        return {**card, "failed": facts.failed}

    def _parent(self, version: str) -> dict[str, Any]:
        """The link to the model version that a run was forked from."""
        page = self._to.page(version)
        return {"parent_version": version, **({"page": page} if page else {})}


def _identity(scan: RunScan) -> dict[str, Any]:
    key, facts = scan.key, scan.facts
    return {
        "project": key.project,
        "run_id": key.run,
        "kind": key.kind,
        "sys_id": facts.sys_id,
        "forked_from": facts.parent,
        "damaged": bool(scan.run.damage),
    }


def _key_of(mark: Mapping[str, Any]) -> RunKey | None:
    with contextlib.suppress(KeyError):
        return RunKey(mark["project"], mark["run_id"], mark["kind"])
    return None


def _tags(facts: RunFacts) -> list[str]:
    """What become tags of the model version, by which it can be searched for: the run's own and
    the name of its experiment."""
    wanted = [without_nul(tag) for tag in (*facts.tags[:TAGS_PER_RUN], facts.experiment)]
    return list(dict.fromkeys(t for t in wanted if is_taggable(t, TAG_MAX_LENGTH)))
