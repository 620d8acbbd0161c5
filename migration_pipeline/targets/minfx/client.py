"""Minfx: a service that speaks Neptune's 2.x protocol, through minfx.neptune_v2."""

from __future__ import annotations

from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.minfx.capabilities import CAPABILITIES
from migration_pipeline.targets.minfx.config import MinfxConfig
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.client import Neptune2Target
from migration_pipeline.targets.neptune2.connection import Connection


class MinfxTarget(Neptune2Target):
    """See `targets.target.Target`. All runs go to one project, which must exist."""

    def __init__(self, config: MinfxConfig) -> None:
        self._config, place = config, config.place
        super().__init__(place.server, config.retry_seconds, CAPABILITIES)
        self._api = Api(Connection(self._session, place, config.retry_seconds))

    @property
    def address(self) -> str:
        return self._api.to.address

    def check(self) -> None:
        self._config.check_project()
        self._api.to.check()

    def _there(self, project: str, mapping: ProjectMapping) -> Api:
        self._config.check_project()
        return self._api

    def _made(self, project: str, mapping: ProjectMapping) -> Api:
        return self._there(project, mapping)
