"""Load tests against a simulated server, in virtual time: what is due when, what is counted, and as what."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from actors.errors import DestinationDied, Overloaded
from graphs.errors import ValidationError
from graphs.threads import ThreadPriority
from runtime.load.driver import LoadDriver
from runtime.load.plan import Arrivals, LoadPlan
from runtime.load.tally import COMPLETED, MAX_ERRORS, OTHER, Ending, Outcome, Tally
from tests.unit.load_kit import Server, Session, stalling, virtually


def plan(**fields: Any) -> LoadPlan:
    chosen = {"workflow": "w", "arrivals": Arrivals.UNIFORM, "warm_up_s": 0.0, "duration_s": 10.0, **fields}
    return LoadPlan(**chosen)


def loaded(chosen: LoadPlan, make: Any, inputs: Any = ({},)) -> tuple[Tally, Server]:
    """What came of a test, and the server."""

    async def program() -> tuple[Tally, Server]:
        server = make()
        return await LoadDriver(chosen, server, inputs).run(), server

    return virtually(program())


def test_an_open_loop_counts_what_a_stall_makes_late() -> None:
    """No coordinated omission: a server that stands still for a second makes the hundred turns of it late.

    Those that arrive in the stall wait for its end, and those after them for the queue to get shorter: of 9 ms in
    each 10 ms the server catches up.
    """
    tally, _ = loaded(plan(rate_per_s=100), lambda: Server(stalling(0.001, 3.0, 4.0)))
    latency = tally.latencies.summary()

    assert tally.ended == {Outcome.COMPLETED: 1_000}
    assert latency.max_s == pytest.approx(1.001, rel=2e-3)
    assert latency.p50_s == pytest.approx(0.001, rel=2e-3)
    # The n-th turn of the stall has waited 1 s - n * 9 ms: 111 turns are late, of which 10 are in the last percent.
    assert latency.p99_s == pytest.approx(1.001 - 10 * 0.009, rel=2e-3)
    assert latency.p95_s == pytest.approx(1.001 - 50 * 0.009, rel=2e-3)
    assert tally.lags.summary().max_s == pytest.approx(0, abs=2e-6)


def test_a_closed_loop_sees_a_stall_once() -> None:
    """The same server: a caller that waits asks nothing meanwhile. That is why its percentiles say less."""
    tally, _ = loaded(plan(concurrency=1), lambda: Server(stalling(0.001, 3.0, 4.0)))

    assert tally.ended[Outcome.COMPLETED] == pytest.approx(9_000, abs=2)
    assert tally.latencies.summary().p999_s == pytest.approx(0.001, rel=2e-3)
    assert tally.latencies.summary().max_s == pytest.approx(1.001, rel=2e-3)


def test_who_is_late_itself_says_so() -> None:
    """A driver that could not send anything for half a second counts that into the latencies, and as lag."""

    class Blocking(Server):
        async def open(self, user: int) -> Session:
            if len(self.sessions) == 10:
                asyncio.get_running_loop().now_s += 0.5  # nobody else had the word
            return await super().open(user)

    tally, _ = loaded(plan(rate_per_s=10, duration_s=5.0), lambda: Blocking(lambda _: 0.001, places=9))

    assert tally.lags.summary().max_s == pytest.approx(0.4, rel=2e-3)
    assert tally.latencies.summary().max_s == pytest.approx(0.5, rel=5e-3)
    assert tally.ended == {Outcome.COMPLETED: 50}


def test_phases() -> None:
    """Only what arrives while it is measured is counted; the timeline has all of it."""
    chosen = plan(rate_per_s=10, ramp_s=2.0, warm_up_s=3.0, duration_s=5.0)
    tally, server = loaded(chosen, lambda: Server(lambda _: 0.05))

    assert (tally.arrived, tally.ended, tally.in_flight) == (50, {Outcome.COMPLETED: 50}, 0)
    assert tally.completed_per_s == pytest.approx(10, abs=0.2)
    assert len(server.turns) == 10 + 30 + 50
    assert sum(interval.arrived for interval in tally.timeline) == 90
    assert sum(interval.ended.get(Outcome.COMPLETED, 0) for interval in tally.timeline) == 90
    phases = Counter(interval.phase for interval in tally.timeline)
    assert phases == {"ramp": 4, "warm-up": 6, "measured": 10}
    assert all(after.at_s > before.at_s for before, after in pairwise(tally.timeline))


def test_a_closed_loop_keeps_so_many_under_way() -> None:
    """Callers begin one after the other in the ramp; then each has a turn under way."""
    tally, _ = loaded(plan(concurrency=3, ramp_s=3.0, duration_s=2.0), lambda: Server(lambda _: 0.07, places=10))

    assert tally.arrived == pytest.approx(3 * 2.0 / 0.07, abs=3)
    assert [interval.in_flight for interval in tally.timeline if interval.at_s < 0.9] == [1, 1, 1]
    # A row may end between two turns of one caller.
    assert {interval.in_flight for interval in tally.timeline if 3 <= interval.at_s < 4.9} <= {2, 3}


def test_turns_users_inputs_and_priorities() -> None:
    chosen = plan(
        rate_per_s=10,
        duration_s=30.0,
        turns=3,
        users=2,
        priorities={ThreadPriority.HIGH: 1.0, ThreadPriority.LOW: 3.0},
    )
    _, server = loaded(chosen, lambda: Server(lambda _: 0.01), [{"n": 1}, {"n": 2}])

    assert Counter(Counter(thread for thread, _, _ in server.turns).values()) == {3: 100}
    assert Counter(session.user for session in server.sessions) == {0: 50, 1: 50}
    assert [content["n"] for _, content, _ in server.turns[:4]] == [1, 2, 1, 2]
    priorities = Counter(priority for _, _, priority in server.turns)
    assert set(priorities) == {ThreadPriority.HIGH, ThreadPriority.LOW}
    assert priorities[ThreadPriority.HIGH] == pytest.approx(75, abs=25)


def test_an_arrival_waits_for_no_session() -> None:
    """While the first turn of a session runs, its second does not come: another session begins."""
    _, server = loaded(plan(rate_per_s=10, duration_s=1.0, turns=5), lambda: Server(lambda _: 0.25, places=99))

    assert len(server.turns) == 10
    assert len(server.sessions) == 3


def test_too_slow_turns_are_cancelled() -> None:
    chosen = plan(rate_per_s=10, duration_s=2.0, timeout_s=0.5)
    tally, server = loaded(chosen, lambda: Server(lambda now_s: 0.01 if now_s < 1 else 5.0, places=99))

    assert tally.ended == {Outcome.COMPLETED: 10, Outcome.TIMED_OUT: 10}
    assert sum(session.cancelled for session in server.sessions) == 10
    (error,) = tally.errors.values()
    assert (error.count, error.error, error.message) == (10, "Timeout", "not over after 0.5 s")
    assert error.thread_id == "s10:0"


def test_what_is_under_way_at_the_end_is_given_up() -> None:
    """It is waited for, but not for ever; then its turns are cancelled."""
    chosen = plan(rate_per_s=10, duration_s=2.0, timeout_s=60.0, drain_s=3.0)
    tally, server = loaded(chosen, lambda: Server(lambda now_s: 4.0 if now_s < 1 else 6.0, places=99))

    assert tally.ended == {Outcome.COMPLETED: 10, Outcome.ABANDONED: 10}
    assert (tally.in_flight, tally.timeline[-1].at_s) == (0, 5.0)
    assert [session.cancelled for session in server.sessions] == [0] * 10 + [1] * 10
    assert {(error.error, error.count) for error in tally.errors.values()} == {("Abandoned", 10)}


def test_a_test_that_is_interrupted_cancels_its_turns() -> None:
    async def program() -> Server:
        server = Server(lambda _: 100.0, places=99)
        test = asyncio.create_task(LoadDriver(plan(rate_per_s=10, timeout_s=200.0), server).run())
        await asyncio.sleep(1.05)
        test.cancel()
        await asyncio.wait([test])
        assert test.cancelled()
        return server

    server = virtually(program())
    assert [session.cancelled for session in server.sessions] == [1] * 11


def test_no_more_are_under_way_than_may_be() -> None:
    tally, server = loaded(
        plan(rate_per_s=10, duration_s=2.0, max_in_flight=5, timeout_s=50.0), lambda: Server(lambda _: 10.0, places=99)
    )

    assert tally.ended == {Outcome.COMPLETED: 5, Outcome.REFUSED: 15}
    assert len(server.turns) == 5
    assert max(interval.in_flight for interval in tally.timeline) == 5


def test_errors_by_type() -> None:
    def ending(number: int) -> Ending:
        match number % 4:
            case 0:
                raise Overloaded("too\nmany", retry_after_s=1.0)
            case 1:
                raise DestinationDied("gone", destination="host-1.1")
            case 2:
                return Ending(outcome=Outcome.FAILED, error="ValueError", message="no")
            case _:
                return COMPLETED

    tally, server = loaded(
        plan(rate_per_s=10, duration_s=4.0, turns=100), lambda: Server(lambda _: 0.01, ending=ending)
    )

    assert tally.ended == {Outcome.REFUSED: 10, Outcome.FAILED: 20, Outcome.COMPLETED: 10}
    assert {(each.outcome, each.error, each.count, each.message) for each in tally.errors.values()} == {
        (Outcome.REFUSED, "Overloaded", 10, "too many"),
        (Outcome.FAILED, "DestinationDied", 10, "gone"),
        (Outcome.FAILED, "ValueError", 10, "no"),
    }
    # A session goes on after a turn that was refused or completed, and not after one that failed.
    assert len(server.sessions) == 21
    assert tally.failed == 30


def test_paused_turns_are_fine_and_end_their_session() -> None:
    pause = Ending(outcome=Outcome.PAUSED)
    tally, server = loaded(plan(rate_per_s=10, turns=9), lambda: Server(lambda _: 0.01, ending=lambda _: pause))

    assert (tally.ended, tally.failed, tally.errors) == ({Outcome.PAUSED: 100}, 0, {})
    assert len(server.sessions) == 100


def test_what_nobody_expected_ends_the_test() -> None:
    def ending(_: int) -> Ending:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        loaded(plan(rate_per_s=10), lambda: Server(lambda _: 0.01, ending=ending))
    assert caught.group_contains(ZeroDivisionError)


def test_different_errors_are_bounded() -> None:
    tally = Tally(ramp_s=0, begin_s=0, end_s=10)
    for number in range(MAX_ERRORS + 30):
        tally.start(1.0, 1.0)
        tally.end(1.0, 2.0, Ending(outcome=Outcome.FAILED, error=f"E{number}"))

    assert len(tally.errors) == MAX_ERRORS + 1
    assert tally.errors[Outcome.FAILED, OTHER].count == 30
    assert sum(error.count for error in tally.errors.values()) == tally.failed == MAX_ERRORS + 30


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "give either rate_per_s (an open loop) or concurrency (a closed one)"),
        ({"rate_per_s": 1.0, "concurrency": 1}, "give either rate_per_s (an open loop) or concurrency (a closed one)"),
        ({"rate_per_s": 0.0}, "rate_per_s: 0.0 is not above 0"),
        ({"rate_per_s": float("nan")}, "rate_per_s: nan is not above 0"),
        ({"concurrency": 1, "duration_s": 0.0}, "duration_s: 0.0 is not above 0"),
        ({"concurrency": 1, "ramp_s": -1.0}, "ramp_s: -1.0 is below 0"),
        ({"concurrency": 1, "priorities": {}}, "priorities: there must be some, with weights above 0"),
    ],
)
def test_plans_that_cannot_be_carried_out(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        plan(**fields).checked()
    assert caught.value.problems == [problem]
