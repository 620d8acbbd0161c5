"""Where a run lies in GoodSeed's folder, and what it is called there.

Two runs never share a name: an id that GoodSeed takes stays as it is, any other is cleaned and gets
a digest of the original.
"""

from __future__ import annotations

import re
from pathlib import Path

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.goodseed.capabilities import NAME_MAX_LENGTH, RUN_ID_MAX_LENGTH

# goodseed/run.py _RUN_ID_RE
_RUN_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DIGESTED = re.compile(r".*-[0-9a-f]{16}", re.DOTALL)
# goodseed/run.py _has_dangerous_experiment_name_chars
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]")


def run_id(key: RunKey) -> str:
    """GoodSeed's id of a run: letters, digits, `_`, `-`, at most 128."""
    legal = len(key.run) <= RUN_ID_MAX_LENGTH and _RUN_ID.fullmatch(key.run)
    if key.kind == "run" and legal and not _DIGESTED.fullmatch(key.run):
        return key.run
    name = key.run if key.kind == "run" else f"{key.kind}-{key.run}"
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name).strip("_-")[:100] or "run"
    return f"{clean}-{layout.digest(f'{key.kind}|{key.run}')}"


def project_folder(project: str, mapping: ProjectMapping) -> str:
    """A project's folder below `projects`: `[<prefix>/]<workspace>/<project>`."""
    name = f"{mapping.name_prefix}/{project}" if mapping.name_prefix else project
    return "/".join(_segment(s) for s in name.split("/"))


def _segment(name: str) -> str:
    if _SEGMENT.fullmatch(name) and not _DIGESTED.fullmatch(name):
        return name
    clean = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip("._-")[:60] or "project"
    return f"{clean}-{layout.digest(name)}"


def shown_name(name: str) -> str:
    """A run's name as GoodSeed accepts it: without invisible characters, at most 200."""
    text = _UNSHOWN.sub("_", name)
    if len(text) <= NAME_MAX_LENGTH:
        return text
    return f"{text[: NAME_MAX_LENGTH - 17]}-{layout.digest(name)}"


def loading_path(final: Path) -> Path:
    """The name of a run's file while it is written; GoodSeed lists only `*.sqlite`."""
    return final.with_name(f".{final.name}.loading")
