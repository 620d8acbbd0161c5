"""What projects are called at a server of Neptune 2.x."""

from __future__ import annotations

import hashlib
import re

from migration_pipeline.mapping.terms import ProjectMapping

_LONGEST = 80
"""No limit is published."""


def project_name(project: str, mapping: ProjectMapping) -> str:
    """`<prefix>-<name>`, without the archive's workspace, in letters, digits, dashes and dots.

    The client's documentation of create_project allows letters and dashes. Underscores and spaces
    become dashes, as in Neptune's own script for W&B; where anything else is replaced or cut, a
    short digest tells names apart. Two projects may get one name: their runs tell which one they
    are of.
    """
    name = project.partition("/")[2] or project
    if mapping.name_prefix:
        name = f"{mapping.name_prefix}-{name}"
    wanted = re.sub(r"[_\s]", "-", name)
    found = re.sub(r"[^A-Za-z0-9.-]", "-", wanted)
    if found == wanted and len(found) <= _LONGEST and re.search(r"[A-Za-z0-9]", found):
        return found
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{found[: _LONGEST - 9].strip('-.') or 'project'}-{digest}"
