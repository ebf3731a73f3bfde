"""Nodes that go wrong: what is tried again, what is recorded, and what the driver gets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.errors import ModelUnavailable, ToolError
from graphs.errors import NodeTimeout
from runtime import END, START, Graph, NodeError, NodeFailed, RetryPolicy, StateInvalid, ThreadState, Usage, add, append
from tests.component.actors_kit import FAILED, STARTED, SkippingClock, failed_step, history, runtime, step


class Log(BaseModel):
    text: str = ""
    number: int = 0
    notes: Annotated[list[str], append] = []
    total: Annotated[int, add] = 0


def single(function: Callable[..., Any], **options: Any) -> Graph:
    """START -> node -> END."""
    g = Graph("single", state=Log)
    g.node(function, name="node", **options)
    g.edge(START, "node")
    g.edge("node", END)
    return g


async def test_an_exception_fails_the_thread_with_its_class_and_text() -> None:
    async def node(state: Log) -> dict:
        raise LookupError("nothing there")

    async with runtime() as rt:
        await rt.deploy(single(node))
        session = await rt.session("single")

        result = await session.run({"text": "x"})

        assert result.status is ThreadState.FAILED
        assert type(result.error) is NodeError
        assert (result.error.message, result.error.fields) == (
            "nothing there",
            {"node": "node", "code": "LookupError"},
        )
        assert await history(rt, session.thread) == [STARTED, failed_step("node"), FAILED]
        assert result.state.text == "x"


async def test_a_node_is_tried_as_often_as_it_says_with_longer_and_longer_waits() -> None:
    clock = SkippingClock()
    attempts: list[int] = []

    async def node(state: Log, ctx: Any) -> dict:
        attempts.append(ctx.attempt)
        if ctx.attempt < 4:
            raise ConnectionError("busy")
        return {"notes": f"{ctx.node} {ctx.seq} {ctx.idempotency_key}"}

    retry = RetryPolicy(max_attempts=5, backoff_s=1, multiplier=3, jitter=0)
    async with runtime(clock=clock) as rt:
        await rt.deploy(single(node, retry=retry))
        session = await rt.session("single")

        result = await session.run({})

        assert attempts == [1, 2, 3, 4]
        assert [seconds for seconds in clock.slept_s if seconds >= 1] == [1, 3, 9]
        assert result.state.notes == [f"node 2 {session.thread}:2"]
        entry = (await rt.records.store.journal.read(session.thread))[1]
        assert (entry.attempt, entry.error) == (4, None)
        assert entry.started_at is not None
        assert entry.at - entry.started_at == 13


async def test_the_last_failure_is_the_one_that_is_told() -> None:
    tried = 0

    async def node(state: Log) -> dict:
        nonlocal tried
        tried += 1
        raise ValueError(f"failure {tried}")

    async with runtime(clock=SkippingClock()) as rt:
        await rt.deploy(single(node, retry=3))
        session = await rt.session("single")
        thread = await session.submit({})

        (failed,) = [event async for event in thread.events() if isinstance(event, NodeFailed)]

        assert (failed.node, failed.attempt, failed.error.message) == ("node", 3, "failure 3")


async def test_what_cannot_get_better_is_not_tried_again() -> None:
    tried = 0

    async def node(state: Log) -> dict:
        nonlocal tried
        tried += 1
        return {"nots": "x"}

    async with runtime() as rt:
        await rt.deploy(single(node, retry=5))

        result = await (await rt.session("single")).run({})

        assert tried == 1
        assert type(result.error) is StateInvalid
        assert result.error.message == "node 'node' returned: nots: no such channel; did you mean \"notes\"?"


@pytest.mark.parametrize(
    ("returned", "writes", "message"),
    [
        ("text", None, "node 'node' returned str; it must return a dict of the channels it writes"),
        ({"number": "many"}, None, "node 'node' returned: number: Input should be a valid integer"),
        ({"text": "x"}, ["notes"], "node 'node' returned: text: is not among the channels it writes (notes)"),
        ({"total": 2**63}, None, "node 'node' returned: total:"),
    ],
)
async def test_what_a_node_may_not_return(returned: Any, writes: list[str] | None, message: str) -> None:
    async with runtime() as rt:
        await rt.deploy(single(lambda state: returned, writes=writes))
        session = await rt.session("single")

        result = await session.run({})

        assert type(result.error) is StateInvalid
        assert result.error.message.startswith(message)
        assert result.error.node == "node"
        assert await history(rt, session.thread) == [STARTED, failed_step("node"), FAILED]


async def test_a_write_that_does_not_fit_what_is_there_fails_the_step() -> None:
    """A sum that overflows is the step's failure, not the runtime's."""
    async with runtime() as rt:
        await rt.deploy(single(lambda state: {"total": 2**62}))
        session = await rt.session("single")
        await session.run({})

        result = await session.run({})

        assert type(result.error) is StateInvalid
        assert "total: the sum" in result.error.message
        assert result.state.total == 2**62
        assert (await history(rt, session.thread))[3:] == [STARTED, failed_step("node"), FAILED]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_node_that_takes_too_long_is_stopped(is_async: bool) -> None:
    released = threading.Event()
    cancelled = asyncio.Event()

    async def slow(state: Log) -> dict:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return {}

    def blocking(state: Log) -> dict:
        released.wait(10)
        return {"text": "too late"}

    async with runtime() as rt:
        await rt.deploy(single(slow if is_async else blocking, timeout_s=0.02))
        session = await rt.session("single")

        result = await session.run({})
        released.set()

        assert type(result.error) is NodeTimeout
        assert result.error.message == "node 'node' ran longer than 0.02 s; raise its timeout_s"
        assert result.error.fields == {"node": "node", "timeout_s": 0.02}
        assert cancelled.is_set() == is_async
        assert await history(rt, session.thread) == [STARTED, failed_step("node"), FAILED]


async def test_a_timeout_of_the_nodes_own_is_a_failure_like_any_other() -> None:
    async def node(state: Log) -> dict:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return {}

    async with runtime() as rt:
        await rt.deploy(single(node, timeout_s=60))

        result = await (await rt.session("single")).run({})

        assert type(result.error) is NodeError
        assert result.error.code == "TimeoutError"


async def cancelled_inside(state: Log) -> dict:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task
    return {}


async def exits(state: Log) -> dict:
    raise SystemExit("bye")


def exits_sync(state: Log) -> dict:
    raise SystemExit("bye")


def stops_iterating(state: Log) -> dict:
    return next(iter([]))


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (cancelled_inside, "CancelledError"),
        (exits, "SystemExit"),
        (exits_sync, "SystemExit"),
        (stops_iterating, "RuntimeError"),
    ],
)
async def test_odd_ways_to_fail_are_failures_too(function: Callable[..., Any], code: str) -> None:
    async with runtime() as rt:
        await rt.deploy(single(function))
        session = await rt.session("single")

        result = await session.run({}, timeout_s=5)

        assert type(result.error) is NodeError
        assert result.error.code == code
        assert await history(rt, session.thread) == [STARTED, failed_step("node"), FAILED]


async def test_a_text_that_cannot_be_stored_fails_the_turn_all_the_same() -> None:
    async def node(state: Log) -> dict:
        raise ValueError("\ud800")

    async with runtime() as rt:
        await rt.deploy(single(node))
        session = await rt.session("single")

        result = await session.run({}, timeout_s=5)
        again = await session.run({}, timeout_s=5)

        assert [result.status, again.status] == [ThreadState.FAILED] * 2


async def test_mappings_by_any_name_are_what_a_node_gets_if_it_asks() -> None:
    seen: list[type] = []

    def node(state: Mapping[str, Any]) -> dict:
        seen.append(type(state))
        return {}

    async with runtime() as rt:
        await rt.deploy(single(node))
        await (await rt.session("single")).run({})

        assert seen == [dict]


async def test_a_model_server_that_is_down_fails_the_thread_after_its_retries() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    g = Graph("asking", state=Log)
    g.llm("ask", prompt="hi", into="text")
    g.edge(START, "ask")
    g.edge("ask", END)
    model = {"provider": "openai", "base_url": url, "model": "m", "max_retries": 1}
    async with runtime(models={"default": model}) as rt:
        await rt.deploy(g)
        session = await rt.session("asking")

        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert type(result.error) is ModelUnavailable
        assert result.error.node == "ask"
        assert url in result.error.message
        assert await history(rt, session.thread) == [STARTED, failed_step("ask"), FAILED]


async def test_a_tool_that_fails_fails_its_node() -> None:
    g = Graph("computing", state=Log)
    g.tool("compute", tool="calculator", arguments={"expression": "{text}"}, into="notes")
    g.edge(START, "compute")
    g.edge("compute", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("computing")

        results = [await session.run({"text": text}) for text in ("6 * 7", "1 / 0")]

        assert (results[0].status, results[0].state.notes) == (ThreadState.COMPLETED, ["42"])
        assert type(results[1].error) is ToolError
        assert (results[1].error.tool, results[1].error.node) == ("calculator", "compute")
        assert (await history(rt, session.thread))[3:] == [STARTED, failed_step("compute"), FAILED]


async def test_tokens_of_a_step_that_failed_count() -> None:
    class Strict(BaseModel):
        number: int = 0

    g = Graph("strict", state=Strict)
    g.llm("ask", prompt="one two", into="number", retry=2)
    g.edge(START, "ask")
    g.edge("ask", END)
    async with runtime(models={"default": {"provider": "scripted"}}) as rt:
        await rt.deploy(g)
        session = await rt.session("strict")

        result = await session.run({})

        assert type(result.error) is StateInvalid
        assert result.usage == Usage(prompt_tokens=2, completion_tokens=3, calls=1)
        entries = await rt.records.store.journal.read(session.thread)
        assert [entry.usage for entry in entries] == [Usage(), result.usage, result.usage]


async def test_a_node_that_swallows_its_cancellation_does_not_go_on_after_it() -> None:
    entered, left = asyncio.Event(), asyncio.Event()
    g = Graph("stubborn", state=Log)

    @g.node
    async def stubborn(state: Log) -> dict:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.set()
        return {"notes": "stubborn"}

    @g.node
    async def after(state: Log) -> dict:
        return {"notes": "after"}

    g.edge(START, "stubborn")
    g.edge("stubborn", "after")
    g.edge("after", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("stubborn")
        thread = await session.submit({})
        await entered.wait()

        await thread.cancel()
        await left.wait()
        result = await thread.result()

        assert (result.status, result.state.notes) == (ThreadState.CANCELLED, [])
        assert step("after") not in await history(rt, session.thread)
