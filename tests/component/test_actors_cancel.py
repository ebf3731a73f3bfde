"""Cancelling: what runs stops, what waits does not begin, and all of it is recorded."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.protocol import CancelThread, Stopped
from runtime import END, START, Cancelled, Graph, NotFoundError, ThreadFinished, ThreadState, append
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    STARTED,
    Gate,
    history,
    hosts,
    runtime,
    step,
    tree,
    until,
)


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


def gated(gate: Gate) -> Graph:
    """START -> first -> held -> last -> END; `held` waits at the gate."""
    g = Graph("gated", state=Log)

    @g.node
    async def first(state: Log) -> dict:
        return {"notes": f"first {state.text}"}

    @g.node
    async def held(state: Log) -> dict:
        await gate()
        return {"notes": f"held {state.text}"}

    @g.node
    async def last(state: Log) -> dict:
        return {"notes": f"last {state.text}"}

    g.edge(START, "first")
    g.edge("first", "held")
    g.edge("held", "last")
    g.edge("last", END)
    return g


async def test_a_running_node_is_stopped_and_the_thread_is_cancelled() -> None:
    entered, stopped = asyncio.Event(), asyncio.Event()
    g = Graph("endless", state=Log)

    @g.node
    async def endless(state: Log) -> dict:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    g.edge(START, "endless")
    g.edge("endless", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("endless")
        thread = await session.submit({"text": "x"})
        await entered.wait()

        await thread.cancel("enough")
        status = await thread.status()
        result = await thread.result()

        async with asyncio.timeout(5):
            await stopped.wait()
        assert status is ThreadState.CANCELLED
        assert (result.status, result.turn, result.seq) == (ThreadState.CANCELLED, 1, 2)
        assert type(result.error) is Cancelled
        assert (result.error.message, result.error.fields) == ("cancelled: enough", {"reason": "enough"})
        assert result.state == {"text": "x", "notes": []}
        assert await history(rt, session.thread) == [STARTED, CANCELLED]


async def test_steps_before_it_stay_and_the_next_turn_runs() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        session = await rt.session("gated")
        thread = await session.submit({"text": "1"})
        await gate.reached()
        await thread.cancel()
        await gate.open()

        after = await session.run({"text": "2"})

        assert after.state.notes == ["first 1", "first 2", "held 2", "last 2"]
        assert await history(rt, session.thread) == [
            STARTED,
            step("first"),
            CANCELLED,
            *[STARTED, step("first"), step("held"), step("last"), COMPLETED],
        ]
        assert (await thread.result()).state.notes == ["first 1"]


async def test_whoever_waits_for_the_turn_learns_of_it() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        session = await rt.session("gated")
        running = asyncio.create_task(session.run({}))
        await gate.reached()

        await (await rt.thread(session.thread)).cancel("stop")

        result = await running
        assert (result.status, result.error.message) == (ThreadState.CANCELLED, "cancelled: stop")


async def test_with_its_branches_a_whole_tree_is_cancelled() -> None:
    gate = Gate()
    g = Graph("tree", state=Log)

    def node(name: str, waits: bool) -> Any:
        async def run(state: Log) -> dict:
            if waits:
                await gate()
            return {"notes": name}

        return run

    for name, waits in (("a", False), ("a1", True), ("a2", True), ("b", True), ("c", False)):
        g.node(node(name, waits), name=name)
    g.edge(START, "a")
    g.edge(START, "b")
    g.edge(START, "c")
    g.edge("a", "a1")
    g.edge("a", "a2")
    for name in ("a1", "a2", "b", "c"):
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("tree")
        thread = await session.submit({})
        await gate.reached(3)
        await (await rt.thread(f"{session.thread}.1.2")).result()

        await thread.cancel("all of it")

        assert await tree(rt, session.id) == {
            "0": "cancelled",
            "0.1.0": "cancelled",
            "0.1.0.2.0": "cancelled",
            "0.1.0.2.1": "cancelled",
            "0.1.1": "cancelled",
            "0.1.2": "completed",
        }
        errors = {
            head.thread.id: head.cursor.error.message
            for head in await session.threads()
            if head.cursor.error is not None
        }
        assert set(errors.values()) == {"cancelled: all of it"}
        assert not any(host._branches for host in hosts(rt).values())


async def test_items_of_a_map_that_have_not_begun_do_not_begin() -> None:
    gate = Gate()

    class Batch(BaseModel):
        numbers: list[int] = []

    async def body(number: int) -> int:
        await gate()
        return number

    g = Graph("map", state=Batch)
    g.node(body, name="body")
    g.map("each", over="numbers", node="body", into="numbers", max_concurrency=2)
    g.edge(START, "each")
    g.edge("each", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("map")
        thread = await session.submit({"numbers": list(range(50))})
        await gate.reached(2)

        await thread.cancel()

        assert await tree(rt, session.id) == dict.fromkeys(["0", "0.1.0", "0.1.1"], "cancelled")
        assert gate.arrived == 2


async def test_a_turn_that_waits_its_turn_never_begins_and_the_running_one_goes_on() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        session = await rt.session("gated")
        threads = [await session.submit({"text": str(number)}) for number in (1, 2, 3)]
        await gate.reached()

        cancelling = asyncio.create_task(threads[1].cancel("not needed"))
        await until(
            lambda: any(actor._stops._cancelled for host in hosts(rt).values() for actor in host._sessions.values())
        )
        running = await threads[0].status()
        await gate.open()
        await cancelling
        results = [await thread.result() for thread in threads]

        assert running is ThreadState.RUNNING
        assert [result.status.value for result in results] == ["completed", "cancelled", "completed"]
        assert results[1].error.message == "cancelled: not needed"
        assert results[1].state.text == "1", "its input was not written"
        assert results[2].state.notes == ["first 1", "held 1", "last 1", "first 3", "held 3", "last 3"]
        assert (await history(rt, session.thread))[5:7] == [STARTED, CANCELLED]


async def test_a_turn_can_be_cancelled_before_its_thread_is_there() -> None:
    """Right after submit nothing but the interaction may be recorded; hosts may be full, too."""
    gate = Gate()
    async with runtime(hosts={"min": 1, "max": 1, "capacity": 1}) as rt:
        await rt.deploy(gated(gate))
        first = await (await rt.session("gated")).submit({})
        await gate.reached()
        waiting = await (await rt.session("gated")).submit({})
        status = await waiting.status()
        state = await waiting.state()

        cancelling = asyncio.create_task(waiting.cancel())
        result = asyncio.create_task(waiting.result())
        await gate.open()
        await cancelling
        await first.result()

        assert status is ThreadState.PENDING
        assert state == {"text": "", "notes": []}
        assert (await result).status is ThreadState.CANCELLED


async def test_a_thread_that_is_over_stays_as_it_is() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        session = await rt.session("gated")
        threads = [await session.submit({"text": text}) for text in "ab"]
        before = [await thread.result() for thread in threads]
        length = len(await history(rt, session.thread))

        for thread in threads:
            await thread.cancel()

        assert [await thread.result() for thread in threads] == before
        assert len(await history(rt, session.thread)) == length


async def test_an_old_handle_does_not_cancel_a_later_turn() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        g = gated(gate)
        await rt.deploy(g)
        session = await rt.session("gated")
        old = await session.submit({"text": "old"})
        await old.result()
        gate._open = False
        new = await session.submit({"text": "new"})
        await gate.reached(2)

        await old.cancel()
        status = await new.status()
        await gate.open()

        assert status is ThreadState.RUNNING
        assert (await new.result()).status is ThreadState.COMPLETED


async def test_cancelling_twice_is_cancelling_once() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        session = await rt.session("gated")
        thread = await session.submit({})
        await gate.reached()

        await asyncio.gather(*(thread.cancel(reason) for reason in ("one", "two", "three")))
        await thread.cancel("four")

        assert await history(rt, session.thread) == [STARTED, step("first"), CANCELLED]
        assert (await thread.result()).error.reason in ("one", "two", "three")


async def test_one_branch_may_be_cancelled_by_its_id() -> None:
    gate = Gate()
    g = Graph("pair", state=Log)
    g.fork("split", on_branch_error="skip")
    g.edge(START, "split")
    for name in ("a", "b"):

        async def node(state: Log, name: str = name) -> dict:
            await gate()
            return {"notes": name}

        g.node(node, name=name)
        g.edge("split", name)
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("pair")
        thread = await session.submit({})
        await gate.reached(2)

        await (await rt.thread(f"{session.thread}.1.0")).cancel("only this one")
        await gate.open()
        result = await thread.result()

        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["b"])
        assert await tree(rt, session.id) == {"0": "completed", "0.1.0": "cancelled", "0.1.1": "completed"}


async def test_watchers_see_the_end() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        thread = await (await rt.session("gated")).submit({})
        await gate.reached()
        await thread.cancel("seen")

        (*_, last) = [event async for event in thread.events()]

        assert isinstance(last, ThreadFinished)
        assert (last.status, last.error.reason) == (ThreadState.CANCELLED, "seen")


async def test_what_nobody_knows_is_not_cancelled() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(gated(gate))
        session = await rt.session("gated")
        thread = await rt.thread(session.thread)
        await thread.cancel()

        assert await thread.status() is ThreadState.PENDING
        for thread_id in ("nobody:0", f"{session.thread}.1.0"):
            with pytest.raises(NotFoundError, match=r"nobody|no thread"):
                await rt.cancel(thread_id, 1, "x")


async def test_cancelling_a_turn_that_waits_for_a_place_does_not_wait_for_one() -> None:
    gate = Gate()
    async with runtime(hosts={"min": 1, "max": 1, "capacity": 1}) as rt:
        await rt.deploy(gated(gate))
        first = await (await rt.session("gated")).submit({})
        await gate.reached()
        waiting = await (await rt.session("gated")).submit({})
        result = asyncio.create_task(waiting.result())

        async with asyncio.timeout(5):
            await waiting.cancel("too long")
            assert (await result).status is ThreadState.CANCELLED
        assert await first.status() is ThreadState.RUNNING
        await gate.open()
        await first.result()


async def test_threads_above_a_cancelled_one_go_on_though_nobody_asks_for_them() -> None:
    """The driver that has cancelled it dies before it could ask for anything else."""
    g = Graph("ask", state=Log)
    g.fork("split", on_branch_error="skip")
    g.edge(START, "split")
    for name in "ab":
        g.human(name, question="Go on?", answer=str, into="notes")
        g.edge("split", name)
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("ask")
        paused = await session.run({})
        for index in range(2):
            request = CancelThread(thread_id=f"{session.thread}.1.{index}", reason="not needed")
            await rt._ask_host(await rt._home(request.thread_id), request, Stopped)
        journal = rt.records.store.journal
        await until(lambda: journal.status(session.thread) is ThreadState.COMPLETED)

        assert paused.status is ThreadState.PAUSED
        await until(lambda: not journal._index.open)
