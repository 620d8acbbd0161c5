"""What things are called at a server of the 2.x protocol, beside attributes of the archive."""

from __future__ import annotations

import hashlib

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping

STATE = "import/state"
BESIDE = "import/"
"""Before the names of files that are no attribute of the archive."""
OURS = ("import/state/", "import/run/", "import/forking/")
ORIGINAL_RUN, ORIGINAL_PROJECT = "import/original_run_id", "import/original_project_id"


def custom_id(key: RunKey, mapping: ProjectMapping) -> str:
    """The id that a run is found by: 36 characters, as many as the client takes."""
    text = "\0".join((mapping.name_prefix, key.project, key.kind, key.run))
    return f"neptune-{hashlib.blake2b(text.encode(), digest_size=14).hexdigest()}"


def place_of_file(name: str) -> tuple[str, str]:
    """Attribute and extension of a file that is kept below `import`.

    The extension stays in the attribute's name as well: `a.txt` and `a.csv` are two.
    """
    stem, dot, extension = name.rpartition(".")
    return f"{BESIDE}{name}", extension if dot and stem and "/" not in extension else ""
