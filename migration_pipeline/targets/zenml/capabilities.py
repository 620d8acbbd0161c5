"""What ZenML can hold. Checked against the installed ZenML's own constants by a test.

All rows of a run lie in one Parquet artifact, in the archive's own schema, so nothing of a series
is lost; what is limited here is what a person sees on the cards of the model version.
"""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities, Rate

CAPABILITIES = Capabilities(
    # keys of nested metadata have no limit of their own; a card must have room for some
    key_max_length=1024,
    # JSON holds any; U+0000 is left out so that no key holds what no key of an archive needs
    key_characters=r"\x01-\U0010ffff",
    key_is_path=False,
    key_folded=False,
    integer_steps=False,
    repeated_points=True,
    nan=True,
    infinity=True,
    negative_zero=True,
    point_times="optional",
    # a card has 65,535 characters (constants.TEXT_FIELD_MAX_LENGTH), and an emoji takes 12 of them
    parameter_max_length=4000,
    parameter_types="native",
    # beside their points in the Parquet artifact
    string_series="file",
    histogram_series="file",
    files="native",
    # model versions do not descend from each other
    forks="tag",
    # of tags together on a card, as of a parameter
    tag_max_length=4000,
    # as for MLflow: a conservative choice that file systems, URLs and object stores take alike
    file_characters=r"\w .=,()@+\-",
    file_path_max_length=250,
    # rows leave as Parquet parts of 50 MB; cards of 60,000 characters, eight a request
    points_per_request=1_000_000,
    parameters_per_request=1000,
    beside="the run's data artifact",
    # more gave nothing on one server worker
    parallel_runs=4,
    # the benchmark `zenml_load` of the tests measures this
    measured=Rate(
        what="points",
        count=250_000,
        seconds=1,
        says="measurement: ZenML 0.98, server with SQLite on 2 cores, without read-back",
    ),
)
CARD_MAX_LENGTH = 60_000
"""Characters of a card as JSON; ZenML drops what exceeds 65,535 (constants.TEXT_FIELD_MAX_LENGTH)
without an error."""
CARDS_PER_REQUEST = 8
DESCRIPTION_MAX_LENGTH = 16_000
"""TEXT in MySQL is 65,535 bytes, a character up to 4 of them."""
TAG_MAX_LENGTH = 255
"""constants.STR_FIELD_MAX_LENGTH"""
NAME_MAX_LENGTH = 255
"""constants.STR_FIELD_MAX_LENGTH, of models, versions and artifacts."""
TAGS_PER_RUN = 100
"""Each is a row of ZenML's own that costs milliseconds; all are on the card."""
LIST_PAGE = 1000
"""Of a listing; the server allows 10,000 (constants.PAGE_SIZE_MAXIMUM)."""
TESTED = "0.98."
"""How the versions of the server begin that were tried."""
