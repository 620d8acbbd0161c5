"""An archive that neptune-exporter wrote is read whole, and known for what it is.

Three of its runs are kept under `data/`; two of them have names that its files do not tell apart.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.schema import SCHEMA, VALUE_COLUMN

FOLDER = Path(__file__).parent.parent / "data" / "neptune-exporter"
PROJECT = "acme/vision"
RUNS = ("empty-run", "run.1 ü[x]", "run_1 ü[x]")


@pytest.fixture
def archive() -> Archive:
    return Archive(FOLDER / "data", FOLDER / "files")


def test_projects_and_runs_have_their_original_names(archive: Archive) -> None:
    assert archive.projects() == [PROJECT]
    runs = archive.runs(PROJECT)
    assert set(runs) == {RunKey(PROJECT, run) for run in RUNS}
    assert {run.manifest for run in runs.values()} == {None}
    keys = [RunKey(PROJECT, run) for run in RUNS]
    assert archive.manifests(PROJECT, keys) == dict.fromkeys(keys)


@pytest.mark.parametrize("run", RUNS)
def test_every_row_is_read_as_pyarrow_reads_it(archive: Archive, run: str) -> None:
    found = archive.find(RunKey(PROJECT, run))
    assert found is not None
    (part,) = found.parts
    direct = pq.read_table(part).cast(SCHEMA)
    assert set(direct["run_id"].to_pylist()) == {run}
    ours = pa.Table.from_batches(found.batches()).cast(SCHEMA)
    # Not `equals`, to which NaN is no NaN.
    assert (
        ours.replace_schema_metadata().to_pydict() == direct.replace_schema_metadata().to_pydict()
    )
    assert ours.num_rows == (36 if run == "empty-run" else 825)


def test_some_values_of_it(archive: Archive) -> None:
    """What is known to be in there, so that both readers cannot be wrong alike."""
    found = archive.find(RunKey(PROJECT, "run_1 ü[x]"))
    assert found is not None
    rows = [row for batch in found.batches() for row in batch.to_pylist()]
    first = {}
    for row in rows:
        value = row[VALUE_COLUMN[row["attribute_type"]]]
        first.setdefault(row["attribute_path"], (row["step"], value))
    assert first["config/lr"] == (None, 1.859208845798352e-05)
    assert first["names/a.b"] == (None, "dot")
    assert first["names/a_b"] == (None, "underscore")
    assert first["sys/tags"] == (None, ["baseline", "batch-2"])
    assert first["only/here"] == (None, None)  # another run's attribute, written by pandas
    assert first["big/int"] == (None, 9007199254740996)  # and a number that pandas rounded
    assert first["odd/bigstep"][0] == Decimal("123456789.123456")
    assert first["predictions"][0] == Decimal("0.25")
    assert (
        found.file(first["files/a.b"][1]["path"]).read_bytes()
        == found.file(first["files/a_b"][1]["path"]).read_bytes()
    )


def test_sums_are_made_of_files_too(archive: Archive, tmp_path: Path) -> None:
    found = archive.find(RunKey(PROJECT, "run_1 ü[x]"))
    assert found is not None
    sums = found.sums()
    assert sums.rows == 825
    assert sums.attributes["predictions", "file_series"].rows == 2
    assert sums.digest() == found.sums().digest()
    other = archive.find(RunKey(PROJECT, "run.1 ü[x]"))
    assert other is not None
    assert other.sums().digest() != sums.digest()
