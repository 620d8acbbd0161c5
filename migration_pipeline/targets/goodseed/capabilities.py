"""What GoodSeed's local storage can hold: the tables of goodseed 0.4, tried by tests."""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate
from migration_pipeline.targets.local.times import EARLIEST, LATEST

CAPABILITIES = Capabilities(
    # storage.py: TEXT, without a limit
    key_max_length=1_000_000,
    # TEXT takes everything; control characters would only be invisible
    key_characters=r"\x20-\x7e\xa0-\U0010ffff",
    # utils.py normalize_path strips outer slashes wherever a path is asked for
    key_is_path=True,
    # storage.py: the keys are compared byte by byte
    key_folded=False,
    # storage.py: step REAL
    integer_steps=False,
    double_steps=True,
    # storage.py: PRIMARY KEY (series_id, step)
    one_point_per_step=True,
    repeated_points=False,
    # storage.py: y REAL NOT NULL, and SQLite has no NaN but NULL
    nan=False,
    infinity=True,
    # SQLite keeps a REAL that is whole as an integer, which has no -0
    negative_zero=False,
    # storage.py: ts NOT NULL, in seconds; fractions are kept and shown
    point_times="required",
    # storage.py _ts_to_iso: years 1 to 9999
    earliest_time_ms=EARLIEST,
    latest_time_ms=LATEST,
    parameter_max_length=None,
    # utils.py serialize_value
    parameter_types="native",
    string_series="native",
    # no such tables: kept beside, in the same file
    histogram_series="file",
    # nothing of the kind: copied into a folder of its own
    files="file",
    # run_meta and the sys/forking attributes
    forks="tag",
    file_characters=r"\w .=,()@+\-",
    # file systems stop at 4,096 bytes with the folder in front
    file_path_max_length=700,
    beside="tables neptune_* in the run's file",
    points_per_request=65_536,
    parameters_per_request=1000,
    # a file a run; more threads only share one interpreter
    parallel_runs=2,
    measured=Rate(
        what="points",
        count=400_000,
        seconds=1,
        says="measurement: goodseed 0.4 on 2 cores, without read-back",
    ),
)
TESTED_SCHEMAS = (1,)
"""goodseed/storage.py SCHEMA_VERSION"""
NAME_MAX_LENGTH = 200
"""goodseed/run.py _MAX_EXPERIMENT_NAME_LEN"""
RUN_ID_MAX_LENGTH = 128
"""goodseed/run.py _MAX_RUN_ID_LEN"""
