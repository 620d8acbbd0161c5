"""What a server of Neptune's 2.x protocol can hold, as its clients and its specification say.

The specification is that of the API in minfx's repository (apis/leaderboard.json, Neptune's own
contract), the client is minfx 0.7.4; what is said of Neptune's documentation is its page on field
types.
"""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate

MOVED = (("sys/", "import/sys/"), ("import/", "import/import/"))
"""Beginnings of names that the server or we write ourselves, and what stands for them."""

CAPABILITIES = Capabilities(
    # Neptune's documentation of limits: a field's path has at most 1,024 bytes; a quarter of it
    # holds in any script
    key_max_length=256,
    # any character, but those that cannot be seen, and the one that quotes names in queries
    key_characters=r" -_a-~\u00a0-\U0010ffff",
    # internal/utils/paths.py: empty parts vanish
    key_is_path=True,
    # names are compared as they are
    key_folded=False,
    key_moved=MOVED,
    # a parameter, a series and a file are all attributes
    keys_together=True,
    # metadata_containers/metadata_container.py: a run with `a` and `a/b` cannot be opened
    keys_apart=True,
    key_reserved=("sys", "import"),
    # LogFloatEntry: step is a double
    integer_steps=False,
    double_steps=True,
    # Neptune's documentation of append(): steps must increase, others are dropped
    monotonic_steps=True,
    # of a step that is there already nothing arrives, so there are none to tell apart
    repeated_points=True,
    # operation_api_object_converter.py sends words for these; apis/leaderboard.json says number
    nan=True,
    infinity=True,
    negative_zero=True,
    # LogFloatEntry: timestampMilliseconds is required
    point_times="required",
    # attributes/atoms/string.py MAX_VALUE_LENGTH: the client cuts what is longer
    parameter_max_length=16_384,
    # the databases behind it are not known: none may have U+0000 in text
    parameter_nul=False,
    parameter_types="native",
    string_series="native",
    text_points=True,
    # types/series/string_series.py MAX_STRING_SERIES_VALUE_LENGTH: the client cuts what is longer
    text_point_max_length=16_384,
    histogram_series="file",
    files="native",
    # nothing of the kind in the protocol: attributes below import/forking
    forks="tag",
    # string sets: as for strings
    tag_max_length=16_384,
    # attributes/series/float_series.py takes 100 an operation; the fastest that was measured
    points_per_request=5_000,
    # internal/init/parameters.py ASYNC_BATCH_SIZE: 1,000 operations a request
    parameters_per_request=1_000,
    # more gave nothing on one server
    parallel_runs=4,
    measured=Rate(
        what="points",
        count=40_000,
        seconds=1,
        says="measurement: this project's own server on 2 cores, without read-back",
    ),
    assumed=(
        "key_max_length",
        "monotonic_steps",
        "nan",
        "infinity",
        "negative_zero",
        "parameter_nul",
    ),
)
WHOLE_NUMBERS = range(-(2**31), 2**31)
"""AssignIntOperation: int32."""
DATETIMES_MS = range(-62_135_596_800_000, 253_402_300_800_000)
"""Years 1 to 9999, which the answers' format has; others are text."""
TEXT_POINTS_PER_OPERATION = 1_000
ELEMENT_MAX_BYTES = 8 << 20
"""Of a file in a series, which travels as base64 in an operation; the client's limit is 32 MB."""
OPERATIONS_BYTES = 4 << 20
"""Of one request with operations, where they could be large."""
PART_BYTES = 5 << 20
"""Larger files go in parts of this size, unless the server wants others (its client config)."""
POINTS_PAGE = 10_000
"""Points asked for at once; a server gives as many as it likes (1,000 is what clients ask for)."""
RUNS_PAGE = 1_000
WINDOW = 10_000
"""internal/init/parameters.py MAX_SERVER_OFFSET: offset + limit of a listing."""
CUSTOM_ID_LENGTH = 36
"""The client ignores longer ones."""
