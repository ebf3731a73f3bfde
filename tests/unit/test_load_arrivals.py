"""When turns arrive."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.load.arrivals import arrival_times_s, caller_starts_s, expected_at_s
from runtime.load.plan import Arrivals

RATES = st.floats(0.01, 1e4)
TIMES = st.floats(0, 1e3)


def arrivals(kind: Arrivals, rate: float, ramp_s: float, end_s: float, seed: int = 0) -> list[float]:
    return list(arrival_times_s(kind, rate, ramp_s=ramp_s, end_s=end_s, chance=random.Random(seed)))


def test_uniform_arrivals_are_exact() -> None:
    assert arrivals(Arrivals.UNIFORM, 4, 0, 2) == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_a_ramp_grows_to_the_rate() -> None:
    """Ten a second after four seconds: 20 in the ramp, n of them in the first part of it whose square is n/20."""
    times = arrivals(Arrivals.UNIFORM, 10, 4, 6)

    assert len(times) == 40
    assert [times[5], times[20], times[30]] == pytest.approx([2.0, 4.0, 5.0])


def test_a_test_that_ends_in_its_ramp() -> None:
    assert len(arrivals(Arrivals.UNIFORM, 10, 4, 2)) == 5


def test_poisson_arrivals() -> None:
    """The mean and the standard deviation of the times between them are one over the rate."""
    times = arrivals(Arrivals.POISSON, 50, 0, 400)
    gaps = [after - before for before, after in itertools.pairwise(times)]

    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert statistics.mean(gaps) == pytest.approx(0.02, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(0.02, rel=0.05)


def test_the_seed_decides() -> None:
    first = arrivals(Arrivals.POISSON, 5, 1, 10, seed=1)

    assert first == arrivals(Arrivals.POISSON, 5, 1, 10, seed=1)
    assert first != arrivals(Arrivals.POISSON, 5, 1, 10, seed=2)


@settings(deadline=None)
@given(count=st.floats(0, 1e6), rate=RATES, ramp_s=TIMES)
def test_as_many_are_expected_as_have_come(count: float, rate: float, ramp_s: float) -> None:
    """What is expected at the time of the n-th arrival is n: the integral of the rate, which grows and then stays."""
    at_s = expected_at_s(count, rate, ramp_s)
    expected = rate * at_s**2 / (2 * ramp_s) if at_s < ramp_s else rate * (at_s - ramp_s / 2)

    assert expected == pytest.approx(count, rel=1e-6, abs=1e-6 * rate)


@settings(deadline=None)
@given(kind=st.sampled_from(Arrivals), rate=st.floats(0.01, 50), ramp_s=st.floats(0, 20), end_s=st.floats(0, 20))
def test_they_come_in_order_and_end(kind: Arrivals, rate: float, ramp_s: float, end_s: float) -> None:
    times = arrivals(kind, rate, ramp_s, end_s)

    assert times == sorted(times)
    assert all(0 <= at_s < end_s for at_s in times)


def test_callers_begin_over_the_ramp() -> None:
    assert caller_starts_s(4, 2.0) == [0, 0.5, 1.0, 1.5]
    assert caller_starts_s(3, 0.0) == [0, 0, 0]
