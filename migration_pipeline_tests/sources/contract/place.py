"""Places that sources read, as the contract of sources sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import MigrationError
from migration_pipeline.neptune_server.faults import Fault, Faults
from migration_pipeline.sources.source import Source

Begin = Callable[[], Callable[[], int]]
"""Lets something go wrong a few times; what it gives back says how often it has."""


@dataclass(frozen=True)
class Lasting:
    """What stops a source altogether.

    Args:
        block: it lasts until the block ends.
        error: with which it is refused or reported.
        says: a part of that error's message.
    """

    block: Callable[[], AbstractContextManager[object]]
    error: type[MigrationError]
    says: str


@dataclass(frozen=True)
class Place:
    """Where runs lie that a source reads.

    Args:
        make, arguments: give the source; both are pickled, as another process calls it, too.
        hasty: arguments with which it gives up soon what may pass.
        count: of runs, and of what counts as one.
        project: a project of it.
        expected: of its runs, or some: run id → path → value, or the points of a series as (step in
            millionths, ms since 1970, value). A file's value is its bytes. Further attributes may
            come with them.
        change: a run changes at the place, so that it is to be exported again.
        refuse: one run cannot be read until the block ends; all others can. None where the source
            reads whatever is left of a run and names what is not.
        passing: name → what passes when it is tried again; none where nothing does.
        lasting: name → what does not.
    """

    make: Callable[..., Source]
    arguments: tuple[Any, ...]
    hasty: tuple[Any, ...]
    count: int
    project: str
    expected: Mapping[str, Mapping[str, Any]]
    change: Callable[[RunKey], None]
    refuse: Callable[[RunKey], AbstractContextManager[object]] | None = None
    passing: Mapping[str, Begin] = field(default_factory=dict)
    lasting: Mapping[str, Lasting] = field(default_factory=dict)

    def open(self, hasty: bool = False) -> Source:
        return self.make(*(self.hasty if hasty else self.arguments))


class Faulty(Protocol):
    """A server of ours, or a stand-in."""

    faults: Faults


def begin(server: Faulty, fault: Fault) -> Begin:
    def begun() -> Callable[[], int]:
        before = server.faults.injected.total()
        server.faults.add(fault)
        return lambda: server.faults.injected.total() - before

    return begun


@contextmanager
def until(server: Faulty, add: Callable[[], object]) -> Iterator[None]:
    """What `add` puts in force lasts as long as the block."""
    add()
    try:
        yield
    finally:
        server.faults.clear()


@dataclass(frozen=True)
class SourceBackend:
    """One source for the contract.

    Args:
        few: a place with so many runs in one project, made below a folder.
        many: a place for exports that are stopped: a dozen runs or more, of everything that the
            source can have, in one project or several.
        refuses: whether its places can `refuse`.
    """

    name: str
    few: Callable[[Path, int], AbstractContextManager[Place]]
    many: Callable[[Path], AbstractContextManager[Place]]
    refuses: bool = True
