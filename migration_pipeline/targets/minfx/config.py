"""Settings of the Minfx target: those that neptune-exporter's users know."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets.neptune2.dialect import Dialect, Place, Server
from migration_pipeline.targets.registry import TargetConfig

MINFX = Dialect(
    target="minfx",
    product="Minfx",
    package="minfx.neptune_v2",
    token_variable="MINFX_API_TOKEN",
    elsewhere="set MINFX_PROJECT to another project",
    # internal/backends/utils.py create_swagger_client
    own_host=True,
    configured=False,
    # internal/backends/hosted_neptune_backend.py _execute_operations
    organization=True,
    # internal/backends/operation_api_object_converter.py encode_float_for_json
    words=True,
    # internal/backends/operation_api_name_visitor.py logFiles
    any_file=True,
    # internal/backends/hosted_client.py get_backend_min_client_version
    minimum="/min_client_version",
    # internal/backends/hosted_neptune_backend.py _get_minfx_frontend_url
    pages={
        "localhost": "http://localhost:5000/#link:{project}/{id}",
        "demo.": "https://demo.minfx.ai/#link:{project}/{id}",
        "": "https://app.minfx.ai/#link:{project}/{id}",
    },
)


class MinfxConfig(TargetConfig):
    """minfx itself reads NEPTUNE_API_TOKEN and NEPTUNE_PROJECT, which are the source's here."""

    environment: ClassVar[dict[str, str]] = {
        "api_token": "MINFX_API_TOKEN",
        "project": "MINFX_PROJECT",
    }

    api_token: SecretStr = Field(description="the API token of Minfx; it holds the address, too")
    project: str = Field(description="the project that runs go to, as workspace/project")
    retry_seconds: float = Field(
        default=120.0,
        gt=0,
        description="How long a request is repeated while the server answers 429, 5xx or not at "
        "all",
    )

    @property
    def place(self) -> Place:
        return Place(Server(MINFX, self.api_token), self.project)

    def check_project(self) -> None:
        """
        Raises:
            ConfigError: it is not `workspace/project`.
        """
        workspace, _, name = self.project.partition("/")
        if not workspace or not name or "/" in name:
            raise ConfigError(
                f"MINFX_PROJECT is {self.project!r}, which names no project",
                "Give it as workspace/project, as Minfx shows it.",
            )
