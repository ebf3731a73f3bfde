"""What fails for a while: the store is away, a queue is full, a driver goes away in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors import turns
from actors.catalog import Catalog
from actors.errors import Overloaded, StoreUnavailable
from actors.network import Network
from actors.protocol import RunBranch, RunSegment
from actors.stores.memory_records import MemoryWorkflows
from runtime import END, START, AsyncLocalRuntime, Graph, ResultTimeout, ThreadState, append
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    STARTED,
    Gate,
    SkippingClock,
    history,
    hosts,
    joined,
    runtime,
    step,
    tree,
    until,
)

OPERATIONS = ("activate", "append", "head", "read", "snapshot", "interaction")


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


def noting(name: str) -> Callable[[Any], Any]:
    async def node(state: Log) -> dict:
        return {"notes": name}

    return node


def forking() -> Graph:
    g = Graph("forking", state=Log)
    for name in ("split", "left", "right", "join"):
        g.node(noting(name), name=name)
    g.edge(START, "split")
    g.edge("split", "left")
    g.edge("split", "right")
    g.edge("left", "join")
    g.edge("right", "join")
    g.edge("join", END)
    return g


class Outage:
    """Makes one operation of the store fail, before or after it was done."""

    def __init__(self, rt: AsyncLocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        """Which operation fails, from 1 on; 0: none."""
        self.done = False
        """Whether it is done before it fails."""
        self.count = 0
        store = rt.records.store
        for name in OPERATIONS:
            part = store.sessions if name == "interaction" else store.journal
            monkeypatch.setattr(part, name, self._failing(getattr(part, name)))
        self._begin_turn = store.sessions.begin_turn
        monkeypatch.setattr(store.sessions, "begin_turn", self._whole)

    async def _whole(self, *args: Any, **options: Any) -> Any:
        """It is one operation, which accepts the turn: if that fails, whoever asks for it is told."""
        number, self.number = self.number, 0
        count = self.count
        try:
            return await self._begin_turn(*args, **options)
        finally:
            self.number, self.count = number, count

    def _failing(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count != self.number:
                return await operation(*args, **options)
            if self.done:
                await operation(*args, **options)
            raise StoreUnavailable("away for a moment", url="memory://")

        return run


@pytest.mark.parametrize("done", [False, True])
async def test_a_turn_outlives_an_outage_of_the_store_at_any_time(done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with runtime(clock=SkippingClock()) as rt:
        await rt.deploy(forking())
        outage = Outage(rt, monkeypatch)
        await (await rt.session("forking")).run({})
        total, outage.done = outage.count, done
        for number in range(1, total + 1):
            session = await rt.session("forking")
            outage.number, outage.count = number, 0

            async with asyncio.timeout(10):
                result = await session.run({})
            outage.number = 0

            assert result.state.notes == ["split", "left", "right", "join"], number
            assert await history(rt, session.thread) == [
                STARTED,
                step("split"),
                joined("split"),
                step("join"),
                COMPLETED,
            ]
            assert await tree(rt, session.id) == dict.fromkeys(["0", "0.2.0", "0.2.1"], "completed")
        assert total >= 9


@pytest.mark.parametrize("done", [False, True])
async def test_so_does_a_cancellation(done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    g = Graph("held", state=Log)

    async def held(state: Log) -> dict:
        await gate()
        return {}

    for name in ("left", "right"):
        g.node(held, name=name)
        g.edge(START, name)
        g.edge(name, END)
    async with runtime(clock=SkippingClock()) as rt:
        await rt.deploy(g)
        outage = Outage(rt, monkeypatch)
        outage.done = done
        number, total = 1, 2  # the first operation is the driver's own look
        while number <= total:
            session = await rt.session("held")
            arrived = gate.arrived
            thread = await session.submit({})
            await gate.reached(arrived + 2)
            outage.number, outage.count = number if number > 1 else 0, 0

            async with asyncio.timeout(10):
                await thread.cancel()
            outage.number, total = 0, outage.count if number == 1 else total
            number += 1

            assert await tree(rt, session.id) == dict.fromkeys(["0", "0.1.0", "0.1.1"], "cancelled"), number
            assert await history(rt, session.thread) == [STARTED, CANCELLED]
        assert total >= 4


async def test_full_queues_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: Counter[str] = Counter()
    ask = Network.ask

    async def crowded(self: Network, address: str, message: Any, expected: Any) -> Any:
        kind = type(message).__name__
        if isinstance(message, RunSegment | RunBranch) and refused[kind] < 5:
            refused[kind] += 1
            raise Overloaded("full", destination=address, retry_after_s=0.1)
        return await ask(self, address, message, expected)

    monkeypatch.setattr(Network, "ask", crowded)
    async with runtime(clock=SkippingClock()) as rt:
        await rt.deploy(forking())

        result = await (await rt.session("forking")).run({})

        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["split", "left", "right", "join"])
        assert refused == {"RunSegment": 5, "RunBranch": 5}


async def test_a_turn_whose_driver_left_while_it_was_accepted_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        sessions = rt.records.store.sessions
        accept = sessions.accept

        async def slow(*args: Any, **options: Any) -> int:
            entered.set()
            await go_on.wait()
            return await accept(*args, **options)

        monkeypatch.setattr(sessions, "accept", slow)
        running = asyncio.create_task(session.run({}))
        await entered.wait()
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: not any(actor.users for host in hosts(rt).values() for actor in host._sessions.values()))
        go_on.set()

        result = await (await rt.thread(session.thread)).result(timeout_s=10)

        assert result.state.notes == ["split", "left", "right", "join"]


async def test_a_session_takes_only_so_many_turns_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_WAITING_TURNS", 3)
    gate = Gate()
    g = Graph("held", state=Log)

    @g.node
    async def held(state: Log) -> dict:
        await gate()
        return {"notes": state.text}

    g.edge(START, "held")
    g.edge("held", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("held")
        first = await session.submit({"text": "0"})
        await gate.reached()
        more = [await session.submit({"text": str(number)}) for number in (1, 2, 3)]

        with pytest.raises(Overloaded, match="has 3 turns waiting") as caught:
            await session.submit({"text": "4"})
        await gate.open()

        assert caught.value.retry_after_s == 1.0
        assert (await more[-1].result()).state.notes == ["0", "1", "2", "3"]
        assert (await first.result()).turn == 1
        assert (await session.run({"text": "5"})).turn == 5


async def test_asking_again_and_again_for_a_result_leaves_nothing() -> None:
    gate = Gate()
    g = Graph("held", state=Log)

    @g.node
    async def held(state: Log) -> dict:
        await gate()
        return {}

    g.edge(START, "held")
    g.edge("held", END)
    async with runtime() as rt:
        await rt.deploy(g)
        thread = await (await rt.session("held")).submit({})
        await gate.reached()

        for _ in range(20):
            with pytest.raises(ResultTimeout):
                await thread.result(timeout_s=0.001)
        (actor,) = [actor for host in hosts(rt).values() for actor in host._sessions.values()]
        await until(lambda: actor.users == 0)

        assert actor._waiters._waiting == {}
        await gate.open()
        await thread.result()


async def test_a_workflow_deployed_anew_while_it_is_built_is_built_once_more() -> None:
    """What a process keeps of a workflow is what was deployed last."""
    workflows = MemoryWorkflows()
    model = forking().build()
    await workflows.save("forking@1.0.0+x", model.model_dump_json().encode(), at=1.0)
    functions: dict[str, Any] = {node.config.function: noting("old") for node in model.nodes}
    asked, answer = asyncio.Event(), asyncio.Event()

    async def source(ref: str) -> dict[str, Any]:
        found = dict(functions)
        asked.set()
        await answer.wait()
        return found

    catalog = Catalog(workflows, source)
    building = asyncio.create_task(catalog.plan("forking@1.0.0+x"))
    await asked.wait()
    new = noting("new")
    functions.update(dict.fromkeys(functions, new))
    catalog.forget(["forking@1.0.0+x"])
    answer.set()

    plan = await building

    assert set(plan.functions.values()) == {new}
    assert await catalog.plan("forking@1.0.0+x") is plan


async def test_a_runtime_closes_in_the_middle_of_turns_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    entered = asyncio.Event()
    before = asyncio.all_tasks()
    g = Graph("endless", state=Log)

    @g.node
    async def endless(state: Log) -> dict:
        entered.set()
        await asyncio.Event().wait()
        return {}

    g.edge(START, "endless")
    g.edge(START, "endless2")
    g.node(endless, name="endless2")
    g.edge("endless", END)
    g.edge("endless2", END)
    async with AsyncLocalRuntime() as rt:
        await rt.deploy(g)
        await (await rt.session("endless")).submit({})
        waiting = asyncio.create_task((await rt.session("endless")).run({}))
        await entered.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert asyncio.all_tasks() == before
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
