"""Processes that die, and hosts that only seem to: turns go on elsewhere, and no step is recorded twice or lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.deaths import MAX_DEATHS
from actors.errors import ActiveElsewhere, Fenced
from actors.thread import ThreadActor
from graphs.journal import EntryKind
from runtime import END, START, AsyncLocalRuntime, Graph, NodeError, ThreadState, append
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    another_driver,
    executors,
    failed_step,
    history,
    hosts,
    joined,
    runtime,
    step,
    supervisor,
    tree,
    until,
    world,
)


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


class Work:
    """A chain of three nodes, the second of which waits at a gate; it counts the runs of each."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.runs: Counter[str] = Counter()
        self.attempts: list[int] = []

    def graph(self, name: str = "chain") -> Graph:
        g = Graph(name, state=Log)

        @g.node
        async def first(state: Log) -> dict:
            self.runs[f"first {state.text}"] += 1
            return {"notes": f"first {state.text}"}

        @g.node
        async def held(state: Log, ctx: Any) -> dict:
            self.runs[f"held {state.text}"] += 1
            self.attempts.append(ctx.attempt)
            await self.gate()
            return {"notes": f"held {state.text}"}

        @g.node
        async def last(state: Log) -> dict:
            self.runs[f"last {state.text}"] += 1
            return {"notes": f"last {state.text}"}

        g.edge(START, "first")
        g.edge("first", "held")
        g.edge("held", "last")
        g.edge("last", END)
        return g


CHAIN = [STARTED, step("first"), step("held"), step("last"), COMPLETED]


async def host_of(rt: AsyncLocalRuntime, thread_id: str) -> str:
    return (await rt.records.thread(thread_id)).host


async def test_a_turn_goes_on_where_its_host_left_it() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({"text": "x"}))
        await work.gate.reached()
        before = await rt.records.thread(session.thread)

        await world(rt).kill(before.host)
        await work.gate.reached(2)
        await work.gate.open()
        result = await running

        after = await rt.records.thread(session.thread)
        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["first x", "held x", "last x"])
        assert await history(rt, session.thread) == CHAIN
        assert work.runs == {"first x": 1, "held x": 2, "last x": 1}
        assert (before.epoch, after.epoch) == (1, 2)
        assert after.host != before.host
        assert before.host not in hosts(rt)
        assert len(hosts(rt)) == 2, "another host has taken its place"


async def test_a_driver_that_only_waits_for_a_result_gets_it_all_the_same() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        thread = await (await rt.session("chain")).submit({"text": "x"})
        await work.gate.reached()
        waiting = asyncio.create_task(thread.result())
        await asyncio.sleep(0.01)

        await world(rt).kill(await host_of(rt, thread.id))
        await work.gate.open()

        assert (await waiting).state.notes == ["first x", "held x", "last x"]


async def test_every_host_dies_under_many_turns() -> None:
    work = Work()
    async with runtime(hosts={"min": 3, "max": 3}) as rt:
        await rt.deploy(work.graph())
        sessions = [await rt.session("chain") for _ in range(30)]
        running = [asyncio.create_task(session.run({"text": str(number)})) for number, session in enumerate(sessions)]
        await work.gate.reached(30)

        for address in list(hosts(rt)):
            await world(rt).kill(address)
        await work.gate.open()
        results = await asyncio.gather(*running)

        assert [result.state.notes for result in results] == [
            [f"first {number}", f"held {number}", f"last {number}"] for number in range(30)
        ]
        for session in sessions:
            assert await history(rt, session.thread) == CHAIN


async def test_turns_that_waited_on_a_dead_host_run_in_order() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        threads = [await session.submit({"text": str(number)}) for number in range(4)]
        await work.gate.reached()

        await world(rt).kill(await host_of(rt, session.thread))
        await work.gate.open()
        first = await threads[0].result()
        await until(lambda: not any(host._sessions for host in hosts(rt).values()))
        (head,) = await session.threads()
        last = await threads[-1].result()

        assert first.turn == 1
        assert head.cursor.turn == 4, "nobody had to ask for the turns behind"
        assert last.state.notes == [f"{node} {n}" for n in range(4) for node in ("first", "held", "last")]


def forking(work: Work) -> Graph:
    g = Graph("fork", state=Log)
    for name in ("a", "b", "c", "d"):

        async def node(state: Log, name: str = name) -> dict:
            work.runs[name] += 1
            await work.gate()
            return {"notes": name}

        async def after(state: Log, name: str = name) -> dict:
            work.runs[f"{name} after"] += 1
            return {"notes": f"{name} after"}

        g.node(node, name=name)
        g.node(after, name=f"{name}_after")
        g.edge(START, name)
        g.edge(name, f"{name}_after")
        g.edge(f"{name}_after", "join")
    g.node(lambda state: {"notes": "join"}, name="join")
    g.edge("join", END)
    return g


