"""What Comet can hold.

Published: Comet's documentation, limits and performance. Kept by its SDK: comet-ml 3.58.8. What
neither says is in `assumed`, with the cautious value.
"""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate
from migration_pipeline.targets.comet.naming import MARKS

_PUBLISHED = "Comet's published limit of online experiments, so it takes at least that long"

CAPABILITIES = Capabilities(
    # the SDK cuts names of parameters and metrics at 100; the server's own limit is not published
    key_max_length=100,
    key_characters=r"\w.\- :/",
    key_is_path=False,
    # parameters by which runs are found
    key_reserved=tuple(MARKS.values()),
    # typed as integers in documentation and SDK; what the server does with others is not published
    integer_steps=True,
    # whether equal ones are kept as two is not published
    repeated_points=False,
    nan=False,
    infinity=False,
    negative_zero=False,
    # the batch endpoint takes ms; without it a point has the time of its arrival
    point_times="required",
    # the SDK cuts values of parameters and others at 1,000
    parameter_max_length=1000,
    parameter_nul=False,
    parameter_types="text",
    tag_max_length=1000,
    string_series="file",
    # its histograms have bins of their own: edges are not kept
    histogram_series="file",
    files="native",
    forks="tag",
    # characters that pages, URLs and object stores take alike
    file_characters=r"\w .=,()@+\-",
    # the server says its limit in the handshake, and no number is published
    file_path_max_length=250,
    # the SDK's default
    points_per_request=1000,
    parameters_per_request=1000,
    rates=(
        Rate(what="points", count=12_000, seconds=60, says=_PUBLISHED),
        Rate(what="parameters", count=10_000, seconds=60, says=_PUBLISHED),
        # "everything else"
        Rate(what="files", count=8_000, seconds=60, says=_PUBLISHED),
    ),
    # published: beyond it the server keeps a sample
    points_kept_per_series=15_000,
    # published
    series_per_run=50_000,
    parameters_per_run=50_000,
    runs_per_project=25_000,
    assumed=(
        "key_max_length",
        "key_characters",
        "integer_steps",
        "repeated_points",
        "nan",
        "infinity",
        "negative_zero",
        "parameter_max_length",
        "parameter_nul",
        "tag_max_length",
        "file_characters",
        "file_path_max_length",
        "points_per_request",
        "parameters_per_request",
    ),
)
TAGS_PER_REQUEST = 500
"""No limit is published."""
EXPERIMENTS_PER_QUESTION = 100
"""Of which the marks are asked for at once; no limit is published."""
