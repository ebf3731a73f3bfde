"""Load tests: every turn is accounted for, and the search for the highest rate finds it."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import Overloaded
from runtime.load.arrivals import arrival_times_s
from runtime.load.driver import LoadDriver
from runtime.load.latencies import Latencies
from runtime.load.plan import Arrivals, LoadPlan
from runtime.load.search import Finding, Probe, Search
from runtime.load.tally import COMPLETED, Ending, Outcome, Tally
from tests.unit.load_kit import Server, exponential, virtually

RATES = st.floats(0.2, 5_000)


SHARED = {
    "workflow": st.just("w"),
    "warm_up_s": st.just(0.2),
    "duration_s": st.just(2.0),
    "arrivals": st.sampled_from(Arrivals),
    "ramp_s": st.floats(0, 2),
    "timeout_s": st.floats(0.05, 3),
    "max_in_flight": st.integers(1, 30),
    "turns": st.integers(1, 4),
}
PLANS = st.one_of(
    st.builds(LoadPlan, rate_per_s=st.floats(1, 25), **SHARED),
    st.builds(LoadPlan, concurrency=st.integers(1, 12), **SHARED),
)


@settings(max_examples=12, deadline=None)
@given(plan=PLANS, service_s=st.floats(0.02, 0.5), places=st.integers(1, 4), failing=st.integers(1, 6))
def test_every_turn_is_accounted_for(plan: LoadPlan, service_s: float, places: int, failing: int) -> None:
    """Whatever happens: each turn that arrived ended once, in the totals, the timeline and the errors alike."""

    def ending(number: int) -> Ending:
        if number % failing == 1:
            raise Overloaded("full")
        return COMPLETED

    async def program() -> Tally:
        return await LoadDriver(plan, Server(exponential(service_s, 1), places=places, ending=ending)).run()

    tally = virtually(program())

    assert tally.in_flight == 0
    assert tally.arrived == sum(tally.ended.values())
    assert tally.failed == sum(error.count for error in tally.errors.values())
    assert tally.latencies.summary().count == tally.ended[Outcome.COMPLETED]
    assert tally.lags.summary().count == tally.arrived
    assert sum(interval.arrived for interval in tally.timeline) == sum(
        sum(interval.ended.values()) for interval in tally.timeline
    )


def searched(search: Search, holds) -> Finding:
    """What a search finds if `holds(rate)` is what measuring shows."""
    while (rate := search.next_rate()) is not None:
        search.take(Probe(rate_per_s=rate, held=holds(rate)))
    return search.finding()


@settings(deadline=None)
@given(limit=RATES, start=RATES, precision=st.floats(0.01, 0.5))
def test_a_sharp_limit_is_found(limit: float, start: float, precision: float) -> None:
    """However far away it begins: the rate holds, is as close to the limit as was asked for, and that is said."""
    search = Search(start, precision=precision, max_probes=60)
    found = searched(search, lambda rate: rate <= limit)

    assert found.is_sure
    assert found.rate_per_s <= limit < found.fails_at_per_s <= found.rate_per_s * (1 + precision)
    assert (found.held_count, found.failed_count) == (2, 0)
    assert (
        found.probes == len(search.probes) <= 6 + 2 * abs(math.log2(limit / start)) + 2 * math.log2(1 / precision) * 2
    )


@settings(deadline=None)
@given(limit=RATES, start=RATES, seed=st.integers(0, 10_000), error=st.floats(0, 0.3))
def test_it_ends_whatever_is_measured(limit: float, start: float, seed: int, error: float) -> None:
    """Measurements that are wrong now and then make it unsure, not endless; and it says no more than it has seen."""
    chance = random.Random(seed)
    search = Search(start)
    found = searched(search, lambda rate: (rate <= limit) != (chance.random() < error))
    results = [probe.held for probe in search.probes if probe.rate_per_s == found.rate_per_s]

    assert found.probes <= 30
    assert (found.held_count, found.failed_count) == (sum(results), len(results) - sum(results))
    assert found.rate_per_s is None or found.held_count > found.failed_count
    if found.is_sure:
        assert found.held_count >= 2
        assert found.rate_per_s < found.fails_at_per_s <= found.rate_per_s * 1.05


def test_nothing_holds() -> None:
    found = searched(Search(1.0, lowest_per_s=0.05), lambda _: False)

    assert (found.rate_per_s, found.is_sure) == (None, False)
    assert found.fails_at_per_s < 2 * 0.05
    assert found.why == f"no rate held; {found.fails_at_per_s:g}/s, the lowest that was tried, failed"


def test_everything_holds() -> None:
    found = searched(Search(10.0, max_probes=5), lambda _: True)

    assert (found.rate_per_s, found.fails_at_per_s, found.is_sure) == (160.0, None, False)
    assert found.why == "160/s held in 1 of 1 measurements; nothing above it was seen to fail: it may be higher"


def test_a_machine_that_stumbles_once_is_asked_again() -> None:
    """One bad measurement at the very first rate sends the search down; what it comes back to is measured again."""
    measured: list[float] = []

    def holds(rate: float) -> bool:
        measured.append(rate)
        return len(measured) > 1 and rate <= 100

    found = searched(Search(64.0), holds)

    assert measured.count(64.0) == 3
    assert found.is_sure
    assert 95 < found.rate_per_s <= 100


def test_a_lucky_measurement_is_taken_back() -> None:
    """A rate above the limit that held once, by luck, fails when it is confirmed; then the search goes on below it."""
    lucky: list[float] = []

    def holds(rate: float) -> bool:
        if 100 < rate < 150 and not lucky:
            lucky.append(rate)
            return True
        return rate <= 100

    found = searched(Search(50.0), holds)

    assert lucky
    assert found.is_sure
    assert 95 < found.rate_per_s <= 100


def p99_s(rate: float, services: list[float], places: int, seed: int, warm: int) -> float:
    """The p99 of a queue with some places, served in order: a turn begins when it is there and a place is free."""
    free = [0.0] * places
    latencies = Latencies()
    arrivals = arrival_times_s(Arrivals.POISSON, rate, ramp_s=0.0, end_s=math.inf, chance=random.Random(seed))
    for number, (service_s, arrival_s) in enumerate(zip(services, arrivals, strict=False)):
        end_s = max(heapq.heappop(free), arrival_s) + service_s
        heapq.heappush(free, end_s)
        if number >= warm:
            latencies.add(end_s - arrival_s)
    return latencies.summary().p99_s


@settings(max_examples=5, deadline=None)
@given(
    mean_s=st.floats(0.002, 0.2),
    patience=st.floats(8, 40),
    start=st.floats(0.5, 2_000),
    seed=st.integers(0, 1_000),
)
def test_the_limit_of_a_queue_is_found(mean_s: float, patience: float, start: float, seed: int) -> None:
    """One place, exponential times: theory has the p99 at ln(100) / (1/service - rate). The search comes close to the
    rate at which that is the goal, through measurements that scatter as real ones do."""
    goal_s = patience * mean_s
    limit = 1 / mean_s - math.log(100) / goal_s
    probes: list[float] = []

    def holds(rate: float) -> bool:
        chance = random.Random(seed + len(probes))
        probes.append(rate)
        services = [chance.expovariate(1 / mean_s) for _ in range(4_000)]
        return p99_s(rate, services, 1, seed + len(probes), warm=500) <= goal_s

    found = searched(Search(start), holds)

    assert found.is_sure
    assert found.rate_per_s == pytest.approx(limit, rel=0.3)


@settings(max_examples=15, deadline=None)
@given(service_s=st.floats(0.002, 0.2), places=st.integers(1, 8), start=st.floats(0.5, 2_000))
def test_the_limit_of_a_queue_without_chance_is_found_exactly(service_s: float, places: int, start: float) -> None:
    """Equal times, uniform arrivals: nothing waits until all places are busy, and above that rate it piles up."""
    limit = places / service_s

    def holds(rate: float) -> bool:
        free = [0.0] * places
        worst_s = 0.0
        chance = random.Random(0)
        arrivals = arrival_times_s(Arrivals.UNIFORM, rate, ramp_s=0.0, end_s=3_000 * service_s, chance=chance)
        for _, arrival_s in zip(range(20_000), arrivals, strict=False):
            end_s = max(heapq.heappop(free), arrival_s) + service_s
            heapq.heappush(free, end_s)
            worst_s = max(worst_s, end_s - arrival_s)
        return worst_s <= 5 * service_s

    found = searched(Search(start), holds)

    assert found.is_sure
    assert found.rate_per_s == pytest.approx(limit, rel=0.06)