@pytest.mark.parametrize("victim", ["parent", "branches"])
async def test_a_fork_is_joined_whoever_dies(victim: str) -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(forking(work))
        session = await rt.session("fork")
        running = asyncio.create_task(session.run({}))
        await work.gate.reached(4)
        parent = await host_of(rt, session.thread)
        other = next(address for address in hosts(rt) if address != parent)

        await world(rt).kill(parent if victim == "parent" else other)
        await until(lambda: work.gate.arrived >= 6)
        await work.gate.open()
        result = await running

        assert result.state.notes == [*(f"{n}{x}" for n in "abcd" for x in ("", " after")), "join"]
        main = session.thread
        assert await history(rt, main) == [STARTED, joined("__start__"), step("join"), COMPLETED]
        for index, name in enumerate("abcd"):
            branch = [STARTED, step(name), step(f"{name}_after"), COMPLETED]
            assert await history(rt, f"{main}.1.{index}") == branch
        assert [work.runs[name] for name in "abcd"].count(2) == 2, "only those of the dead host ran again"
        assert all(work.runs[f"{name} after"] == 1 for name in "abcd")


async def test_a_tree_is_cancelled_though_the_host_of_its_branches_is_dead() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(forking(work))
        session = await rt.session("fork")
        thread = await session.submit({})
        await work.gate.reached(4)
        parent = await host_of(rt, session.thread)
        other = next(address for address in hosts(rt) if address != parent)

        await asyncio.gather(world(rt).kill(other), thread.cancel())

        assert set((await tree(rt, session.id)).values()) == {"cancelled"}


async def test_a_step_whose_executor_died_runs_again_and_its_attempts_count() -> None:
    work = Work()
    async with runtime(executors={"function": {"processes": 1}}) as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({"text": "x"}))
        for number in (1, 2):
            await work.gate.reached(number)
            (address,) = executors(rt)
            await world(rt).kill(address)
        await work.gate.reached(3)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["first x", "held x", "last x"]
        assert work.attempts == [1, 2, 3]
        entries = await rt.records.store.journal.read(session.thread)
        assert [entry.attempt for entry in entries if entry.kind is EntryKind.STEP_FINISHED] == [1, 3, 1]
        assert await history(rt, session.thread) == CHAIN
        assert (await rt.records.thread(session.thread)).epoch == 1, "its host did not notice"


async def test_a_step_that_takes_every_executor_down_fails_in_the_end() -> None:
    g = Graph("poison", state=Log)
    victims: list[asyncio.Task[None]] = []
    async with runtime(executors={"function": {"processes": 1}}) as rt:

        @g.node
        async def poison(state: Log) -> dict:
            (address,) = executors(rt)
            victims.append(asyncio.create_task(world(rt).kill(address)))
            await asyncio.Event().wait()
            return {}

        g.edge(START, "poison")
        g.edge("poison", END)
        await rt.deploy(g)
        session = await rt.session("poison")

        result = await session.run({}, timeout_s=20)
        await asyncio.gather(*victims)

        assert result.status is ThreadState.FAILED
        assert type(result.error) is NodeError
        assert (result.error.node, result.error.code) == ("poison", "ExecutorDied")
        assert len(victims) == MAX_DEATHS
        assert await history(rt, session.thread) == [STARTED, failed_step("poison"), FAILED]


