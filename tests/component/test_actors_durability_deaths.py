"""What is not written yet, in each durability, when somebody dies, is cancelled or pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from actors.thread import ThreadActor
from graphs.journal import EntryKind
from runtime import END, START, Durability, Graph, NodeError, RetryPolicy, ThreadState
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    executors,
    failed_step,
    history,
    hosts,
    runtime,
    step,
    until,
    world,
)
from tests.component.forks_kit import noting
from tests.component.test_actors_durability import MODES, Log, chain, crash, first, loop, second, watched


class Held:
    """A chain of three nodes, the second of which waits at a gate; it counts the runs of each."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.runs: Counter[str] = Counter()
        self.attempts: list[int] = []

    def graph(self) -> Graph:
        async def first(state: Log) -> dict:
            self.runs["first"] += 1
            return {"notes": "first"}

        async def held(state: Log, ctx: Any) -> dict:
            self.runs["held"] += 1
            self.attempts.append(ctx.attempt)
            await self.gate()
            return {"notes": "held"}

        async def last(state: Log) -> dict:
            self.runs["last"] += 1
            return {"notes": "last"}

        return chain(first, held, last)


@pytest.mark.parametrize(("mode", "first_runs"), [("sync", 1), ("async", 1), ("exit", 2)])
async def test_what_is_not_written_runs_again_when_an_executor_dies(mode: str, first_runs: int) -> None:
    """The record shows each step once all the same."""
    work = Held()
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability=mode))
        await work.gate.reached()
        if mode == "async":
            await until(lambda: journal.appends)
        await crash(rt, journal)
        await work.gate.reached(2)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert work.runs == {"first": first_runs, "held": 2, "last": 1}
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]


@pytest.mark.parametrize(("mode", "first_runs"), [("sync", 1), ("async", 1), ("exit", 2)])
async def test_what_is_not_written_runs_again_when_a_host_dies(mode: str, first_runs: int) -> None:
    """What its executor writes afterwards is lost here, and refused as a rule; the record shows each step once."""
    work = Held()
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability=mode))
        await work.gate.reached()
        if mode == "async":
            await until(lambda: journal.appends)
        (executor,) = executors(rt)
        journal.dead.add(f"{executor}/0/")
        await world(rt).kill((await rt.records.thread(session.thread)).host)
        await work.gate.reached(2)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert work.runs == {"first": first_runs, "held": 2, "last": 1}
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]


async def test_what_was_kept_for_a_host_that_lost_its_thread_is_refused() -> None:
    """On exit that is all the turn has done: it has run to its end, and runs again from its beginning."""
    work = Held()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability="exit"))
        await work.gate.reached()
        head = await rt.records.thread(session.thread)
        other = next(host for address, host in hosts(rt).items() if address != head.host)

        await ThreadActor.activate(head.thread, other._services, lost=head.host)
        await work.gate.open()
        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert work.runs == {"first": 2, "held": 2, "last": 2}
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]
        assert (await rt.records.thread(session.thread)).fenced == 1


async def test_what_was_kept_by_executors_before_outlives_the_one_that_dies() -> None:
    """Steps of the model before it are kept by the thread: only those of the dead executor run again."""
    work = Held()
    g = Graph("kinds", state=Log)
    g.tool("compute", tool="calculator", arguments={"expression": "6 * 7"}, into="notes")

    @g.node
    async def held(state: Log) -> dict:
        work.runs["held"] += 1
        await work.gate()
        return {"notes": "held"}

    g.edge(START, "compute")
    g.edge("compute", "held")
    g.edge("held", END)
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(g)
        session = await rt.session("kinds")
        running = asyncio.create_task(session.run({}, durability="exit"))
        await work.gate.reached()
        assert await history(rt, session.thread) == [STARTED]
        await crash(rt, journal)
        await work.gate.reached(2)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["42", "held"]
        assert journal.appends == [
            [EntryKind.STEP_FINISHED, EntryKind.STEP_FINISHED, EntryKind.TURN_FINISHED],
        ]
        assert await history(rt, session.thread) == [STARTED, step("compute"), step("held"), COMPLETED]


async def test_a_step_that_takes_every_executor_with_it_is_found_in_every_mode() -> None:
    """After a death steps are written one by one, so that the one at fault is known."""
    victims: list[asyncio.Task[None]] = []
    for mode in MODES:
        async with watched(executors={"function": {"processes": 1}}) as (rt, journal):

            async def poison(state: Log) -> dict:
                victims.append(asyncio.create_task(crash(rt, journal)))
                await asyncio.Event().wait()
                return {}

            await rt.deploy(chain(first, poison, second))
            session = await rt.session("chain")

            result = await session.run({}, durability=mode)
            await asyncio.gather(*victims)

            assert result.status is ThreadState.FAILED
            assert type(result.error) is NodeError
            assert (result.error.node, result.error.code) == ("poison", "ExecutorDied")
            assert await history(rt, session.thread) == [STARTED, step("first"), failed_step("poison"), FAILED]


@pytest.mark.parametrize("mode", MODES)
async def test_an_append_is_lost(mode: Durability) -> None:
    """The segment ends, and the thread goes on from its journal."""
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(loop(100))
        session = await rt.session("loop")
        (address,) = executors(rt)
        journal.dead.add(f"{address}/")
        running = asyncio.create_task(session.run({}, durability=mode))
        await until(lambda: journal.lost_count)
        journal.dead.clear()

        result = await running

        assert result.state.notes == [f"n{number}" for number in range(1, 101)]
        assert await history(rt, session.thread) == [STARTED, *[step("count")] * 100, COMPLETED]


