"""Named hostile data sets: what every target must carry, or say beforehand that it cannot.

Each is one or more runs, written into an archive by the package's own writer. A target passes when
each run is loaded, read back and found equal, but for the losses that its capabilities name.
"""

from __future__ import annotations

from migration_pipeline_tests.contract import content, names, neptune2, runs, values
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    Archive,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    floats,
    of,
    param,
    write_run,
)

__all__ = [
    "ALL_DATASETS",
    "BY_NAME",
    "DATASETS",
    "PROJECT",
    "START",
    "STEPS_THAT_MEET",
    "Archive",
    "DataSet",
    "Row",
    "RunData",
    "build",
    "curve",
    "floats",
    "of",
    "param",
    "write_run",
]

DATASETS = [
    *values.DATASETS,
    *names.DATASETS,
    *content.DATASETS,
    *runs.DATASETS,
]
"""Of runs, as both protocols have them."""
ALL_DATASETS = [*DATASETS, *neptune2.NEPTUNE2_DATASETS]
BY_NAME = {dataset.name: dataset for dataset in ALL_DATASETS}

STEPS_THAT_MEET = (
    DataSet(
        "steps that meet after scaling",
        (
            RunData("MEETS", tuple(floats("m/a", [("0.25", START, 1.0), ("0.5", START, 2.0)]))),
            RunData("WHOLE", tuple(curve("m/a", 3))),
        ),
    ),
    1,
)
"""A data set, and the step multiplier with which two steps of its first run become one."""
