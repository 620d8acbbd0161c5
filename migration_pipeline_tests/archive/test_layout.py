"""Names on disk: neptune-exporter's, and never the same for two things."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.layout import (
    extension_of,
    file_path,
    name_on_disk,
    parse_part_name,
    part_name,
)
from migration_pipeline.archive.manifest import KINDS

# Directories and stems that neptune-exporter wrote, with the names in the rows below them.
WRITTEN_BY_NEPTUNE_EXPORTER = {
    "acme/vision": "acme_vision-d9b30734d12af1cd",
    "acme/tabular": "acme_tabular-114f123d7bd37f37",
    "acme/interrupted": "acme_interrupted-70d25d8a63c94a22",
    "TAB-1": "TAB-1-9cae92b49bbf4436",
    "TAB-5": "TAB-5-fd1078208405a6e1",
    "resnet-005": "resnet-005-000225732e416e14",
    "empty-run": "empty-run-1ef6fc73283fc276",
    "it's a 'quoted' run": "it_s_a__quoted__run-dc08bc5d94e0dcdc",
    "run.1 ü[x]": "run_1_ü_x_-16584b6965e547fa",
    "run_1 ü[x]": "run_1_ü_x_-e7c106ea00f3984a",
}


@pytest.mark.parametrize(("original", "name"), WRITTEN_BY_NEPTUNE_EXPORTER.items())
def test_names_are_those_of_neptune_exporter(original: str, name: str) -> None:
    assert name_on_disk(original) == name


LONG = [
    "x" * 730,
    "ä" * 365,
    "実" * 243,
    "𝔘" * 182,
    "é" * 400,
    "a/" * 365,
]


@pytest.mark.parametrize("run", LONG, ids=lambda r: r[:1])
def test_the_longest_names_are_names_for_a_file_system(run: str, tmp_path: Path) -> None:
    assert name_on_disk(run) != name_on_disk(run[:-1] + "?")
    longest = f"{name_on_disk(run)}_part_12345.01234567.parquet.tmp"
    assert len(os.fsencode(longest)) <= 255
    (tmp_path / longest).touch()
    folder = RunKey("p", run, "model_version").folder
    file = tmp_path / file_path(folder, f"{run}/{run}", "999999999999.999999", "0" * 32, ".jpeg")
    file.parent.mkdir(parents=True)
    file.touch()
    assert all(len(os.fsencode(part)) <= 255 for part in file.parts)


def test_attributes_of_a_thousand_levels_have_a_path(tmp_path: Path) -> None:
    paths = {
        file_path("r", "/".join(["a"] * depth), "", "0" * 32, ".bin") for depth in range(1, 513)
    }
    assert len(paths) == 512
    assert max(len(p) for p in paths) < 300


attributes = st.text(st.characters(), min_size=1, max_size=12) | (
    st.text("ab./_-\0é", min_size=1, max_size=6)
)
steps = st.sampled_from(["", "0.000000", "1.000000", "10.500000", "1.050000"])
contents = st.sampled_from(["0" * 32, "1" * 32])
folders = st.builds(
    lambda run, kind: RunKey("p", run, kind).folder,
    st.sampled_from(["r", "r.1", "r_1", "models", "project"]),
    st.sampled_from(KINDS),
)
files = st.tuples(folders, attributes, steps, contents)


@given(files, files, st.sampled_from(["", ".png", ".gz"]))
@example(("r", "a.b", "", "0" * 32), ("r", "a_b", "", "0" * 32), ".png")
@example(("r", "A", "", "0" * 32), ("r", "a", "", "0" * 32), "")
@example(("r", "a/b", "", "0" * 32), ("r", "a//b", "", "0" * 32), "")
@example(("r", "a", "1.050000", "0" * 32), ("r", "a", "10.500000", "0" * 32), "")
def test_two_files_never_meet(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str], extension: str
) -> None:
    assume(one != other)
    first, second = file_path(*one, extension), file_path(*other, extension)
    # Some file systems do not tell capitals apart.
    assert first.casefold() != second.casefold()
    for path in (first, second):
        parts = path.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert not Path(path).is_absolute()
        assert "\0" not in path
        assert path.endswith(extension)


@given(st.text(), st.integers(0, 10**6))
def test_a_part_is_recognised_whatever_its_run_is_called(run: str, number: int) -> None:
    stem = name_on_disk(run)
    assert parse_part_name(part_name(stem, number)) == (stem, number)
    assert parse_part_name(part_name(stem, number) + ".tmp") is None
    assert parse_part_name(f"{stem}_part_{number}.01234567.parquet.tmp") is None


@pytest.mark.parametrize(
    "name", ["x.parquet", "_part_0.parquet", "x_part_.parquet", "x_part_0.csv"]
)
def test_other_files_are_not_parts(name: str) -> None:
    assert parse_part_name(name) is None


@pytest.mark.parametrize(
    ("stored", "mime", "attribute", "extension"),
    [
        ("runs/1/model.pt", "application/octet-stream", "model", ".pt"),
        ("runs/1/archive.tar.gz", "", "a", ".gz"),
        ("runs/1/image", "image/png", "img.x", ".png"),
        ("runs/1/blob", "", "figures/loss.svg", ".svg"),
        ("runs/1/blob", "no/such", "plain", ""),
        ("a.b/blob", "no/such", "c.d/plain", ""),
        ("x.not an extension", "no/such", "y.also not", ""),
        ("x.toolongforone", "no/such", "y", ""),
    ],
)
def test_the_extension_is_kept(stored: str, mime: str, attribute: str, extension: str) -> None:
    assert extension_of(stored, mime, attribute) == extension
