"""Fork families: runs that belong together because one was forked from another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def without_cycles(parents: Mapping[K, K | None]) -> dict[K, K | None]:
    """The same, where of every cycle (damaged data) the smallest member has no parent.

    Which one that is does not depend on what was loaded before which: so neither does what a
    target shows in the end. Smallest by text.
    """
    found = dict(parents)
    seen: set[K] = set()
    for key in parents:
        path: list[K] = []
        at: K | None = key
        while at is not None and at not in seen and at in parents:
            seen.add(at)
            path.append(at)
            at = parents[at]
        if at in path:
            found[min(path[path.index(at) :], key=str)] = None
    return found


def families(keys: Iterable[K], parents: Mapping[K, K | None]) -> list[tuple[K, ...]]:
    """Groups keys by descent; in each, a parent comes before its children.

    Args:
        keys: in an order that is kept where descent allows.
        parents: key → its parent; a parent that is not among the keys is no tie, and a cycle
            (damaged data) is cut at its first member.
    """
    order = {key: i for i, key in enumerate(keys)}
    roots: dict[K, K] = {}
    depth: dict[K, int] = {}
    for key in order:
        path: list[K] = []
        at: K | None = key
        while at is not None and at in order and at not in roots and at not in path:
            path.append(at)
            at = parents.get(at)
        known = at is not None and at in roots
        root = roots[at] if known and at is not None else path[-1] if path else key
        base = depth[at] + 1 if known and at is not None else 0
        for distance, member in enumerate(reversed(path)):
            roots[member], depth[member] = root, base + distance
    grouped: dict[K, list[K]] = {}
    for key in order:
        grouped.setdefault(roots[key], []).append(key)
    return [tuple(sorted(f, key=lambda k: (depth[k], order[k]))) for f in grouped.values()]
