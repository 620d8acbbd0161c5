"""Steps as a target wants them, exactly.

An archived step is a decimal with six places, held as int64 millionths. Where a target takes whole
steps only, all steps of a project are multiplied by one power of ten, the smallest that makes them
whole. Nothing goes through float: 0.29 × 100 is 28.999… there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from migration_pipeline.archive.schema import MICROS, float_to_micros
from migration_pipeline.errors import ConfigError, StepsMeetError, StepTooLargeError

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_MULTIPLIER = 10**12
"""Above it the arithmetic on fractions would leave int64; no archive needs more than 10**6."""
_INT64 = np.iinfo(np.int64)
_EXACT = 8 * 10**15
"""Millionths; below, doubles of steps lie less than a millionth apart (2**33 steps)."""


def multiplier_for(decimals: int) -> int:
    """The smallest power of ten that makes steps with so many decimals (0 to 6) whole."""
    return int(10**decimals)


def check_multiplier(multiplier: int) -> int:
    """A configured multiplier, if it can be used.

    Raises:
        ConfigError: it is not between 1 and `MAX_MULTIPLIER`.
    """
    if not 1 <= multiplier <= MAX_MULTIPLIER:
        raise ConfigError(
            f"MIGRATION_STEP_MULTIPLIER is {multiplier}",
            f"It must be a whole number from 1 to {MAX_MULTIPLIER}.",
        )
    return multiplier


def decimals_of(micros: Int64s, known: int = 0) -> int:
    """Decimals of the finest of these steps, at least `known`."""
    while known < 6 and bool((micros % 10 ** (6 - known)).any()):
        known += 1
    return known


def scale(micros: Int64s, multiplier: int) -> tuple[Int64s, Bools]:
    """Millionths → whole steps, rounded down, and where rounding was needed.

    The result must fit: `check_fits` looks at the smallest and the largest step beforehand.
    """
    whole, rest = np.divmod(micros, MICROS)
    scaled = rest * multiplier
    return whole * multiplier + scaled // MICROS, scaled % MICROS != 0


def unscale(steps: Int64s, multiplier: int) -> Int64s:
    """Whole steps → millionths: the inverse of `scale` where nothing was rounded."""
    whole, rest = np.divmod(steps, multiplier)
    micros: Int64s = whole * MICROS + rest * MICROS // multiplier
    return micros


def as_doubles(micros: Int64s) -> npt.NDArray[np.float64]:
    """Millionths → the nearest double of the step; `schema.float_to_micros` is the way back.

    Steps of up to `_EXACT` millionths come back exactly.
    """
    if _exact(micros):
        return micros / MICROS
    whole, rest = np.divmod(micros, MICROS)
    doubles: npt.NDArray[np.float64] = whole + rest / MICROS
    return np.where(np.abs(micros) <= 2**53, micros / MICROS, doubles)


def as_held(micros: Int64s) -> Int64s:
    """Millionths as they come back from doubles."""
    return micros if _exact(micros) else float_to_micros(as_doubles(micros))


def as_double(micros: int) -> float:
    """`as_doubles` of one step."""
    return micros / MICROS if abs(micros) <= _EXACT else float(as_doubles(np.array([micros]))[0])


def is_exact_double(micros: int) -> bool:
    """Whether a step comes back as it is from a double."""
    return abs(micros) <= _EXACT or int(as_held(np.array([micros]))[0]) == micros


def not_growing(held: Int64s, top: int | None) -> tuple[Bools, int]:
    """Where a step is not beyond all before it, and the highest of all.

    Args:
        held: the next steps of a series, at least one.
        top: the highest of those before them.
    """
    highest = np.maximum.accumulate(held)
    late = np.empty(len(held), dtype=bool)
    late[0] = top is not None and held[0] <= top
    late[1:] = held[1:] <= highest[:-1]
    if top is not None:
        late |= held <= top
    last = int(highest[-1])
    return late, last if top is None else max(top, last)


def _exact(micros: Int64s) -> bool:
    return not len(micros) or -_EXACT <= int(micros.min()) <= int(micros.max()) <= _EXACT


def fits(micros: int, multiplier: int) -> bool:
    """Whether a step times the multiplier is an int64."""
    return _INT64.min <= micros * multiplier // MICROS <= _INT64.max


def check_fits(run: str, attribute: str, extremes: tuple[int, int], multiplier: int) -> None:
    """Raises StepTooLargeError when the smallest or the largest step leaves int64."""
    for micros in extremes:
        if not fits(micros, multiplier):
            raise StepTooLargeError(run, attribute, step_text(micros), str(multiplier))


def check_apart(run: str, attribute: str, micros: Int64s, multiplier: int) -> None:
    """Raises StepsMeetError when two different steps of one series become one.

    Args:
        micros: steps of the series, in any order, repeated or not.
    """
    distinct = np.unique(micros)
    scaled, _ = scale(distinct, multiplier)
    meet = np.flatnonzero(scaled[1:] == scaled[:-1])
    if len(meet):
        first, second = (step_text(int(distinct[meet[0] + i])) for i in (0, 1))
        raise StepsMeetError(run, attribute, first, second, str(multiplier))


def step_text(micros: int) -> str:
    """Millionths as the shortest exact decimal: 12, 0.25, -3.000001."""
    sign, (whole, rest) = ("-" if micros < 0 else ""), divmod(abs(micros), MICROS)
    return f"{sign}{whole}.{rest:06d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"


def step_micros(text: str) -> int:
    """The inverse of `step_text`.

    Raises:
        ValueError: it is no decimal, or has more than six places.
    """
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, rest = digits.partition(".")
    if not (whole.isdecimal() and (rest.isdecimal() or not rest) and len(rest) <= 6):
        raise ValueError(f"{text!r} is not a step")
    return sign * (int(whole) * MICROS + int(rest.ljust(6, "0") or 0))
