"""What things are called at Lightning AI, beside attributes: teamspaces, experiments."""

from __future__ import annotations

import colorsys
import hashlib
import re

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.litlogger.capabilities import NAME_MAX_LENGTH

_DIGEST = 8
_PLAIN = re.compile(r"[A-Za-z0-9-]+")


def teamspace_name(project: str, mapping: ProjectMapping) -> str:
    """`<prefix>_<workspace>_<project>`.

    A digest tells apart what would be the same: a part that has an underscore itself, or a
    character that must be replaced, and what is too long.
    """
    parts = [mapping.name_prefix] if mapping.name_prefix else []
    parts += project.split("/")
    name = _clean("_".join(parts))
    plain = project.count("/") == 1 and all(_PLAIN.fullmatch(part) for part in parts)
    if plain and len(name) <= NAME_MAX_LENGTH:
        return name
    return _with_digest(name, f"{mapping.name_prefix}\0{project}")


def experiment_name(key: RunKey, mapping: ProjectMapping) -> str:
    """`<run id>-<8 hex digits>`: unique in its teamspace, and the same for every load of a run.

    Files lie under this name, so no other run may ever have it.
    """
    identity = "\0".join((mapping.name_prefix, key.project, key.kind, key.run))
    return _with_digest(_clean(key.run), identity)


def shown_name(run: str) -> str:
    """The part of an experiment's name before the digest."""
    return _clean(run)[: NAME_MAX_LENGTH - _DIGEST - 1]


def without_digest(name: str) -> str:
    return name[: -_DIGEST - 1]


def colors(name: str) -> tuple[str, str]:
    """Of an experiment's curves, on light and on dark ground; litlogger too makes them of its
    name."""
    hue = hashlib.blake2b(name.encode(), digest_size=1).digest()[0] / 256
    light, dark = colorsys.hls_to_rgb(hue, 0.4, 0.8), colorsys.hls_to_rgb(hue, 0.7, 0.8)
    return _hex(light), _hex(dark)


def _hex(color: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02X}" for part in color)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _with_digest(name: str, of: str) -> str:
    digest = hashlib.blake2b(of.encode(), digest_size=_DIGEST // 2).hexdigest()
    return f"{name[: NAME_MAX_LENGTH - _DIGEST - 1]}-{digest}"
