"""Neptune's models and their versions in MLflow's registry, beside the runs that hold their data.

A model becomes a registered model; a model version, once its run is sent, a version of that, with
the run as its source and its stage as an alias. MLflow counts versions in the order of their
making, so Neptune's number stands in the tag `neptune.version`. An alias names one version only:
of several in one stage the latest has it, and each has its stage in the tag `neptune.stage`.

Not MLflow's logged models: such a one has parameters, metrics and files of its own, which would be
a second copy of the run's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.mlflow.capabilities import MODEL_TEXT_MAX_LENGTH
from migration_pipeline.targets.mlflow.connection import Connection
from migration_pipeline.targets.mlflow.naming import identity, like, model_name, within

RUN_KEY, VERSION, STAGE = "neptune.run_key", "neptune.version", "neptune.stage"
_PROJECT, _MODEL, _MODEL_RUN = "neptune.project", "neptune.model_id", "neptune.mlflow_run"
_ALIASES = ("staging", "production", "archived")
"""Neptune's stages beside `none`."""
MODEL_OF, STAGE_OF = "sys/model_id", "sys/stage"
"""The attributes of a model version that say what it is a version of, and its stage."""


class Registry:
    """Models at one MLflow; used by several threads."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._lock = threading.Lock()

    def register(
        self,
        key: RunKey,
        facts: RunFacts,
        mapping: ProjectMapping,
        run_id: str,
        artifacts: str,
        said: dict[str, Any],
    ) -> None:
        """Makes what is missing, finds what is there; for runs of other kinds nothing.

        Args:
            run_id: MLflow's run of the model or version.
            artifacts: where its files are.
            said: the attributes `MODEL_OF` and `STAGE_OF`.
        """
        # Versions of one model must not each look for the other's alias at the same time.
        with self._lock, self._to.calls("registering a model"):
            if key.kind == "model":
                model = self._model(key.project, facts.sys_id or key.run, mapping)
                client = self._to.client
                client.set_registered_model_tag(model.name, RUN_KEY, _tag(identity(key)))
                client.set_registered_model_tag(model.name, _MODEL_RUN, run_id)
                if (text := _text(facts)) != (model.description or ""):
                    client.update_registered_model(model.name, text)
            elif key.kind == "model_version":
                self._version(key, facts, mapping, run_id, artifacts, said)

    def discard(self, key: RunKey, run_id: str) -> None:
        """Takes a version that has this run as its source out of the registry.

        The registered model stays: it has other versions, or will have them again.
        """
        if key.kind == "model_version":
            with self._lock:
                for version in self._of_run(key, run_id):
                    self._pass_on(version)
                    self._to.client.delete_model_version(version.name, version.version)

    def _pass_on(self, leaving: Any) -> None:
        """Gives the alias of a version, which goes with it, to the latest other in that stage."""
        client, stage = self._to.client, leaving.tags.get(STAGE)
        model = client.get_registered_model(leaving.name)
        if str(model.aliases.get(stage)) != str(leaving.version):
            return
        others = [
            version
            for version in self._versions(leaving.name)
            if version.version != leaving.version and version.tags.get(STAGE) == stage
        ]
        if others:
            latest = max(others, key=_number)
            client.set_registered_model_alias(leaving.name, stage, str(latest.version))

    def _model(self, project: str, model: str, mapping: ProjectMapping) -> Any:
        client, name = self._to.client, model_name(project, model, mapping)
        found = _or_none(client.get_registered_model, name)
        if found is None:
            tags = {_PROJECT: _tag(project), _MODEL: _tag(model)}
            try:
                return client.create_registered_model(name, tags=tags)
            except Exception:
                # Another process may have been faster.
                if (found := _or_none(client.get_registered_model, name)) is None:
                    raise
        if found.tags.get(_PROJECT) != _tag(project) or found.tags.get(_MODEL) != _tag(model):
            raise TargetRefusedError(
                f"the registered model {name!r} at {self._to.address} is somebody else's",
                "Rename it, or set MIGRATION_NAME_PREFIX to load under another name.",
            )
        return found

    def _version(
        self,
        key: RunKey,
        facts: RunFacts,
        mapping: ProjectMapping,
        run_id: str,
        artifacts: str,
        said: dict[str, Any],
    ) -> None:
        client, own = self._to.client, facts.sys_id or key.run
        before, _, last = own.rpartition("-")
        model = self._model(key.project, str(said.get(MODEL_OF) or before or own), mapping)
        stage, number = str(said.get(STAGE_OF) or "none"), last if last.isdecimal() else "0"
        version = next(self._of_run(key, run_id), None)
        if version is None:
            version = client.create_model_version(
                model.name,
                artifacts,
                run_id,
                tags={RUN_KEY: _tag(identity(key)), VERSION: number, STAGE: _tag(stage)},
                description=_text(facts) or None,
                await_creation_for=0,
            )
        if stage in _ALIASES:
            holder = model.aliases.get(stage)
            held = holder and _or_none(client.get_model_version, model.name, str(holder))
            if not held or _number(held) <= int(number):
                client.set_registered_model_alias(model.name, stage, str(version.version))

    def _versions(self, name: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._to.client.search_model_versions(
                f"name LIKE '{like(name)}'", page_token=token
            )
            yield from (version for version in page if version.name == name)
            if not (token := page.token):
                return

    def _of_run(self, key: RunKey, run_id: str) -> Iterator[Any]:
        for version in self._to.client.search_model_versions(f"run_id = '{run_id}'"):
            if version.tags.get(RUN_KEY) == _tag(identity(key)):
                yield version


def _number(version: Any) -> int:
    """Neptune's number of a version; of one that is not ours more than any."""
    number = str(version.tags.get(VERSION, ""))
    return int(number) if number.isdecimal() else 1 << 62


def _or_none(ask: Any, *what: str) -> Any:
    try:
        return ask(*what)
    except Exception as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _tag(text: str) -> str:
    return within(without_nul(text), MODEL_TEXT_MAX_LENGTH)


def _text(facts: RunFacts) -> str:
    return without_nul(facts.description)[:MODEL_TEXT_MAX_LENGTH]
