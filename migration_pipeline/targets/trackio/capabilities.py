"""What Trackio's local storage can hold: the tables of trackio 0.43, tried by tests."""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate
from migration_pipeline.targets.local.times import EARLIEST, LATEST

CAPABILITIES = Capabilities(
    # sqlite_storage.py: keys of JSON objects, without a limit
    key_max_length=1_000_000,
    # JSON takes everything; control characters would only be invisible
    key_characters=r"\x20-\x7e\xa0-\U0010ffff",
    key_is_path=False,
    # keys of JSON objects are compared letter by letter
    key_folded=False,
    # utils.py RESERVED_KEYS; run.py adds the three with an underscore to each config; `neptune` is
    # what we add
    key_reserved=(
        *("project", "run", "timestamp", "step", "time", "metrics"),
        *("_Created", "_Group", "_Username", "neptune"),
    ),
    # sqlite_storage.py: step INTEGER, which in SQLite takes fractions as they are
    integer_steps=False,
    double_steps=True,
    # a row a point if need be
    repeated_points=True,
    # utils.py serialize_values: "NaN", "Infinity"
    nan=True,
    infinity=True,
    # JSON has -0.0
    negative_zero=True,
    # sqlite_storage.py: timestamp NOT NULL; its readers take years 1 to 9999
    point_times="required",
    earliest_time_ms=EARLIEST,
    latest_time_ms=LATEST,
    # no limit is known; its pages load the configs of all runs at once, so longer ones are cut
    parameter_max_length=100_000,
    parameter_types="native",
    # its text types are reports and tables of one step: a file in the run's artifact
    string_series="file",
    # histogram.py: bins and values are kept as they are
    histogram_series="native",
    # artifact.py: an artifact of the run, its bytes below `artifacts`
    files="native",
    forks="tag",
    # cas.py validate_logical_path refuses backslashes, `.` and `..`
    file_characters=r"\w .=,()@+\-",
    file_path_max_length=700,
    beside="tables neptune_* in the project's database",
    points_per_request=65_536,
    parameters_per_request=1000,
    # one database a project, and SQLite has one writer at a time
    parallel_runs=1,
    measured=Rate(
        what="points",
        count=300_000,
        seconds=1,
        says="measurement: trackio 0.43 on 2 cores, without read-back",
    ),
)
TESTED_SCHEMAS = (2,)
"""trackio/sqlite_storage.py SCHEMA_VERSION"""
