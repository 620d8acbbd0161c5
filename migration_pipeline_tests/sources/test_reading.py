"""What is remarked of a run is gathered in little memory, however often it is said."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.sources.reading import Item, Reading, Remark, Selected, Task
from migration_pipeline.sources.source import RunDone, RunRef

RUN = RunRef(RunKey("acme/vision", "run 1"), "run 1", None)


class Remarking(Task):
    """Gives the names one after another, each for two."""

    def __init__(self, runs: Sequence[RunRef], names: Sequence[str]) -> None:
        super().__init__(runs)
        self._names = names

    def advance(self) -> Iterator[Item]:
        for name in self._names:
            yield Remark(RUN, "{count} are odd: {list}", name, 2)
        yield Remark(RUN, "{count} are even", count=3)
        yield Selected(RUN, 1)
        self.finished = True


def notes(names: Sequence[str]) -> Sequence[str]:
    with Reading([RUN], 1, 1, lambda group: Remarking(group, names), 1, 4, True) as reading:
        (done,) = reading.events()
    assert isinstance(done, RunDone)
    return done.notes


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["b", "a", "b", "a"], "8 are odd: a; b"),
        ([f"{i:02}" for i in range(20)], "40 are odd: " + "; ".join(f"{i:02}" for i in range(20))),
        (
            [f"{i:02}" for i in reversed(range(21))],
            "42 are odd: " + "; ".join(f"{i:02}" for i in range(20)) + " …",
        ),
    ],
)
def test_names_are_told_once_and_in_order_the_first_twenty_of_them(
    names: list[str], shown: str
) -> None:
    assert notes(names) == ["3 are even", shown]


def test_as_many_remarks_as_points_take_no_more_room() -> None:
    numbers = random.Random(1).sample(range(30_000), 30_000)
    names = [f"loss (step {number:05})" for number in numbers]
    tracemalloc.start()
    try:
        [_, said] = notes(names)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    first = "; ".join(f"loss (step {number:05})" for number in range(20))
    assert said == f"60000 are odd: {first} …"
    assert most < 1 << 20