@pytest.mark.parametrize("mode", MODES)
async def test_a_cancelled_turn_records_what_was_done(mode: Durability) -> None:
    work = Held()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        thread = await session.submit({}, durability=mode)
        await work.gate.reached()

        await thread.cancel()

        assert await history(rt, session.thread) == [STARTED, step("first"), CANCELLED]
        assert (await thread.result()).state.notes == ["first"]
        assert (await rt.records.thread(session.thread)).epoch == 1


@pytest.mark.parametrize("mode", MODES)
async def test_cancelled_branches_record_what_was_done(mode: Durability) -> None:
    work = Held()
    g = Graph("fork", state=Log)
    for name in ("a", "b"):
        g.node(noting(name), name=name)  # type: ignore[arg-type]
        g.node(noting(f"{name}2", work.gate), name=f"{name}2")  # type: ignore[arg-type]
        g.edge(START, name)
        g.edge(name, f"{name}2")
        g.edge(f"{name}2", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("fork")
        thread = await session.submit({}, durability=mode)
        await work.gate.reached(2)

        await thread.cancel()

        assert await history(rt, session.thread) == [STARTED, CANCELLED]
        assert await history(rt, f"{session.thread}.1.0") == [STARTED, step("a"), CANCELLED]
        assert await history(rt, f"{session.thread}.1.1") == [STARTED, step("b"), CANCELLED]


@pytest.mark.parametrize("mode", MODES)
async def test_a_turn_is_cancelled_though_its_executor_does_not_answer(
    mode: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node takes no notice; the thread waits for it only so long."""
    monkeypatch.setattr("actors.thread.CUT_OFF_S", 0.05)
    gate, entered = Gate(), asyncio.Event()

    async def unmoved(state: Log) -> dict:
        entered.set()
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await gate()
        return {"notes": "too late"}

    async with runtime() as rt:
        await rt.deploy(chain(first, unmoved))
        session = await rt.session("chain")
        thread = await session.submit({}, durability=mode)
        await entered.wait()

        await thread.cancel()

        assert (await history(rt, session.thread))[-1] == CANCELLED
        assert step("unmoved") not in await history(rt, session.thread)
        await gate.open()


@pytest.mark.parametrize("mode", MODES)
async def test_a_segment_is_ended_after_the_step_it_is_at(mode: Durability) -> None:
    work = Held()
    async with runtime(executors={"function": {"processes": 1}}) as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability=mode))
        await work.gate.reached()
        head = await rt.records.thread(session.thread)
        (executor,) = executors(rt).values()

        await hosts(rt)[head.host]._services.executors.end(session.thread, head.epoch)
        await until(lambda: next(iter(executor._running.values())).end)
        await work.gate.open()
        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert next(executor._segments_count) == 2, "the last step was a segment of its own"
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]


async def test_runs_of_a_step_are_counted_across_executors() -> None:
    """All runs in an executor that died count as one: what it had tried before died with it."""
    gate, attempts = Gate(), list[int]()
    g = Graph("retries", state=Log)

    @g.node(retry=RetryPolicy(max_attempts=3, backoff_s=0))
    async def flaky(state: Log, ctx: Any) -> dict:
        attempts.append(ctx.attempt)
        assert ctx.idempotency_key == f"{ctx.thread_id}:2"
        if len(attempts) == 2:
            await gate()
        if len(attempts) < 5:
            raise ConnectionError("the line went dead")
        return {"notes": "done"}

    g.edge(START, "flaky")
    g.edge("flaky", END)
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(g)
        session = await rt.session("retries")
        running = asyncio.create_task(session.run({}))
        await gate.reached()
        await crash(rt, journal)

        result = await running

        assert result.state.notes == ["done"]
        assert attempts == [1, 2, 2, 3, 4]
        entries = await rt.records.store.journal.read(session.thread)
        assert [entry.attempt for entry in entries if entry.node == "flaky"] == [4]


@pytest.mark.parametrize("mode", MODES)
async def test_a_pause_stores_what_was_before_it(mode: Durability) -> None:
    """All processes die while it waits: only what comes after the answer runs."""
    runs: Counter[str] = Counter()

    async def before(state: Log) -> dict:
        runs["before"] += 1
        return {"notes": "before"}

    async def after(state: Log) -> dict:
        runs["after"] += 1
        return {"notes": state.text}

    g = Graph("asking", state=Log)
    g.node(before)
    g.human("ask", question="What now?", into="text")
    g.node(after)
    for source, target in pairwise([START, "before", "ask", "after", END]):
        g.edge(source, target)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("asking")
        waiting = await session.run({}, durability=mode)
        stored = await history(rt, session.thread)
        for address in [*executors(rt), *hosts(rt)]:
            await world(rt).kill(address)
        thread = await rt.thread(session.thread)

        await thread.answer("go on")
        result = await thread.result()

        paused = (EntryKind.PAUSED, "ask", "paused")
        assert waiting.status is ThreadState.PAUSED
        assert stored == [STARTED, step("before"), paused]
        assert result.state.notes == ["before", "go on"]
        assert runs == {"before": 1, "after": 1}
        entries = await rt.records.store.journal.read(session.thread)
        assert {entry.cursor.durability for entry in entries} == {mode}
