"""What the dummy can hold: everything, because it keeps the archive's rows as they are."""

from __future__ import annotations

from migration_pipeline.mapping.terms import Capabilities

CAPABILITIES = Capabilities(
    verbatim=True,
    key_max_length=2**31,
    key_characters=r"\s\S",
    key_is_path=False,
    integer_steps=False,
    repeated_points=True,
    nan=True,
    infinity=True,
    negative_zero=True,
    point_times="optional",
    parameter_types="native",
    string_series="native",
    histogram_series="native",
    files="native",
    forks="native",
    # as many as trackers usually take, so that a rehearsal makes as many calls
    points_per_request=1000,
    parameters_per_request=1000,
)
