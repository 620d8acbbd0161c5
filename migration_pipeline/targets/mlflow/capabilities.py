"""What MLflow can hold. Checked against the installed MLflow's own constants by a test."""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate

CAPABILITIES = Capabilities(
    # mlflow/utils/validation.py MAX_ENTITY_KEY_LENGTH
    key_max_length=250,
    # validate_param_and_metric_name; \w is Unicode there as here. A server on Windows refuses the
    # colon.
    key_characters=r"\w.\- :/",
    # path_not_unique
    key_is_path=True,
    # entities/metric.py, the column is BIGINT
    integer_steps=True,
    # the primary key of `metrics` is all of key, time, step, run, value, is_nan
    repeated_points=False,
    # stored as 0 with is_nan (SqlMetric)
    nan=True,
    # sanitize_metric_value puts the largest double in its place
    infinity=False,
    # measured: 0.0 comes back, from SQLite and over HTTP
    negative_zero=False,
    # _validate_metric: timestamp is a number and not negative
    point_times="required",
    earliest_time_ms=0,
    # MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH; longer ones are cut without a word by default
    parameter_max_length=6000,
    tag_max_length=8000,
    # PostgreSQL, which may stand behind any address, has no U+0000 in text
    parameter_nul=False,
    parameter_types="text",
    string_series="file",
    histogram_series="file",
    files="native",
    # no forks; the parent is a tag that its pages show as a tree
    forks="tag",
    # mlflow/utils/uri.py validate_path_is_safe refuses `#`, `\` and, decoded, `..`; the others
    # are a conservative choice that file systems, URLs and object stores take alike
    file_characters=r"\w .=,()@+\-",
    # file systems stop at 4,096 bytes with the root in front, object stores at 1,024
    file_path_max_length=250,
    # MAX_METRICS_PER_BATCH and MAX_ENTITIES_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH
    points_per_request=1000,
    parameters_per_request=100,
    # more threads gave nothing on one server worker
    parallel_runs=4,
    # nothing in the server limits requests; the benchmark `plan` of the tests measures this
    measured=Rate(
        what="points",
        count=8000,
        seconds=1,
        says="measurement: MLflow 3.17's server with one worker on 2 cores, without read-back",
    ),
)
EXPERIMENT_NAME_MAX_LENGTH = 256
"""dbmodels/models.py: the column; the check of the client allows 500."""
RUN_NAME_MAX_LENGTH = 250
"""dbmodels/models.py: the column; SQLite does not enforce it, PostgreSQL does."""
HISTORY_PAGE = 25_000
"""mlflow/store/tracking GET_METRIC_HISTORY_MAX_RESULTS"""
SEARCH_PAGE = 500
"""Runs of a listing: the answer holds all their parameters, so it is far below the server's 50,000.
"""

TESTED_SCHEMAS = {"dc11669786a5": "3.17"}
"""Versions of a database's tables (alembic_version) that points are written into by SQL → the
MLflow that makes them. Into any other they go through MLflow's client."""
TABLE_BATCH = 20_000
"""Points of one transaction: others who want to write wait some 0.2 s."""
IN_A_DATABASE = {
    "points_per_request": TABLE_BATCH,
    "measured": Rate(
        what="points",
        count=50_000,
        seconds=1,
        says="measurement: MLflow 3.17's tables in SQLite on 2 cores, without read-back",
    ),
}
"""What is different where the tracking address is a database."""
DATASET_NAME_MAX_LENGTH, DATASET_DIGEST_MAX_LENGTH = 500, 36
"""mlflow/utils/validation.py MAX_DATASET_NAME_SIZE, MAX_DATASET_DIGEST_SIZE"""
DATASETS_PER_REQUEST = 100
"""Far below MAX_DATASETS_PER_BATCH, 1,000."""
MODEL_NAME_MAX_LENGTH = 256
"""model_registry/dbmodels/models.py: the column"""
MODEL_TEXT_MAX_LENGTH = 5000
"""The same: description, values of tags."""
