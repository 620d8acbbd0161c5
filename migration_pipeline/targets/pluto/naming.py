"""What things are called at Pluto, beside attributes: projects, runs, their external ids, tags."""

from __future__ import annotations

import re
from json import dumps

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping, RunFacts
from migration_pipeline.mapping.values import without_nul
from migration_pipeline.targets.pluto.capabilities import MOST_TAGS, NAME_MAX_LENGTH

IMPORTED = "import:neptune"
DISCARDED = "import:discarded"


def project_name(project: str, mapping: ProjectMapping, instead: str = "") -> str:
    """Neptune's project, or the one that is set, after the prefix.

    It travels as a header of every ingestion: what is not printable ASCII becomes a dash, as in
    Pluto's own client, and a digest tells apart what would then be the same.
    """
    name = instead or project
    wanted = f"{mapping.name_prefix}/{name}" if mapping.name_prefix else name
    plain = re.sub(r"[^ -~]", "-", wanted).strip() or "-"
    return within(plain, wanted)


def external_id(key: RunKey, attempt: int) -> str:
    """`neptune::<project>::<run>`, by which a run is created at most once; `neptune%model::…` for
    other kinds.

    Runs cannot be deleted with an API key: one that was discarded keeps its id, and the next
    attempt is `neptune~2::…`. It never looks like a display id (`ABC-12`).
    """
    begin = "neptune" if attempt == 1 else f"neptune~{attempt}"
    begin += "" if key.kind == "run" else f"%{key.kind}"
    exact = f"{begin}::{key.project}::{key.run}"
    plain = without_nul(exact)
    if ":" in key.project:
        return f"{plain[: NAME_MAX_LENGTH - 17]}-{layout.digest(f'{begin}{key!r}')}"
    return within(plain, exact)


def run_tag(key: RunKey) -> str:
    """The tag that a run is found by: listings can be asked for tags, not for external ids."""
    return f"neptune:{layout.digest(dumps([key.project, key.kind, key.run]))}"


def run_name(facts: RunFacts) -> str:
    """`sys/name`, as neptune-exporter has it; without one the run's id."""
    name = without_nul(facts.experiment if facts.experiment.strip() else facts.name)
    return within(name, name)


def tags_of(key: RunKey, facts: RunFacts) -> list[str]:
    """Tags of a run: ours, its group where it has one, its own as far as there is room."""
    tags = [IMPORTED, f"import_project:{key.project}", run_tag(key)]
    if len(facts.group_tags) == 1:
        tags.append(f"group:{facts.group_tags[0]}")
    for tag in map(without_nul, facts.tags):
        if tag not in tags and not tag.startswith("group:") and len(tags) < MOST_TAGS:
            tags.append(tag)
    return [without_nul(tag) for tag in tags]


def within(name: str, original: str) -> str:
    """A name cut to what a column holds; with a digest of the original where it is another."""
    if len(name) <= NAME_MAX_LENGTH and name == original:
        return name
    return f"{name[: NAME_MAX_LENGTH - 17]}-{layout.digest(original)}"
