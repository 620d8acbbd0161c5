"""Run config of an export: which runs and attributes, as neptune-exporter's options say it."""

from typing import cast

import dagster as dg
from pydantic import Field

from migration_pipeline.archive.manifest import Kind
from migration_pipeline.sources.source import Selection

MAX_CHUNKS, MIN_CHUNK = 200, 50


class ExportConfig(dg.Config):
    """Everything by default."""

    kinds: list[str] = Field(
        default=[],
        description="Only these: run, model, model_version, project (its metadata). Neptune 3.x "
        "has runs only.",
    )
    run_regex: str = Field(
        default="",
        description="Only runs whose id matches (searched). 2.x: the sys/id of every kind.",
    )
    run_ids: list[str] = Field(default=[], description="Exactly these runs.")
    runs_query: str = Field(default="", description="Only runs that this NQL finds.")
    models_query: str = Field(
        default="", description="2.x: only models and model versions that this NQL finds."
    )
    attribute_regex: str = Field(default="", description="Only attributes whose path matches.")
    attribute_names: list[str] = Field(default=[], description="Exactly these attributes.")
    classes: list[str] = Field(
        default=[], description="Only these: parameters, metrics, series, files."
    )
    exclude: list[str] = Field(default=[], description="Not these classes.")
    archived: bool = Field(default=True, description="Archived (2.x: trashed) ones as well.")
    previews: bool = Field(default=False, description="Points marked as previews as well.")
    chunk_size: int = Field(
        default=0,
        ge=0,
        description=f"Runs a step; 0: {MIN_CHUNK}, or as many as make {MAX_CHUNKS} steps.",
    )

    def selection(self) -> Selection:
        return Selection(
            kinds=tuple(cast(list[Kind], self.kinds)),  # it refuses what is none
            runs_query=self.runs_query,
            models_query=self.models_query,
            run_regex=self.run_regex,
            run_ids=tuple(self.run_ids),
            attribute_regex=self.attribute_regex,
            attribute_names=tuple(self.attribute_names),
            classes=tuple(self.classes),
            exclude=tuple(self.exclude),
            archived=self.archived,
            previews=self.previews,
        )
