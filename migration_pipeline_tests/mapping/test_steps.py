"""Steps: exact both ways, at any multiplier; what meets or overflows is refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_pipeline.errors import ConfigError, StepsMeetError, StepTooLargeError
from migration_pipeline.mapping import steps

MICROS = st.integers(-(10**18) + 1, 10**18 - 1)
DECIMALS = st.integers(0, 6)


@given(st.lists(MICROS, min_size=1), DECIMALS)
def test_scale_is_exact(micros: list[int], decimals: int) -> None:
    multiplier = steps.multiplier_for(decimals)
    array = np.array(micros, dtype=np.int64)
    whole, rounded = steps.scale(array, multiplier)
    for got, odd, exact in zip(whole, rounded, micros, strict=True):
        wanted = Fraction(exact * multiplier, 10**6)
        assert int(got) == wanted.numerator // wanted.denominator
        assert bool(odd) == (wanted.denominator != 1)


@given(st.lists(MICROS, min_size=1), st.integers(1, 9_000_000))
def test_unscale_undoes_scale(micros: list[int], multiplier: int) -> None:
    array = np.array([m for m in micros if steps.fits(m, multiplier)], dtype=np.int64)
    whole, rounded = steps.scale(array, multiplier)
    assert (steps.unscale(whole, multiplier) == array)[~rounded].all()


@given(st.lists(MICROS, min_size=1))
def test_multiplier_makes_all_whole_and_is_the_smallest(micros: list[int]) -> None:
    array = np.array(micros, dtype=np.int64)
    decimals = steps.decimals_of(array)
    assert not steps.scale(array, steps.multiplier_for(decimals))[1].any()
    if decimals:
        assert steps.scale(array, steps.multiplier_for(decimals - 1))[1].any()


@given(MICROS)
def test_text(micros: int) -> None:
    text = steps.step_text(micros)
    assert Decimal(text) == Decimal(micros) / 10**6
    assert steps.step_micros(text) == micros


@pytest.mark.parametrize("text", ["", "x", "1.0000001", "1e3", "--1", "1.", "²"])
def test_no_step(text: str) -> None:
    if text == "1.":  # nobody writes it, and it can be nothing else
        assert steps.step_micros(text) == 1_000_000
        return
    with pytest.raises(ValueError, match="is not a step"):
        steps.step_micros(text)


@given(st.lists(MICROS, min_size=1), st.integers(1, 1000))
def test_steps_that_meet(micros: list[int], multiplier: int) -> None:
    array = np.array(micros, dtype=np.int64)
    distinct = np.unique(array)
    meet = len(np.unique(steps.scale(distinct, multiplier)[0])) < len(distinct)
    if meet:
        with pytest.raises(StepsMeetError, match=r"run r, series 'a'.*become one"):
            steps.check_apart("r", "a", array, multiplier)
    else:
        steps.check_apart("r", "a", array, multiplier)


def test_overflow_is_named() -> None:
    steps.check_fits("r", "a", (-(10**18) + 1, 10**18 - 1), 9_000_000)
    with pytest.raises(StepTooLargeError, match=r"step 999999999999.999999 times .* 10000000 "):
        steps.check_fits("r", "a", (0, 10**18 - 1), 10_000_000)


@pytest.mark.parametrize("multiplier", [0, -1, 10**13])
def test_multiplier_that_cannot_be(multiplier: int) -> None:
    with pytest.raises(ConfigError, match="MIGRATION_STEP_MULTIPLIER"):
        steps.check_multiplier(multiplier)
