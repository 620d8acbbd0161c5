"""What W&B can hold.

Documented: docs.wandb.ai, limits, logging, tags. Code: the SDK 0.29 and its wandb-core. The server
of the service is not public; what nobody says is in `assumed`, with the cautious value.
"""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate

STEP = "neptune_step"
"""The step metric: W&B's own `_step` is a whole number that must grow, so it only counts rows."""
MARK, RUN_KEY = "neptune", "neptune_run_key"
"""Keys of config that are ours: what was loaded, and by what a run is found."""

CAPABILITIES = Capabilities(
    # no limit is published; Neptune's own paths end at 1,024 bytes
    key_max_length=1024,
    # documented: any string is stored; control characters are left out as a precaution
    key_characters=r"\u0020-\u007e\u00a0-\ud7ff\ue000-\U0010ffff",
    key_is_path=False,
    # what wandb-core adds to rows and config, and what this target does
    key_reserved=(
        *("_step", "_timestamp", "_runtime", "_wandb", "wandb_version"),
        *(STEP, MARK, RUN_KEY),
    ),
    # a step metric is a number like any other
    integer_steps=False,
    double_steps=True,
    # two equal rows would both be kept, but nothing would tell a point from a stand-in that equals
    # it, so the second one is kept beside
    repeated_points=False,
    # wandb-core writes NaN and Infinity into rows, and the read API gives them back
    nan=True,
    infinity=True,
    negative_zero=False,
    # each row that the SDK writes has `_timestamp`
    point_times="required",
    # documented advice: less than 1 MB a value; a character has up to four bytes
    parameter_max_length=250_000,
    parameter_nul=False,
    parameter_types="native",
    string_series="file",
    histogram_series="native",
    files="native",
    # forks are a preview that only some servers have
    forks="tag",
    # documented, and the server answers 400
    tag_max_length=64,
    file_characters=r"\w .=,()@+\-",
    file_path_max_length=250,
    points_per_request=200_000,
    parameters_per_request=10_000,
    # rates of the service are not published; a dedicated cloud takes 2 requests a second and run
    parallel_runs=4,
    measured=Rate(
        what="points",
        count=30_000,
        seconds=1,
        says="measurement: against a stand-in on 2 cores, one series a row, without read-back",
    ),
    assumed=(
        *("key_max_length", "key_characters", "key_folded", "negative_zero", "infinity"),
        *("parameter_nul", "point_times"),
        *("file_characters", "file_path_max_length"),
    ),
)
TAG_MAX_LENGTH = 64
"""sdk/wandb_settings.py, and the server's answer 400."""
PROJECT_MAX_LENGTH = 128
"""sdk/wandb_settings.py validate_project."""
RUN_NAME_MAX_LENGTH = 128
"""The server refuses longer ones."""
REQUEST_BYTES = 8 * 2**20
"""Of rows in one request: wandb-core cuts at 10 MiB."""
POINTS_OF_A_ROW = 20_000
ROW_BYTES = 8 * 2**20
"""Below the 10 MiB of a row at which wandb-core leaves it out: fewer points if names are long."""
HISTORY_PAGE = 10_000
"""Rows of a page of history; the SDK lets its user choose any number."""
MOST_BINS = 512
"""sdk/data_types/histogram.py MAX_LENGTH"""
LIST_PAGE = 100
"""Runs, or files, of a page."""
