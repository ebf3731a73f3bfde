"""Every process killed at every message and every word with the store: each time the same turns end the same way.

A failure names the workflow, the kind of victim and the point. `--crash-point N` runs that point alone, and
`--every-crash` those too that are left out to save time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.errors import DestinationDied, StoreUnavailable
from actors.network import SUPERVISOR
from graphs.journal import EntryKind, PauseKind
from graphs.sessions import SessionState
from graphs.threads import main_thread_id
from runtime.results import ThreadResult
from tests.component.actors_kit import leftovers
from tests.faults.crashes import DRIVER, PATIENCE_S, STORE, Crash, CrashWorld, Driver, Point, crashing, run
from tests.faults.drives import SESSION, answer_all
from tests.faults.recorded import check_history
from tests.faults.scenarios import SCENARIOS, Scenario

KINDS = ("host", "executor", "supervisor", "store", "driver")
MAIN = main_thread_id(SESSION)
SHARE = 3
"""One crash in so many is tried without `--every-crash`, ..."""
PAIRS = 8
"""... and so many pairs of each workflow."""


@dataclass
class Outcome:
    """What a run has left."""

    results: list[tuple[Any, ...]] = field(default_factory=list)
    """(turn, status, state, error) of each result the driver got."""
    threads: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    """Thread -> (kind, node, status, calls of models and tools) of its entries."""
    points: list[Point] = field(default_factory=list)
    is_orphaned: bool = False
    """The driver was gone before all was over, or was told that the store is away: another one found the results."""


async def play(scenario: Scenario, crash: Crash | None) -> Outcome:
    async with crashing(crash) as (driver, world):
        for graph in scenario.build():
            await driver.deploy(graph)
        world.start_counting()
        is_orphaned = False
        try:
            async with asyncio.timeout(PATIENCE_S):
                results = await driver.life.run(scenario.drive(driver))
        except (DestinationDied, StoreUnavailable):  # or what the driver wants cannot be accepted just now
            if not driver.life.is_dead and STORE not in world.struck:
                raise
            results, is_orphaned = await look_for_results(world), True
        await at_rest(driver, world)
        world.stop_counting()
        return Outcome([_told(result) for result in results], await journals(world), world.points, is_orphaned)


async def look_for_results(world: CrashWorld) -> list[ThreadResult]:
    """The driver is dead: what another one finds of its turns."""
    other = Driver(world, "driver-2")
    session = await world.store.sessions.find_by_id(SESSION)
    if session is not None and session.state is SessionState.PAUSED:
        await (await other.session(id=SESSION)).resume()
    turns = 0
    while session is not None and await world.store.sessions.interaction(SESSION, turns + 1) is not None:
        turns += 1
    results = []
    if turns:
        async with asyncio.timeout(PATIENCE_S):
            thread = await other.thread(MAIN)
            result = await thread.result()
            if result.pause is not None and result.pause.kind is PauseKind.ASKED:
                await thread.resume()
                result = await thread.result()
            if result.pause is not None:
                result = await answer_all(other)
            results.append(result)
            results += [await other.outcome(MAIN, turn) for turn in range(result.turn + 1, turns + 1)]
    await other.network.close()
    return results


async def at_rest(driver: Driver, world: CrashWorld) -> None:
    """Wait until nothing is held of any thread, in memory or as open, and check it."""
    journal, left = world.store.journal, {}
    for _ in range(1_000):
        if SUPERVISOR in world.processes:
            left = leftovers(driver) | {"open": await journal.open_threads(), "timers": await journal.timers()}
            if not any(left.values()):
                return
        await asyncio.sleep(0.1)
    raise AssertionError(f"this is left: {left}")


async def journals(world: CrashWorld) -> dict[str, list[tuple[Any, ...]]]:
    """The entries of all threads, which must be whole."""
    journal, threads = world.store.journal, {}
    for head in await journal.threads(SESSION):
        entries = await journal.read(head.thread.id)
        assert [entry.seq for entry in entries] == list(range(1, head.seq + 1)), head.thread.id
        assert head.cursor == entries[-1].cursor if entries else head.seq == 0
        assert not entries or head.cursor.status.finished, f"{head.thread.id} is stuck: {head.cursor}"
        kinds = Counter(entry.kind for entry in entries)
        started = kinds[EntryKind.TURN_STARTED] + kinds[EntryKind.BRANCHED]
        assert started == head.cursor.turn, head.thread.id  # 0: cancelled before it began
        assert kinds[EntryKind.TURN_FINISHED] == max(1, head.cursor.turn), head.thread.id
        threads[head.thread.id] = [
            (entry.kind.value, entry.node, entry.cursor.status.value, len(entry.calls)) for entry in entries
        ]
    await check_history(world.store, SESSION)
    return threads


def _told(result: ThreadResult) -> tuple[Any, ...]:
    error = None if result.error is None else (type(result.error).__name__, str(result.error))
    state = result.state if isinstance(result.state, dict) else result.state.model_dump()
    return result.turn, result.status.value, state, error


def crashes(points: list[Point], kind: str) -> Iterator[Crash]:
    """Every point with every victim of this kind."""
    for point in points:
        for victim in point.victims:
            if kind_of(victim) == kind:
                yield Crash(point.number, victim, point.what)


def kind_of(victim: str) -> str:
    if victim in (STORE, DRIVER):
        return victim
    name = victim.partition("-")[0]
    return name if name in ("host", "supervisor") else "executor"


def compare(scenario: Scenario, calm: Outcome, outcome: Outcome) -> None:
    if outcome.is_orphaned:
        if "cancelled" in {result[1] for result in calm.results}:
            return  # perhaps nobody was left to cancel it
        for result in outcome.results:
            expected = [each for each in calm.results if each[0] == result[0]]
            assert any(scenario.allows(each, result) for each in expected), f"{result} instead of {expected}"
        return
    assert len(outcome.results) == len(calm.results)
    for expected_result, result in zip(calm.results, outcome.results, strict=True):
        assert scenario.allows(expected_result, result), f"{result} instead of {expected_result}"
    if scenario.is_exact:
        assert outcome.threads == calm.threads


CASES = [(name, kind) for name in SCENARIOS for kind in KINDS]
CASES.remove(("fork deadline", "supervisor"))  # while there is none no branch finds a place, and the deadline passes


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_nothing_is_lost(name: str, kind: str, request: pytest.FixtureRequest) -> None:
    calm = run(play(SCENARIOS[name], None))
    found = list(crashes(calm.points, kind))
    if not request.config.getoption("--every-crash"):
        found = found[CASES.index((name, kind)) % SHARE :: SHARE]
    check(name, calm, found, request.config.getoption("--crash-point"))


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "fork deadline"])
def test_nothing_is_lost_when_somebody_dies_while_a_death_is_dealt_with(
    name: str, request: pytest.FixtureRequest
) -> None:
    calm = run(play(SCENARIOS[name], None))
    chance = random.Random(name)
    found = [
        dataclasses.replace(crash, again_after=chance.randint(1, 30))
        for kind in ("host", "executor", "supervisor")
        for crash in crashes(calm.points, kind)
    ]
    count = len(found) if request.config.getoption("--every-crash") else min(len(found), PAIRS)
    check(name, calm, chance.sample(found, count), request.config.getoption("--crash-point"))


def check(name: str, calm: Outcome, found: list[Crash], only: int | None) -> None:
    """Run a workflow with each of these crashes; `only` those at this point if it is given."""
    scenario, failures = SCENARIOS[name], []
    for crash in found:
        if only is not None and crash.point != only:
            continue
        try:
            compare(scenario, calm, run(play(scenario, crash)))
        except (Exception, asyncio.CancelledError) as error:
            if only is not None:
                raise
            failures.append(f"{crash}: {type(error).__name__}: {error}")
    assert not failures, f"{name}: {len(failures)} of {len(found)} failed; the first:\n" + "\n".join(failures[:10])


@pytest.fixture(autouse=True)
def _quiet() -> None:
    for name in ("actors", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
