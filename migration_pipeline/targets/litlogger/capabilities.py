"""What Lightning AI's experiments can hold, as far as it is known.

The server's source and its limits are not published. What is known comes from the clients,
litlogger 2026.8.28 and lightning-sdk 2026.10.13, and from litlogger's own tests against the real
service; what they do not say either is in `assumed`, with the cautious value.
"""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate

MARKS = "neptune."
"""How the names of our tags begin, among those of parameters."""
_MARK_NAMES = tuple(
    f"{MARKS}{name}"
    for name in (
        "load_state",
        "verified",
        "mapping_version",
        "digest",
        "fingerprint",
        "step_decimals",
        "step_multiplier",
        "damaged",
        "loaded_by",
        "project",
        "run_id",
        "kind",
        "sys_id",
        "owner",
        "experiment",
        "description",
        "tags",
        "group_tags",
        "start",
        "end",
        "fork.parent",
        "fork.step",
        "fork.parent_experiment",
    )
)

CAPABILITIES = Capabilities(
    key_max_length=250,
    # `/` and `.` are in litlogger's documentation; control characters are kept out
    key_characters=r"\w.\- :/",
    key_is_path=True,
    key_reserved=_MARK_NAMES,
    # openapi v1_metric_value: int64, carried as text
    integer_steps=True,
    one_point_per_step=True,
    repeated_points=False,
    # litlogger/series.py leaves them out, and JSON has no such numbers
    nan=False,
    infinity=False,
    negative_zero=False,
    # `createdAt`; a value without it would have none, or that of its arrival
    point_times="required",
    # protobuf's Timestamp: the years 1 to 9999
    earliest_time_ms=-62_135_596_800_000,
    latest_time_ms=253_402_300_799_999,
    parameter_max_length=1000,
    parameter_nul=False,
    # metrics_api.py: values of tags are text
    parameter_types="text",
    tag_max_length=1000,
    # there is text as media, one file and three requests for each line
    string_series="file",
    histogram_series="file",
    files="native",
    forks="tag",
    file_characters=r"\w .=,()@+\-",
    # object stores stop at 1,024 bytes, and the name of the experiment stands in front
    file_path_max_length=250,
    # background.py: max_batch_size
    points_per_request=1000,
    # an update replaces all tags, so they are sent at once
    parameters_per_request=1_000_000,
    parallel_runs=4,
    rates=(
        Rate(
            what="points",
            count=1000,
            seconds=1,
            says="the pace of Lightning's own client, which LITLOGGER_REQUESTS_PER_SECOND changes",
        ),
    ),
    assumed=(
        "key_max_length",
        "key_characters",
        "one_point_per_step",
        "repeated_points",
        "infinity",
        "negative_zero",
        "point_times",
        "parameter_max_length",
        "parameter_nul",
        "tag_max_length",
        "file_characters",
        "file_path_max_length",
    ),
)
REQUESTS_PER_SECOND = 1.0
"""background.py: rate_limiting_interval, "to respect API limits"."""
NAME_MAX_LENGTH = 64
"""Of experiments and teamspaces: neptune-exporter cuts them there; not published."""
PART_BYTES = 100 * 1024 * 1024
"""lightning_sdk/api/utils.py: larger files go in parts of this size."""
MAX_PARTS = 10_000
"""The same: more parts than S3, R2 and GCS take are made fewer and larger."""
LIST_PAGE = 100
"""Experiments of a page: each comes with all its tags."""
POINTS_PAGE = 200_000
"""Points of one answer, about: they are asked for by ranges of steps."""
POINTS_BYTES = 64 * 1024 * 1024
"""Of an answer that is taken whole; a longer one is asked for in halves."""
EARLIEST_STEP, LATEST_STEP = -(2**63), 2**63 - 1
