"""What parameters and float series are called at a target: known before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from migration_pipeline.archive.schema import PARAMETER_TYPES
from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.mapping.terms import Capabilities

Attribute = tuple[str, str]
"""Path and type: one path may exist with two types."""


def key_names(attributes: Iterable[Attribute], can: Capabilities) -> dict[Attribute, str]:
    """A run's parameters, float series and series that are held as such → their names.

    A parameter and a series may have the same name: targets hold them apart, as they do series of
    different types.
    """
    ordered = sorted(attributes)
    if can.verbatim:
        shown = PARAMETER_TYPES | {"float_series"}
        return {(path, kind): path for path, kind in ordered if kind in shown}
    keys = _names([a for a in ordered if a[1] in PARAMETER_TYPES], can)
    keys |= _names([a for a in ordered if a[1] == "float_series"], can)
    for kind, how in (
        ("string_series", can.string_series),
        ("histogram_series", can.histogram_series),
    ):
        if how == "native":
            keys |= _names([a for a in ordered if a[1] == kind], can)
    return keys


def renames(keys: Mapping[Attribute, str]) -> dict[str, str]:
    """Path → its name, where that is another one."""
    return {path: name for (path, _), name in sorted(keys.items()) if path != name}


def _names(attributes: list[Attribute], can: Capabilities) -> dict[Attribute, str]:
    rules = NameRules(
        can.key_characters,
        can.key_max_length,
        path=can.key_is_path,
        folded=can.key_folded,
        first=can.key_first_character,
        reserved=can.key_reserved,
    )
    wanted: dict[str, Attribute] = {}
    for path, kind in attributes:
        # The same path may exist with two types; then the second's becomes part of its name.
        wanted[f"{path}\0{kind}" if path in wanted else path] = (path, kind)
    given = assign_names({key: key for key in wanted}, rules)
    return {attribute: given[key] for key, attribute in wanted.items()}