async def test_an_activation_that_lost_its_thread_stops_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """A host that was thought dead and is not: its step is not recorded, and its driver finds the new place."""
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({"text": "x"}))
        await work.gate.reached()
        head = await rt.records.thread(session.thread)
        other = next(host for address, host in hosts(rt).items() if address != head.host)

        taken = await ThreadActor.activate(head.thread, other._services, lost=head.host)
        await work.gate.open()
        result = await running

        assert taken.epoch == 2
        assert result.state.notes == ["first x", "held x", "last x"]
        assert await history(rt, session.thread) == CHAIN
        assert work.runs == {"first x": 1, "held x": 2, "last x": 1}
        assert (await rt.records.thread(session.thread)).host == other._services.host
        with pytest.raises(Fenced):
            await rt.records.store.journal.append(
                session.thread, 1, (await rt.records.store.journal.read(session.thread))[:1], op_id="late"
            )
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_running_turn_is_not_taken_from_a_host_that_lives() -> None:
    """Drivers that would go to different hosts with one session: the second is sent to the first one's."""
    work = Work()
    async with runtime() as rt, another_driver(rt) as second:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({"text": "1"}))
        await work.gate.reached()
        theirs = await second.session(id=session.id)
        theirs._home.host = next(address for address in hosts(rt) if address != session._home.host)

        waiting = asyncio.create_task(theirs.run({"text": "2"}))
        same = asyncio.create_task((await second.thread(session.thread)).result())
        await until(
            lambda: any(2 in actor._turns._accepted for host in hosts(rt).values() for actor in host._sessions.values())
        )
        await asyncio.sleep(0.01)
        await work.gate.open()
        results = [await running, await waiting, await same]

        assert [result.turn for result in results] == [1, 2, 1]
        assert set(work.runs.values()) == {1}
        assert theirs._home.host == session._home.host


async def test_a_session_that_two_drivers_use_at_once_runs_every_turn_once() -> None:
    work = Work()
    await work.gate.open()
    async with runtime() as rt, another_driver(rt) as second:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        theirs = await second.session(id=session.id)

        async def drive(handle: Any, name: str) -> None:
            for number in range(15):
                result = await handle.run({"text": f"{name}{number}"})
                assert result.status is ThreadState.COMPLETED

        async with asyncio.timeout(60):
            await asyncio.gather(drive(session, "a"), drive(theirs, "b"))

        (head,) = await session.threads()
        kinds = Counter(entry[1] for entry in await history(rt, session.thread) if entry[0] is EntryKind.STEP_FINISHED)
        assert head.cursor.turn == 30
        assert kinds == {"first": 30, "held": 30, "last": 30}


async def test_one_session_that_moves_leaves_the_others_of_its_driver_alone() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        sessions = [await rt.session("chain") for _ in range(4)]
        running = [asyncio.create_task(session.run({"text": str(number)})) for number, session in enumerate(sessions)]
        await work.gate.reached(4)
        head = await rt.records.thread(sessions[0].thread)
        other = next(host for address, host in hosts(rt).items() if address != head.host)
        await ThreadActor.activate(head.thread, other._services, lost=head.host)
        await work.gate.open()

        await asyncio.gather(*running)

        assert work.runs["held 0"] == 2
        assert {work.runs[f"held {number}"] for number in (1, 2, 3)} == {1}
        assert [(await rt.records.thread(session.thread)).epoch for session in sessions[1:]] == [1, 1, 1]


async def test_the_last_host_dies_and_another_comes() -> None:
    work = Work()
    await work.gate.open()
    async with runtime(hosts={"min": 1, "max": 1}) as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        await session.run({"text": "1"})
        (address,) = hosts(rt)
        await world(rt).kill(address)

        result = await session.run({"text": "2"})

        assert result.turn == 2
        assert supervisor(rt)._directory.hosts == tuple(hosts(rt))


async def test_a_host_that_cannot_be_started_is_started_when_it_can() -> None:
    work = Work()
    await work.gate.open()
    async with runtime(hosts={"min": 1, "max": 1}) as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        await session.run({"text": "1"})
        spawn, failures = world(rt).spawn, 2

        async def failing(kind: str, address: str) -> Any:
            nonlocal failures
            if kind == "host" and failures:
                failures -= 1
                raise ActiveElsewhere("no room")
            return await spawn(kind, address)

        world(rt).spawn = failing  # type: ignore[method-assign]
        (address,) = hosts(rt)
        await world(rt).kill(address)

        errors = []
        while failures:
            try:
                await session.run({"text": "2"})
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try must find a host
                errors.append(type(error).__name__)
        result = await session.run({"text": "3"}, timeout_s=10)

        assert result.status is ThreadState.COMPLETED
        assert len(hosts(rt)) == 1


async def test_a_waiting_turn_is_cancelled_on_another_host_when_its_own_dies() -> None:
    work = Work()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        threads = [await session.submit({"text": str(number)}) for number in range(2)]
        await work.gate.reached()
        cancelling = asyncio.create_task(threads[1].cancel())
        await until(
            lambda: any(actor._stops._cancelled for host in hosts(rt).values() for actor in host._sessions.values())
        )

        await world(rt).kill(await host_of(rt, session.thread))
        await work.gate.open()
        await cancelling

        assert [(await thread.result()).status.value for thread in threads] == ["completed", "cancelled"]
        assert (await history(rt, session.thread))[-2:] == [STARTED, CANCELLED]
