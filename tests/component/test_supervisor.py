"""The supervisor on its own: nobody asks it for anything, and what has died is replaced and taken up all the same."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import BaseModel

from actors.network import SUPERVISOR
from graphs.journal import EntryKind
from runtime import END, START, AsyncLocalRuntime, Graph, append
from tests.component.actors_kit import (
    COMPLETED,
    STARTED,
    Gate,
    ManualClock,
    executors,
    history,
    hosts,
    runtime,
    step,
    supervisor,
    until,
    world,
)


class Log(BaseModel):
    notes: Annotated[list[str], append] = []


CHAIN = [STARTED, step("first"), step("held"), COMPLETED]


def chain(gate: Gate) -> Graph:
    """Two nodes, the second of which waits at the gate."""
    g = Graph("chain", state=Log)

    @g.node
    async def first(state: Log) -> dict:
        return {"notes": "first"}

    @g.node
    async def held(state: Log) -> dict:
        await gate()
        return {"notes": "held"}

    g.edge(START, "first")
    g.edge("first", "held")
    g.edge("held", END)
    return g


async def all_over(rt: AsyncLocalRuntime, threads: list[str]) -> None:
    """Wait until these threads are over, without asking any actor for it."""
    async with asyncio.timeout(10):
        for thread in threads:
            async for entry in rt.records.store.journal.follow(thread):
                if getattr(entry, "kind", None) is EntryKind.TURN_FINISHED:
                    break


async def test_threads_of_a_dead_host_go_on_without_anyone_asking() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        threads = [(await (await rt.session("chain")).submit({})).id for _ in range(6)]
        await gate.reached(6)
        victim = (await rt.records.thread(threads[0])).host
        moved = [thread for thread in threads if (await rt.records.thread(thread)).host == victim]

        await world(rt).kill(victim)
        await gate.reached(6 + len(moved))
        await gate.open()
        await all_over(rt, threads)

        assert [await history(rt, thread) for thread in threads] == [CHAIN] * 6
        assert {(await rt.records.thread(thread)).epoch for thread in moved} == {2}
        assert await rt.records.store.journal.open_threads() == {}
        await until(lambda: len(hosts(rt)) == 2)
        assert victim not in hosts(rt)


async def test_interactions_that_waited_on_a_dead_host_run_too() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        for _ in range(3):
            await session.submit({})
        await gate.reached()

        await world(rt).kill((await rt.records.thread(session.thread)).host)
        await gate.open()
        await until_turn(rt, session.thread, 3)

        assert await history(rt, session.thread) == CHAIN * 3


async def until_turn(rt: AsyncLocalRuntime, thread: str, turn: int) -> None:
    async with asyncio.timeout(10):
        async for entry in rt.records.store.journal.follow(thread):
            if getattr(entry, "kind", None) is EntryKind.TURN_FINISHED and entry.cursor.turn == turn:
                return


async def test_all_hosts_die_and_come_again() -> None:
    gate = Gate()
    async with runtime(hosts={"min": 3, "max": 3}) as rt:
        await rt.deploy(chain(gate))
        threads = [(await (await rt.session("chain")).submit({})).id for _ in range(9)]
        await gate.reached(9)

        await asyncio.gather(*map(world(rt).kill, list(hosts(rt))))
        await gate.open()
        await all_over(rt, threads)

        assert [await history(rt, thread) for thread in threads] == [CHAIN] * 9
        await until(lambda: len(hosts(rt)) == 3)


async def test_a_thread_that_moved_to_a_host_that_dies_moves_again() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        thread = (await (await rt.session("chain")).submit({})).id
        for times in (1, 2, 3):
            await gate.reached(times)
            await world(rt).kill((await rt.records.thread(thread)).host)
        await gate.open()
        await all_over(rt, [thread])

        assert await history(rt, thread) == CHAIN


async def test_a_dead_executor_is_replaced_before_anyone_misses_it() -> None:
    async with runtime() as rt:
        gate = Gate()
        await rt.deploy(chain(gate))
        before = set(executors(rt))

        await world(rt).kill(min(before))
        await until(lambda: len(executors(rt)) == len(before))

        assert len(before & set(executors(rt))) == len(before) - 1


async def test_hosts_hear_of_the_successor_of_an_executor_that_retires() -> None:
    gate = Gate()
    await gate.open()
    async with runtime(executors={"function": {"processes": 1}}) as rt:
        await rt.deploy(chain(gate))
        await (await rt.session("chain")).run({})
        (old,) = executors(rt)

        await supervisor(rt)._fleet.retire(old)
        await until(lambda: old not in executors(rt))

        (new,) = executors(rt)
        await until(lambda: all(host._services.executors._pools["function"] == (new,) for host in hosts(rt).values()))
        assert (await (await rt.session("chain")).run({})).state.notes == ["first", "held"]


async def test_addresses_are_never_used_again() -> None:
    """Two Greenrooms that share a store: the second one's hosts cannot be taken for the first one's."""
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        first = set(world(rt).processes)
        store = world(rt).store
        await world(rt).kill(SUPERVISOR)
        await world(rt).spawn(SUPERVISOR, SUPERVISOR)

        assert first & set(world(rt).processes) == {SUPERVISOR}
        assert await store.next_incarnation() == 3


async def test_a_greenroom_that_starts_takes_up_what_an_earlier_one_left() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        threads = [(await (await rt.session("chain")).submit({})).id for _ in range(4)]
        await gate.reached(4)

        await world(rt).kill(SUPERVISOR)
        assert len(await rt.records.store.journal.open_threads()) == 4
        await world(rt).spawn(SUPERVISOR, SUPERVISOR)
        await gate.open()
        await all_over(rt, threads)

        assert [await history(rt, thread) for thread in threads] == [CHAIN] * 4


async def test_nobody_looks_at_the_clock_while_nothing_is_due() -> None:
    clock, gate = ManualClock(), Gate()
    await gate.open()
    async with runtime(clock=clock) as rt:
        await rt.deploy(chain(gate))

        await (await rt.session("chain")).run({})

        assert clock.slept_s == []


async def test_a_turn_waits_for_functions_that_nobody_has_any_more() -> None:
    """They were made within a function, so after the death of everything only a driver can bring them."""
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        thread = (await (await rt.session("chain")).submit({})).id
        await gate.reached()
        await world(rt).kill(SUPERVISOR)
        world(rt)._shelf.clear()

        await world(rt).spawn(SUPERVISOR, SUPERVISOR)
        await until(lambda: any(host._services.catalog._unavailable for host in hosts(rt).values()))
        assert await history(rt, thread) == CHAIN[:2]
        await rt.deploy(chain(gate))
        await gate.open()
        await all_over(rt, [thread])

        assert await history(rt, thread) == CHAIN


async def test_a_timer_is_slept_for_exactly_and_then_its_thread_goes_on() -> None:
    clock = ManualClock()
    async with runtime(clock=clock) as rt:
        g = Graph("waiting", state=Log)
        g.wait("later", seconds=60)
        g.edge(START, "later")
        g.edge("later", END)
        await rt.deploy(g)
        thread = (await (await rt.session("waiting")).submit({})).id
        await until(lambda: clock.slept_s)
        assert clock.slept_s == [60.0]

        clock.advance(60)
        await all_over(rt, [thread])

        assert await rt.records.store.journal.timers() == []
