"""What the README says is so: its lines, its variables, its jobs, and the imports of the house."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from migration_pipeline.targets.registry import config_class, target_names
from migration_pipeline_tests.machine import lacks

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
PACKAGE = REPOSITORY / "migration_pipeline"
TOP_LEVEL = {
    "pyproject.toml",
    "migration_pipeline",
    "migration_pipeline_tests",
    "workspace.yaml",
    "dagster.yaml",
    "README.md",
    "LICENSE",
    ".ci",
    ".gitignore",
}
INTERNAL = {"MIGRATION_DEMO_TOKEN", "MIGRATION_DEMO_MLFLOW"}
"""Variables that the demo sets for itself."""


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


TARGET_SECTIONS = section("Targets").split("\n### ")[1:]


def sources() -> str:
    return "\n".join(p.read_text() for p in sorted(PACKAGE.rglob("*.py")))


def test_quick_start_is_two_lines() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", section("Quick start"), re.DOTALL)
    assert blocks == [
        "pip install uv && DAGSTER_HOME=$PWD uv run --extra mlflow dagster job execute "
        "-m migration_pipeline.definitions -j demo\n",
        "pip install uv && uv run --all-extras pytest\n",
    ]


def test_every_setting_is_described_and_exists() -> None:
    text = section("Settings") + section("Targets")
    described = set(re.findall(r"\b(?:MIGRATION|NEPTUNE)_[A-Z_]+\b", text))
    used = set(re.findall(r"\bMIGRATION_[A-Z_]+\b", sources()))
    assert used - INTERNAL <= described
    assert all(variable in sources() for variable in described)


@pytest.mark.parametrize("name", target_names())
def test_every_setting_of_a_target_is_in_its_section(name: str) -> None:
    section_of = {part.split()[0].strip(":").lower(): part for part in TARGET_SECTIONS}
    for variable in config_class(name).environment.values():
        assert f"`{variable}`" in section_of[name] or f"${variable}" in section_of[name]


def test_every_job_is_described() -> None:
    from migration_pipeline.definitions import defs

    described = set(re.findall(r"^\| `(\w+)` \|", section("Your own server"), re.MULTILINE))
    jobs = {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert described == jobs


def test_what_the_table_of_losses_names_is_what_capabilities_say() -> None:
    from migration_pipeline.targets.registry import capabilities_of

    mlflow, said = capabilities_of("mlflow"), section("What does not survive")
    assert f"{mlflow.parameter_max_length:,}" in said
    assert f"longer than {mlflow.key_max_length}" in said
    assert (mlflow.infinity, mlflow.negative_zero, mlflow.repeated_points) == (False,) * 3
    assert (mlflow.integer_steps, mlflow.forks, mlflow.string_series) == (True, "tag", "file")


def test_top_level_holds_what_was_agreed() -> None:
    if not (REPOSITORY / ".git").exists():
        lacks("this is no git checkout, so what belongs to it is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert {name.split("/")[0] for name in listed if name} <= TOP_LEVEL


FLOORS = (
    *("errors", "plain_http", "progress", "wandb_sdk"),
    *("archive", "mapping", "sources", "targets", "verify"),
)
BELOW = {"errors", "plain_http", "progress", "wandb_sdk"}
MAY_IMPORT = {
    "archive": {"errors", "archive"},
    "mapping": {"errors", "archive", "mapping"},
    "sources": {"sources", "mapping", "archive"} | BELOW,
    "targets": {"targets", "verify", "mapping", "archive"} | BELOW,
    "verify": {"errors", "archive", "mapping", "targets", "verify"},
    "status": {"archive", "status"},
    "neptune_server": {"errors", "archive", "neptune_server"},
}
"""Floor → what it imports. `targets.loading` calls `verify`, which knows targets by protocol."""


@pytest.mark.parametrize("floor", MAY_IMPORT)
def test_imports_point_downward(floor: str) -> None:
    for module in (PACKAGE / floor).rglob("*.py"):
        text = module.read_text()
        assert not re.search(r"^\s*(from|import) dagster", text, re.MULTILINE), module
        imported = set(re.findall(r"from migration_pipeline\.(\w+)", text))
        assert imported <= MAY_IMPORT[floor], f"{module} imports {imported - MAY_IMPORT[floor]}"
        assert "migration_pipeline_tests" not in text, module


def test_nothing_vanishes_in_an_except() -> None:
    """No handler of everything that only goes on."""
    everything = r"except(?: \(?(?:Base)?Exception\)?(?: as \w+)?)?:\n"
    swallowing = re.compile(everything + r"\s+(?:pass|continue|return(?: None)?)\n")
    for module in PACKAGE.rglob("*.py"):
        assert not swallowing.search(module.read_text()), module
