"""What parameters and float series are called at a target: known before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from migration_pipeline.archive.schema import FILE_TYPES, PARAMETER_TYPES
from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.mapping.terms import Capabilities

Attribute = tuple[str, str]
"""Path and type: one path may exist with two types."""


def key_names(attributes: Iterable[Attribute], can: Capabilities) -> dict[Attribute, str]:
    """A run's parameters, float series and series that are held as such → their names.

    A parameter and a series may have the same name: targets hold them apart, as they do series of
    different types; where they do not (`keys_together`), files have names among these as well.
    """
    ordered = sorted(attributes)
    if can.verbatim:
        shown = PARAMETER_TYPES | {"float_series"}
        return {(path, kind): path for path, kind in ordered if kind in shown}
    if can.keys_together:
        types = PARAMETER_TYPES | FILE_TYPES | {"float_series"} | _native_series(can)
        return _names([a for a in ordered if a[1] in types], can)
    keys = _names([a for a in ordered if a[1] in PARAMETER_TYPES], can)
    keys |= _names([a for a in ordered if a[1] == "float_series"], can)
    for kind in sorted(_native_series(can)):
        keys |= _names([a for a in ordered if a[1] == kind], can)
    return keys


def _native_series(can: Capabilities) -> set[str]:
    how = {"string_series": can.string_series, "histogram_series": can.histogram_series}
    return {kind for kind, held in how.items() if held == "native"}


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
        apart=can.keys_apart,
    )
    wanted: dict[str, Attribute] = {}
    for path, kind in attributes:
        # The same path may exist with two types; then the second's becomes part of its name.
        wanted[f"{path}\0{kind}" if path in wanted else path] = (path, kind)
    given = assign_names({key: _moved(key, can) for key in wanted}, rules)
    return {attribute: given[key] for key, attribute in wanted.items()}


def _moved(name: str, can: Capabilities) -> str:
    """The name with another beginning, where it has one that it must not have."""
    for begin, instead in can.key_moved:
        if name.startswith(begin):
            return instead + name.removeprefix(begin)
    return name
