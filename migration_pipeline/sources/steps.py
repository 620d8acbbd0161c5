"""Steps as the protocols send them, doubles, into the archive's millionths, or an error by name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from migration_pipeline.archive.schema import float_to_micros
from migration_pipeline.errors import StepOutOfRangeError
from migration_pipeline.sources.source import RunRef

_MOST = 9.2e12
"""int64 ends at 9.22e12 millions of millionths; beyond it numbers would wrap around."""


def check_step(run: RunRef, attribute: str, step: float) -> None:
    """Raises StepOutOfRangeError for a step that the archive cannot hold, or that is none."""
    if not abs(step) < _MOST:
        raise StepOutOfRangeError(str(run.key), attribute, step)


def to_micros(run: RunRef, attribute: str, steps: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The nearest millionths of all steps.

    Raises:
        StepOutOfRangeError: one is too large, or is not a number.
    """
    fitting = np.abs(steps) < _MOST
    if not fitting.all():
        check_step(run, attribute, float(steps[int(np.argmin(fitting))]))
    return float_to_micros(steps)
