"""The README's table of targets is what their capabilities say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from migration_pipeline.errors import ConfigError
from migration_pipeline.targets import table
from migration_pipeline.targets.registry import capabilities_of, target_names

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_says_what_capabilities_say() -> None:
    text = README.read_text(encoding="utf-8")
    assert table.written(text) == text, f"run `{table.COMMAND}`"


def test_every_target_that_can_be_loaded_has_a_column() -> None:
    head, _, *rows = table.table().splitlines()
    assert head == f"|  | {' | '.join(target_names())} |"
    assert [row.count("|") for row in rows] == [head.count("|")] * len(rows)


def test_cells_follow_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = capabilities_of("mlflow")
    cells = {subject: said(mlflow) for subject, said in table.SUBJECTS.items()}
    assert cells["names"] == "up to 250 characters, normalised paths"
    assert cells["steps of float series"] == "whole numbers: × a power of ten"
    assert cells["parameters"] == "text up to 6,000 characters, longer ones kept beside"
    assert cells["times of points"] == "held; that there is none is kept beside; from 1970"
    assert (cells["NaN"], cells["±infinity"], cells["forks"]) == ("held", "kept beside", "as a tag")
    bare = mlflow.model_copy(
        update={"files": "no", "nan": False, "point_times": "dropped", "series_per_run": 5000}
    )
    cells = {subject: said(bare) for subject, said in table.SUBJECTS.items()}
    assert (cells["NaN"], cells["times of points"], cells["files"]) == ("lost", "lost", "not")
    assert cells["published limits"] == "5,000 series a run"
    assert cells["what is kept beside lies in"] == "nowhere"


def test_it_is_written_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    command = [sys.executable, "-m", "migration_pipeline.targets.table", str(readme)]
    subprocess.run(command, check=True)
    expected = f"before\n{table.BEGIN}\n{table.table()}\n{table.END}\nafter\n"
    assert readme.read_text(encoding="utf-8") == expected
    with pytest.raises(ConfigError, match="has no table of targets"):
        table.written("no marks")
