"""When turns arrive in an open loop: times that do not depend on how the turns before them fare."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from runtime.load.plan import Arrivals


def arrival_times_s(
    kind: Arrivals, rate_per_s: float, *, ramp_s: float, end_s: float, chance: random.Random
) -> Iterator[float]:
    """Seconds after the start at which turns arrive, in order, each before `end_s`.

    The rate grows linearly for `ramp_s`, then stays. With uniform arrivals the n-th turn (from 0) arrives exactly when
    n are expected; with Poisson arrivals the expected number between two of them is exponentially distributed.

    Args:
        kind: How they are distributed.
        rate_per_s: The rate after the ramp.
        ramp_s: How long it grows.
        end_s: When nothing arrives any more.
        chance: Where Poisson arrivals come from.
    """
    for expected in _uniform() if kind is Arrivals.UNIFORM else _poisson(chance):
        at_s = expected_at_s(expected, rate_per_s, ramp_s)
        if at_s >= end_s:
            return
        yield at_s


def expected_at_s(count: float, rate_per_s: float, ramp_s: float) -> float:
    """When so many arrivals are expected."""
    in_ramp = rate_per_s * ramp_s / 2
    if count < in_ramp:
        return math.sqrt(2 * count * ramp_s / rate_per_s)
    return ramp_s + (count - in_ramp) / rate_per_s


def caller_starts_s(concurrency: int, ramp_s: float) -> list[float]:
    """When each caller of a closed loop begins, in seconds after the start: evenly over the ramp."""
    return [ramp_s * number / concurrency for number in range(concurrency)]


def _uniform() -> Iterator[float]:
    return map(float, itertools.count())


def _poisson(chance: random.Random) -> Iterator[float]:
    return itertools.accumulate(chance.expovariate(1.0) for _ in itertools.count())
