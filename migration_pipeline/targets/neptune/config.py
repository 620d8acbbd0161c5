"""Settings of the Neptune target. The client's own variables are the source's here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from migration_pipeline.targets.neptune2.dialect import Dialect, Server
from migration_pipeline.targets.registry import TargetConfig

TOKEN, WORKSPACE = "MIGRATION_NEPTUNE_API_TOKEN", "MIGRATION_NEPTUNE_WORKSPACE"
VISIBILITY = "MIGRATION_NEPTUNE_VISIBILITY"
NEPTUNE = Dialect(
    target="neptune",
    product="Neptune",
    package="neptune",
    token_variable=TOKEN,
    elsewhere=f"set {WORKSPACE} to another workspace",
    # internal/backends/swagger_client_wrapper.py: as the server's documents say
    own_host=False,
    # internal/backends/hosted_client.py get_client_config
    configured=True,
    # internal/backends/hosted_neptune_backend.py _execute_operations
    organization=False,
    # internal/backends/operation_api_object_converter.py: as JSON has them
    words=False,
    # attributes/series/file_series.py: images
    any_file=False,
    minimum="",
    # internal/backends/hosted_neptune_backend.py get_run_url
    pages={"": "{base}/{project}/e/{id}"},
)


class NeptuneConfig(TargetConfig):
    """Where runs go: any server of Neptune 2.x. NEPTUNE_API_TOKEN and NEPTUNE_PROJECT, which the
    client itself reads, are the source's and never used here."""

    environment: ClassVar[dict[str, str]] = {
        "api_token": TOKEN,
        "workspace": WORKSPACE,
        "visibility": VISIBILITY,
    }

    api_token: SecretStr = Field(
        description="the API token of the server that runs go to; it holds the address, too"
    )
    workspace: str = Field(
        default="",
        description="Workspace that gets the projects; empty: the only one of the token's user",
    )
    visibility: Literal["priv", "pub", "workspace"] = Field(
        default="priv", description="Who sees the projects that are made"
    )
    retry_seconds: float = Field(
        default=120.0,
        gt=0,
        description="How long a request is repeated while the server answers 429, 5xx or not at "
        "all",
    )

    @property
    def server(self) -> Server:
        return Server(NEPTUNE, self.api_token)
