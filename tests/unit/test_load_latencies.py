"""Percentiles of many latencies, in little room."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.load.latencies import Latencies, LatencySummary

SECONDS = st.floats(2e-6, 3_600)


def latencies(values: list[float]) -> Latencies:
    counted = Latencies()
    for value in values:
        counted.add(value)
    return counted


def rank(values: list[float], percent: float) -> float:
    """The value of the nearest rank."""
    return sorted(values)[max(1, math.floor(len(values) * percent / 100 + 0.5)) - 1]


def test_none() -> None:
    counted = latencies([])

    assert counted.summary() == LatencySummary(count=0, mean_s=0, p50_s=0, p95_s=0, p99_s=0, p999_s=0, max_s=0)
    assert counted.distribution() == []


@settings(deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=300))
def test_percentiles_are_exact_to_a_thousandth(values: list[float]) -> None:
    """As those of all values in a list, which would grow: but for a microsecond, and a thousandth."""
    summary = latencies(values).summary()

    assert summary.count == len(values)
    for percent, found in ((50, summary.p50_s), (95, summary.p95_s), (99, summary.p99_s), (99.9, summary.p999_s)):
        assert found == pytest.approx(rank(values, percent), rel=1.1e-3, abs=1.1e-6)
    assert summary.max_s == pytest.approx(max(values), rel=1.1e-3, abs=1.1e-6)
    assert summary.mean_s == pytest.approx(sum(values) / len(values), rel=2e-3, abs=2e-6)


@settings(deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=100))
def test_every_latency_is_in_one_band(values: list[float]) -> None:
    bands = latencies(values).distribution()

    assert sum(band.count for band in bands) == len(values)
    assert all(before.high_s == after.low_s for before, after in itertools.pairwise(bands))
    assert bands[0].low_s * 0.999 <= min(values)
    assert max(values) <= bands[-1].high_s * 1.001 + 1e-6
    assert bands[0].count > 0
    assert bands[-1].count > 0


def test_what_is_out_of_range_is_counted_at_its_edge() -> None:
    summary = latencies([-1.0, 0.0, 1e9]).summary()

    assert (summary.count, summary.p50_s) == (3, 1e-6)
    assert summary.max_s == pytest.approx(86_400, rel=1e-3)


def test_clear() -> None:
    counted = latencies([1.0, 2.0])
    counted.clear()
    counted.add(3.0)

    assert counted.summary().count == 1
    assert counted.summary().p50_s == pytest.approx(3.0, rel=1e-3)
