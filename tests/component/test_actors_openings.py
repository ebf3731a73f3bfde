"""Turns that begin with one trip to the store, and turns that another host has accepted."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.errors import StoreUnavailable
from graphs.journal import EntryKind, JournalEntry
from runtime import END, START, BusinessRuleViolation, Graph, append
from runtime.testing import AsyncLocalRuntime
from tests.component.actors_kit import COMPLETED, STARTED, Gate, another_driver, history, hosts, runtime, step


class Log(BaseModel):
    notes: Annotated[list[str], append] = []


def noting(gate: Gate | None = None) -> Graph:
    """One node, which waits at the gate."""
    g = Graph("noting", state=Log)

    @g.node
    async def note(state: Log) -> dict:
        if gate is not None:
            await gate()
        return {"notes": "noted"}

    g.edge(START, "note")
    g.edge("note", END)
    return g


class Trips:
    """Counts what is asked of the store, by name."""

    def __init__(self, rt: AsyncLocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self._within = False
        """Whether an operation is under way: what it does itself is the same trip."""
        store = rt.records.store
        for part, names in (
            (store.sessions, ("accept", "begin_turn", "interaction")),
            (store.journal, ("activate", "append")),
        ):
            for name in names:
                monkeypatch.setattr(part, name, self._counting(name, getattr(part, name)))

    def _counting(self, name: str, operation: Any) -> Any:
        async def run(*args: Any, **options: Any) -> Any:
            if self._within:
                return await operation(*args, **options)
            self.made.append(name)
            self._within = True
            try:
                return await operation(*args, **options)
            finally:
                self._within = False

        return run


async def test_a_turn_is_accepted_activated_and_begun_in_one_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    async with runtime(hosts={"min": 1}) as rt:
        await rt.deploy(noting())
        session = await rt.session("noting")
        trips = Trips(rt, monkeypatch)
        for turn in (1, 2):
            trips.made.clear()

            result = await session.run({})

            assert (result.turn, result.state.notes) == (turn, ["noted"] * turn)
            assert trips.made == ["begin_turn", "append"]  # the step, and with it the end of the turn
        assert await history(rt, session.thread) == [STARTED, step("note"), COMPLETED] * 2


async def test_a_session_has_the_build_that_another_driver_has_deployed_meanwhile() -> None:
    async with runtime() as rt, another_driver(rt) as second:
        await rt.deploy(noting())
        before = await rt.session("noting")
        g = Graph("noting", state=Log)
        g.node(lambda state: {"notes": "otherwise"}, name="note")
        g.edge(START, "note")
        g.edge("note", END)
        await second.deploy(g)

        after = await rt.session("noting")

        assert [(await session.run({})).state.notes for session in (before, after)] == [["noted"], ["otherwise"]]


async def test_turns_that_nobody_waits_for_are_spread_over_the_hosts() -> None:
    gate = Gate()
    async with runtime(hosts={"min": 2}) as rt:
        await rt.deploy(noting(gate))

        threads = [await (await rt.session("noting")).submit({}) for _ in range(10)]

        await gate.reached(10)
        assert [len(host._sessions) for host in hosts(rt).values()] == [5, 5]
        await gate.open()
        assert [(await thread.result()).state.notes for thread in threads] == [["noted"]] * 10


async def test_without_a_place_it_is_accepted_and_waits() -> None:
    gate = Gate()
    async with runtime(hosts={"min": 1, "capacity": 1}) as rt:
        await rt.deploy(noting(gate))
        first, second = [await rt.session("noting") for _ in range(2)]
        await first.submit({})
        await gate.reached()

        waiting = await second.submit({})

        assert await rt.records.store.journal.head(waiting.id) is None
        await gate.open()
        assert (await waiting.result()).state.notes == ["noted"]


async def test_many_that_come_at_once_to_a_host_with_few_places_are_accepted_at_once() -> None:
    gate = Gate()
    async with runtime(hosts={"min": 1, "capacity": 2}) as rt:
        await rt.deploy(noting(gate))
        sessions = [await rt.session("noting") for _ in range(10)]

        threads = await asyncio.gather(*(session.submit({}) for session in sessions))

        await gate.reached(2)
        await gate.open()
        results = await asyncio.gather(*(thread.result() for thread in threads))
        assert [result.state.notes for result in results] == [["noted"]] * 10


async def test_a_turn_that_is_refused_leaves_nothing_behind() -> None:
    async with runtime(hosts={"min": 1}) as rt:
        await rt.deploy(noting())
        session = await rt.session("noting")
        await session.complete()

        with pytest.raises(BusinessRuleViolation, match="is completed and takes no more turns"):
            await session.run({})

        assert await rt.records.store.journal.threads(session.id) == []


@pytest.mark.parametrize("done", [False, True])
async def test_whoever_asks_while_the_store_is_away_is_told(done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with runtime(hosts={"min": 1}) as rt:
        await rt.deploy(noting())
        session = await rt.session("noting")
        begin_turn = rt.records.store.sessions.begin_turn

        async def fails(*args: Any, **options: Any) -> Any:
            if done:
                await begin_turn(*args, **options)
            raise StoreUnavailable("away for a moment", url="memory://")

        monkeypatch.setattr(rt.records.store.sessions, "begin_turn", fails)
        with pytest.raises(StoreUnavailable):
            await session.run({})
        monkeypatch.undo()

        result = await session.run({})

        turns = 2 if done else 1  # what was recorded runs, too, though nobody knew that it was
        assert (result.turn, result.state.notes) == (turns, ["noted"] * turns)
        assert await history(rt, session.thread) == [STARTED, step("note"), COMPLETED] * turns


async def test_a_turn_that_another_host_has_accepted_runs_though_nobody_asks_for_it() -> None:
    """As by a driver that looked for the session's host before it had one, and is gone since."""
    gate = Gate()
    async with runtime(hosts={"min": 2}) as rt, another_driver(rt) as second:
        await rt.deploy(noting(gate))
        session = await rt.session("noting")
        await session.submit({})
        await gate.reached()
        theirs = await second.session(id=session.id)
        (theirs._home.host,) = set(hosts(rt)) - {session._home.host}

        waiting = await theirs.submit({})
        await gate.open()

        async with asyncio.timeout(10):
            async for event in rt.records.store.journal.follow(session.thread):
                if isinstance(event, JournalEntry) and event.kind is EntryKind.TURN_FINISHED and event.cursor.turn == 2:
                    break
        assert waiting.id == session.thread
        assert await history(rt, session.thread) == [STARTED, step("note"), COMPLETED] * 2
