"""Synchronous functions that do not stop: the step ends all the same, and the process they run in is replaced."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors import blocking
from actors.supervisor import fleet
from runtime import END, START, Graph, NodeTimeout, ThreadState, append, tool
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    executors,
    failed_step,
    history,
    runtime,
    step,
    until,
)

ONE = {"function": {"processes": 1}}


class Log(BaseModel):
    notes: Annotated[list[str], append] = []


class Blocks:
    """A synchronous node that blocks its thread until the test is over."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.over = threading.Event()

    def graph(self, **options: Any) -> Graph:
        g = Graph("blocks", state=Log)

        @g.node
        async def first(state: Log) -> dict:
            self.runs["first"] += 1
            return {"notes": "first"}

        @g.node(**options)
        def stuck(state: Log) -> dict:
            self.runs["stuck"] += 1
            self.over.wait()
            return {"notes": "stuck"}

        g.edge(START, "first")
        g.edge("first", "stuck")
        g.edge("stuck", END)
        return g


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocks]:
    monkeypatch.setattr(blocking, "GRACE_S", 0.01)
    blocks = Blocks()
    yield blocks
    blocks.over.set()


def gated(gate: Gate, attempts: list[int]) -> Graph:
    g = Graph("gated", state=Log)

    @g.node
    async def held(state: Log, ctx: Any) -> dict:
        attempts.append(ctx.attempt)
        await gate()
        return {"notes": "held"}

    g.edge(START, "held")
    g.edge("held", END)
    return g


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_function_that_blocks_times_out_and_its_executor_is_replaced(blocks: Blocks, durability: str) -> None:
    gate, attempts = Gate(), list[int]()
    async with runtime(executors=ONE) as rt:
        await rt.deploy(blocks.graph(timeout_s=0.05), gated(gate, attempts))
        other = await rt.session("gated")
        waiting = asyncio.create_task(other.run({}))
        await gate.reached()
        (before,) = executors(rt)
        session = await rt.session("blocks")

        result = await session.run({}, durability=durability)
        await until(lambda: len(executors(rt)) == 2)
        await gate.open()
        theirs = await waiting
        await until(lambda: before not in executors(rt))

        assert result.status is ThreadState.FAILED
        assert type(result.error) is NodeTimeout
        assert await history(rt, session.thread) == [STARTED, step("first"), failed_step("stuck"), FAILED]
        assert blocks.runs == {"first": 1, "stuck": 1}
        assert (theirs.state.notes, attempts) == (["held"], [1]), "what ran beside it was not disturbed"
        assert await history(rt, other.thread) == [STARTED, step("held"), COMPLETED]
        assert len(executors(rt)) == 1
        assert (await session.run({})).error.node == "stuck", "the successor works"


async def test_what_does_not_end_in_time_runs_again_elsewhere(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "ENDS_WITHIN_S", 0.05)
    gate, attempts = Gate(), list[int]()
    async with runtime(executors=ONE) as rt:
        await rt.deploy(blocks.graph(timeout_s=0.05), gated(gate, attempts))
        other = await rt.session("gated")
        waiting = asyncio.create_task(other.run({}))
        await gate.reached()

        await (await rt.session("blocks")).run({})
        await gate.reached(2)
        await gate.open()

        assert (await waiting).state.notes == ["held"]
        assert attempts == [1, 2]
        assert await history(rt, other.thread) == [STARTED, step("held"), COMPLETED]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_cancelling_a_turn_stops_a_function_that_blocks(blocks: Blocks, durability: str) -> None:
    async with runtime(executors=ONE) as rt:
        await rt.deploy(blocks.graph())
        (before,) = executors(rt)
        session = await rt.session("blocks")
        thread = await session.submit({}, durability=durability)
        await until(lambda: blocks.runs["stuck"])

        await thread.cancel()
        await until(lambda: before not in executors(rt))

        assert await history(rt, session.thread) == [STARTED, step("first"), CANCELLED]
        assert len(executors(rt)) == 1


async def test_a_tool_that_blocks_is_replaced_with_its_executor(blocks: Blocks) -> None:
    @tool
    def hang() -> str:
        """Never answer."""
        blocks.over.wait()
        return "late"

    g = Graph("tools", state=Log)
    g.tool("hang", tool=hang, into="notes", timeout_s=0.05)
    g.edge(START, "hang")
    g.edge("hang", END)
    async with runtime(executors={"tool": {"processes": 1}}) as rt:
        await rt.deploy(g)
        (before,) = executors(rt, "tool")
        session = await rt.session("tools")

        result = await session.run({})
        await until(lambda: before not in executors(rt, "tool"))

        assert type(result.error) is NodeTimeout
        assert await history(rt, session.thread) == [STARTED, failed_step("hang"), FAILED]
        assert len(executors(rt, "tool")) == 1


async def test_a_function_that_returns_soon_keeps_its_executor(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "GRACE_S", 0.2)
    async with runtime(executors=ONE) as rt:
        await rt.deploy(blocks.graph(timeout_s=0.05))
        before = executors(rt)
        await (await rt.session("blocks")).run({})

        blocks.over.set()
        await asyncio.sleep(0.3)  # longer than the grace: nothing is to happen

        assert executors(rt) == before


async def test_an_executor_that_nobody_replaced_refuses_and_asks_again(blocks: Blocks) -> None:
    """The supervisor that knew of it was started anew."""
    async with runtime(executors=ONE) as rt:
        await rt.deploy(blocks.graph(timeout_s=0.05))
        (executor,) = executors(rt).values()
        executor._is_retired = True

        result = await (await rt.session("blocks")).run({})

        assert type(result.error) is NodeTimeout
        await until(lambda: executor not in executors(rt).values())
