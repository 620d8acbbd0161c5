"""Any server of Neptune 2.x as a target, through the client `neptune`: each project of the archive
is a project there.

Its registry of models takes no id of our choosing, so that a request whose answer is lost would
leave a second version: models, model versions and the metadata of a project are runs here, which
say what they were.
"""

from __future__ import annotations

from migration_pipeline.errors import TargetRefusedError
from migration_pipeline.mapping.scan import RunScan
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.neptune.capabilities import CAPABILITIES
from migration_pipeline.targets.neptune.config import WORKSPACE, NeptuneConfig
from migration_pipeline.targets.neptune.naming import project_name
from migration_pipeline.targets.neptune.projects import Projects
from migration_pipeline.targets.neptune2.api import Api
from migration_pipeline.targets.neptune2.client import Neptune2Target
from migration_pipeline.targets.neptune2.naming import ORIGINAL_RUN
from migration_pipeline.targets.neptune2.refusals import NotThereError


class NeptuneTarget(Neptune2Target):
    """See `targets.target.Target`."""

    def __init__(self, config: NeptuneConfig) -> None:
        super().__init__(config.server, config.retry_seconds, CAPABILITIES)
        self._projects = Projects(self._session, config)

    @property
    def address(self) -> str:
        return self._projects.address

    def check(self) -> None:
        self._projects.workspace()

    def _there(self, project: str, mapping: ProjectMapping) -> Api | None:
        return self._projects.find(project_name(project, mapping))

    def _made(self, project: str, mapping: ProjectMapping) -> Api:
        return self._projects.make(project_name(project, mapping), project)

    def _check_elsewhere(self, scan: RunScan, api: Api) -> None:
        """The token, or the workspace, may be those of the source."""
        key, facts = scan.key, scan.facts
        if api.to.place.project != key.project or not facts.sys_id:
            return
        try:
            there = api.found(api.of_sys_id(facts.sys_id))
        except NotThereError:
            return
        if there.values.get("sys/creation_time") == facts.start and not there.text(ORIGINAL_RUN):
            raise TargetRefusedError(
                f"run {key} would go to {api.to.address}, where it came from",
                f"Set {WORKSPACE} to another workspace, or MIGRATION_NAME_PREFIX.",
            )
