"""All that Dagster knows."""

import warnings

import dagster as dg

# Partitions of asset checks and owners of jobs are previews in Dagster 1.13; the snapshot of the
# graph and the tests of this folder would show a change of them.
for _category in (dg.PreviewWarning, dg.BetaWarning):
    warnings.filterwarnings("ignore", category=_category)
