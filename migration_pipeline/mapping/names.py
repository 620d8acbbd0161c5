"""Names as a target allows them; two different ones never become one.

Allowed characters stay, others become `_`. A name that would then meet another, or is too long,
gets a dash and a short digest of its original. Which one keeps the clean name does not depend on
the order in which they come, and a name that is legal and meets no other stays as it is.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_DIGEST = 8  # hex digits; made longer where that is not enough


@dataclass(frozen=True)
class NameRules:
    """What a name may be.

    Args:
        characters: the allowed ones, as the inside of a regular expression's class.
        max_length: characters of the whole name.
        path: a name must be a normalised path: no `//`, `.`, `..`, no `/` at either end.
        tree: names are files: none is the directory of another, no segment exceeds
            `segment_bytes`, begins or ends with a space or ends with a dot.
        folded: names that differ in case, accents or Unicode composition only count as one, as
            some databases and file systems have it.
        first: allowed for the first character; empty: as the others.
        reserved: names that none may have.
        apart: none is the directory of another, as with `tree`, which says more.
    """

    characters: str
    max_length: int
    path: bool = False
    tree: bool = False
    folded: bool = True
    first: str = ""
    segment_bytes: int = 200
    reserved: tuple[str, ...] = ()
    apart: bool = False


def assign_names(wanted: Mapping[str, str], rules: NameRules) -> dict[str, str]:
    """Key → legal name, injective.

    Args:
        wanted: key → the name it would like to have. Keys identify; most often both are equal.
    """
    cleaned = {key: clean(name, rules) for key, name in wanted.items()}
    fold = _fold if rules.folded else _same
    groups: dict[str, list[str]] = {}
    for key, name in cleaned.items():
        groups.setdefault(fold(name), []).append(key)
    names: dict[str, str] = {}
    for keys in groups.values():
        keeper = min(keys, key=lambda k: (cleaned[k] != wanted[k], k != wanted[k], k))
        if cleaned[keeper] and len(cleaned[keeper]) <= rules.max_length:
            names[keeper] = cleaned[keeper]
    directories = _directories(cleaned.values(), fold) if rules.tree or rules.apart else set()
    reserved = {fold(name) for name in rules.reserved}
    for key in [k for k, name in names.items() if fold(name) in directories | reserved]:
        del names[key]
    taken = {fold(name) for name in names.values()} | directories | reserved
    _name_the_rest(cleaned, names, taken, rules, fold)
    return names


def clean(name: str, rules: NameRules) -> str:
    """The name with everything replaced that is not allowed; may still be too long, or meet."""
    text = re.sub(f"[^{rules.characters}]", "_", name)
    if rules.path:
        text = "/".join(_clean_segment(s, rules) for s in text.split("/"))
        if text.startswith(".."):  # taken for the way out of a directory
            text = f"__{text[2:]}"
    if rules.first and text and not re.match(f"[{rules.first}]", text):
        text = f"_{text}"
    return text


def _clean_segment(segment: str, rules: NameRules) -> str:
    if not segment.strip(".") and len(segment) <= 2:
        return "_" * max(len(segment), 1)  # "", ".", ".."
    if rules.tree:
        if segment[0] == " ":
            segment = f"_{segment[1:]}"
        if segment[-1] in " .":
            segment = f"{segment[:-1]}_"
        if len(segment.encode()) > rules.segment_bytes:
            extension = _extension(segment)
            room = rules.segment_bytes - _DIGEST - 1 - len(extension)
            cut = segment.encode()[:room].decode(errors="ignore").rstrip(" .")
            segment = f"{cut}-{_digest(segment, _DIGEST)}{extension}"
    return segment


def _directories(names: Iterable[str], fold: Callable[[str], str]) -> set[str]:
    """All that these names use as a directory, folded."""
    found: set[str] = set()
    for name in names:
        parent = posixpath.dirname(fold(name))
        while parent and parent not in found:
            found.add(parent)
            parent = posixpath.dirname(parent)
    return found


def _name_the_rest(
    cleaned: Mapping[str, str],
    names: dict[str, str],
    taken: set[str],
    rules: NameRules,
    fold: Callable[[str], str],
) -> None:
    """Gives digests to those without a name, longer ones until none meets another."""
    rest = sorted(cleaned.keys() - names.keys())
    digits = _DIGEST
    while rest:
        room = rules.max_length - digits - 1
        made = {key: _with_digest(cleaned[key], key, digits, room, rules) for key in rest}
        counts = Counter(fold(name) for name in made.values())
        for key in rest:
            folded = fold(made[key])
            if counts[folded] == 1 and folded not in taken:
                names[key] = made[key]
        taken |= {fold(names[key]) for key in rest if key in names}
        rest = [key for key in rest if key not in names]
        digits += _DIGEST


def _with_digest(name: str, original: str, digits: int, room: int, rules: NameRules) -> str:
    """`name` cut to `room` characters, a dash and the digest; a file keeps its extension."""
    extension = _extension(name) if rules.tree else ""
    dash = "-" if re.match(f"[{rules.characters}]", "-") else "_"
    stem = name[: len(name) - len(extension)][: room - len(extension)]
    return f"{stem.rstrip('/ .') or '_'}{dash}{_digest(original, digits)}{extension}"


def _digest(original: str, digits: int) -> str:
    data = original.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=32).hexdigest()[:digits]


def _extension(name: str) -> str:
    match = re.search(r"(?<=[^/.])\.[A-Za-z0-9]{1,10}$", name)
    return match[0] if match else ""


def _fold(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    # Folding can bring forth what can be folded again, so it is repeated until it rests.
    folded = unicodedata.normalize("NFKD", plain.casefold()).rstrip(" ")
    return folded if folded == name else _fold(folded)


def _same(name: str) -> str:
    return name
