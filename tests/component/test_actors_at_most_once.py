"""Nodes and tools that run at most once: recorded before they are called, and never called again."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph, GreenroomError, NodeTimeout, OutcomeUnknown, ThreadState, append, tool
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
from tests.component.test_actors_durability import crash, watched

MODES = ["sync", "async", "exit"]
ONE = {"function": {"processes": 1}, "tool": {"processes": 1}}


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


def begun(node: str) -> tuple[EntryKind, str, str]:
    return EntryKind.STEP_STARTED, node, "running"


class Payment:
    """first -> pay, which runs at most once -> last; its failure leads to `ask`."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.runs: Counter[str] = Counter()
        self.keys: list[str] = []
        self.caught: list[GreenroomError] = []

    def graph(self, *, catches: bool = False) -> Graph:
        g = Graph("payment", state=Log)

        @g.node
        async def first(state: Log) -> dict:
            self.runs["first"] += 1
            return {"notes": "first"}

        @g.node(at_most_once=True)
        async def pay(state: Log, ctx: Any) -> dict:
            self.runs["pay"] += 1
            self.keys.append(ctx.idempotency_key)
            await self.gate()
            return {"notes": "paid"}

        @g.node
        async def last(state: Log) -> dict:
            return {"notes": "last"}

        async def ask(state: Log, ctx: Any) -> dict:
            self.caught.append(ctx.error)
            return {"notes": "asked"}

        for source, target in pairwise([START, "first", "pay", "last", END]):
            g.edge(source, target)
        if catches:
            g.node(ask)
            g.edge("pay", "ask", on_error=True)
            g.edge("ask", END)
        return g


@pytest.mark.parametrize("durability", MODES)
async def test_it_is_recorded_before_it_is_called(durability: str) -> None:
    work = Payment()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("payment")
        running = asyncio.create_task(session.run({}, durability=durability))
        await work.gate.reached()

        assert await history(rt, session.thread) == [STARTED, step("first"), begun("pay")]
        await work.gate.open()
        result = await running

        assert result.state.notes == ["first", "paid", "last"]
        assert await history(rt, session.thread) == [
            STARTED,
            step("first"),
            begun("pay"),
            step("pay"),
            step("last"),
            COMPLETED,
        ]
        assert work.keys == [f"{session.thread}:4"]


@pytest.mark.parametrize("durability", MODES)
async def test_it_is_not_called_again_when_its_executor_has_died(durability: str) -> None:
    work = Payment()
    async with watched(executors=ONE) as (rt, journal):
        await rt.deploy(work.graph())
        session = await rt.session("payment")
        running = asyncio.create_task(session.run({}, durability=durability))
        await work.gate.reached()
        await crash(rt, journal)

        result = await running

        assert result.status is ThreadState.FAILED
        assert type(result.error) is OutcomeUnknown
        assert result.error.fields == {"node": "pay", "idempotency_key": work.keys[0]}
        assert work.runs == {"first": 1, "pay": 1}
        assert await history(rt, session.thread) == [
            STARTED,
            step("first"),
            begun("pay"),
            failed_step("pay"),
            FAILED,
        ]


async def test_it_is_not_called_again_when_its_host_has_died() -> None:
    work = Payment()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("payment")
        running = asyncio.create_task(session.run({}))
        await work.gate.reached()
        await world(rt).kill((await rt.records.thread(session.thread)).host)

        result = await running

        assert type(result.error) is OutcomeUnknown
        assert work.runs == {"first": 1, "pay": 1}
        assert hosts(rt)


@pytest.mark.parametrize("durability", MODES)
async def test_what_became_of_it_can_be_looked_up_behind_an_edge_for_errors(durability: str) -> None:
    work = Payment()
    async with watched(executors=ONE) as (rt, journal):
        await rt.deploy(work.graph(catches=True))
        session = await rt.session("payment")
        running = asyncio.create_task(session.run({}, durability=durability))
        await work.gate.reached()
        await crash(rt, journal)

        result = await running

        assert result.status is ThreadState.COMPLETED
        assert result.state.notes == ["first", "asked"]
        (error,) = work.caught
        assert type(error) is OutcomeUnknown
        assert error.idempotency_key == work.keys[0]
        assert await history(rt, session.thread) == [
            STARTED,
            step("first"),
            begun("pay"),
            failed_step("pay"),
            step("ask"),
            COMPLETED,
        ]


async def test_it_is_not_tried_again_when_it_fails() -> None:
    """A timeout could be tried again; whether the function did its work before is not known."""
    g = Graph("times-out", state=Log)
    runs = Counter[str]()

    @g.node(at_most_once=True, timeout_s=0.01)
    async def pay(state: Log) -> dict:
        runs["pay"] += 1
        await asyncio.Event().wait()
        return {}

    g.edge(START, "pay")
    g.edge("pay", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("times-out")

        result = await session.run({})

        assert (type(result.error), runs["pay"]) == (NodeTimeout, 1)
        assert await history(rt, session.thread) == [STARTED, begun("pay"), failed_step("pay"), FAILED]


@pytest.mark.parametrize("durability", MODES)
async def test_it_is_cancelled(durability: str) -> None:
    work = Payment()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("payment")
        thread = await session.submit({}, durability=durability)
        await work.gate.reached()

        await thread.cancel()

        assert await history(rt, session.thread) == [STARTED, step("first"), begun("pay"), CANCELLED]


async def test_a_tool_that_is_declared_so() -> None:
    gate, keys = Gate(), list[str]()

    @tool(at_most_once=True)
    async def transfer(amount: float, idempotency_key: str) -> str:
        """Send money."""
        keys.append(idempotency_key)
        await gate()
        return "sent"

    g = Graph("tools", state=Log)
    g.tool("send", tool=transfer, arguments={"amount": 3}, into="notes")
    g.edge(START, "send")
    g.edge("send", END)
    async with runtime(executors=ONE) as rt:
        await rt.deploy(g)
        session = await rt.session("tools")
        running = asyncio.create_task(session.run({}))
        await gate.reached()
        (address,) = executors(rt, "tool")
        await world(rt).kill(address)
        await until(lambda: set(executors(rt, "tool")) - {address})

        result = await running

        assert keys == [f"{session.thread}:3"]
        assert await history(rt, session.thread) == [STARTED, begun("send"), failed_step("send"), FAILED]
        assert type(result.error) is OutcomeUnknown
