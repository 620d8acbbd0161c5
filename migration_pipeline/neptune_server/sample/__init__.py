"""The sample workspace that the demo moves: `sample.zip`, an archive of three projects.

`acme/digits` holds real trainings, `acme/hostile` what breaks migrations, `acme/tabular` a project
of Neptune 2.x. `make_sample` made the zip; it stays here so that everybody can see where each
number comes from.
"""

from pathlib import Path

SAMPLE_ZIP = Path(__file__).with_name("sample.zip")
"""Unpacked it is `data/` and `files/` of an archive."""
