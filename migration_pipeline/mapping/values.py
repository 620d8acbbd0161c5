"""Values as text, exactly, and what a tracker shows of a run beside its attributes.

Where a target holds parameters as text, the text of a value can be read back to the same bits:
every digit of an integer, the shortest decimal of a double, milliseconds of a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from migration_pipeline.mapping.terms import RunFacts

NUL_SHOWN = "\N{SYMBOL FOR NULL}"
"""Stands for U+0000 where a target's database cannot hold that."""


def to_text(kind: str, value: Any) -> str:
    """A parameter's value as text.

    Args:
        kind: an attribute type of `PARAMETER_TYPES`.
        value: as in a `BATCH_SCHEMA` column; a datetime in ms since 1970 UTC.
    """
    if kind == "float":
        return repr(float(value))
    if kind == "datetime":
        return f"{np.datetime64(int(value), 'ms')}Z"
    if kind == "string_set":
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def from_text(kind: str, text: str) -> Any:
    """The inverse of `to_text`.

    Raises:
        ValueError: the text is not of that type.
    """
    if kind == "float":
        return float(text)
    if kind == "int":
        return int(text)
    if kind == "bool":
        return {"True": True, "False": False}[text] if text in ("True", "False") else _no(text)
    if kind == "datetime":
        return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
    if kind == "string_set":
        items = json.loads(text)
        if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            _no(text)
        return items
    return text


def _no(text: str) -> None:
    raise ValueError(f"{text!r} is not of the expected type")


def cut(text: str, limit: int | None, whole: str = "") -> str:
    """The text, or its beginning and a visible word about the rest.

    Args:
        limit: characters; None: no limit.
        whole: where the whole text is kept.
    """
    if limit is None or len(text) <= limit:
        return text
    kept = f", whole in {whole}" if whole else ""
    marker = f" … [cut: {len(text)} characters{kept}]"
    return text[: limit - len(marker)] + marker


def without_nul(text: str) -> str:
    return text.replace("\0", NUL_SHOWN)


def tags_text(tags: Sequence[str], limit: int | None) -> str:
    """Tags as a JSON list; when too long, as many as fit and a last element that says so."""
    text = json.dumps(list(tags), ensure_ascii=False)
    if limit is None or len(text) <= limit:
        return text
    kept: list[str] = []
    room = limit - 60
    for tag in tags:
        room -= len(json.dumps(tag, ensure_ascii=False)) + 2
        if room < 0:
            break
        kept.append(tag)
    more = f"… and {len(tags) - len(kept)} more, in the parameter"
    return json.dumps([*kept, more], ensure_ascii=False)


def shown(facts: RunFacts, tag_limit: int | None) -> RunFacts:
    """Facts as a target with tags of that length shows them."""
    return replace(
        facts,
        tags=tuple(json.loads(without_nul(tags_text(facts.tags, tag_limit)))),
        description=without_nul(cut(facts.description, tag_limit)),
        owner=without_nul(cut(facts.owner, tag_limit)),
    )


def float_json(value: float | None) -> float | str | None:
    """A double as JSON holds it exactly: non-finite ones as text."""
    if value is None or np.isfinite(value):
        return value
    return repr(float(value))


def float_from_json(value: Any) -> float | None:
    return None if value is None else float(value)
