"""What Pluto can hold. Sources are files of pluto-server, whose code is public."""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate

LARGEST_STEP = 2**53
"""Steps are unsigned 64-bit integers (ingest/src/models/metrics.rs); what reads them are numbers of
JavaScript, which are doubles."""

CAPABILITIES = Capabilities(
    # schema.prisma: RunLogs.logName has no length; ClickHouse's String has none either. A page
    # shows no more.
    key_max_length=1000,
    # any text; PostgreSQL has no U+0000, and control characters are shown by no page
    key_characters=r"\x20-\x7e\xa0-\U0010ffff",
    # names of metrics that are blank are refused (models/metrics.rs validate)
    key_first_character=r"\x21-\x7e\xa1-\U0010ffff",
    key_is_path=False,
    key_folded=False,
    # our own marks; and what JavaScript takes for an object's ancestor when it merges
    key_reserved=("neptune", "__proto__"),
    integer_steps=True,
    # models/metrics.rs: u64
    step_range=(0, LARGEST_STEP),
    # 05_metrics_dedup.sql: one row a run, name and step; the highest time wins
    one_point_per_step=True,
    repeated_points=False,
    # models/metrics.rs MetricValue; a read gives 0 and a flag (queries/run-metrics.ts)
    nan=True,
    infinity=True,
    # JSON.stringify(-0) is 0
    negative_zero=False,
    point_times="required",
    # DateTime64(3) of ClickHouse, from unsigned milliseconds
    earliest_time_ms=0,
    latest_time_ms=10_413_791_999_000,
    # no limit was found; a listing answers with the whole configuration of each of its 200 runs
    parameter_max_length=65_536,
    # jsonb of PostgreSQL
    parameter_nul=False,
    parameter_types="native",
    # string-series and histograms are sent as such too, but no interface that takes an API key
    # gives them back (runs-openapi.ts), and histograms have even bins (histogram.schema.ts)
    string_series="file",
    histogram_series="file",
    files="native",
    # forkRunId and forkStep of a new run
    forks="native",
    # object keys of S3: org/project/run/logName/fileName; what URLs and S3 take alike
    file_characters=r"\w .=,@+\-",
    # S3 stops at 1,024 bytes of UTF-8 with all of the key
    file_path_max_length=200,
    # no limit in the server: an unbounded stream of lines (ingest/src/processors/stream.rs). These
    # are 3 to 7 MB; what a proxy before it takes is not known, see FLUSH_EVERY of the settings
    points_per_request=100_000,
    parameters_per_request=1000,
    parallel_runs=4,
    measured=Rate(
        what="points",
        count=150_000,
        seconds=1,
        says="measurement: a stand-in for its ingestion on 2 cores, without read-back",
    ),
    assumed=(
        "key_max_length",
        "parameter_max_length",
        "file_path_max_length",
        "points_per_request",
    ),
)
NAME_MAX_LENGTH = 255
"""schema.prisma: VARCHAR(255) of runs' and projects' names and external ids."""
MOST_TAGS = 50
"""lib/limits.ts"""
RUNS_PER_PAGE = 200
METRIC_POINTS_PER_PAGE = 10_000
"""runs-openapi.ts: limits of /api/runs/list and of /api/runs/metrics for each metric."""
FILES_PER_LISTING = 1000
"""queries/run-files.ts: there is no paging."""
PRESIGNED_PER_REQUEST = 1000
"""Of a body that axum stops at 2 MB (ingest/src/routes/files.rs)."""
LINES_PER_REQUEST = 10_000
"""Of text and histograms; ours."""
LAST_TIME_MS = 8_640_000_000_000_000
"""runs-openapi.ts, createdAt and statusUpdated."""
