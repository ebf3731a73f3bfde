"""What branches see, what becomes of what they write, and what their tokens count for."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import BaseModel

from runtime import (
    END,
    START,
    BranchesJoined,
    Graph,
    NodeFinished,
    ThreadState,
    Usage,
    append,
)
from tests.component.actors_kit import (
    FAILED,
    STARTED,
    Gate,
    failed_step,
    history,
    runtime,
)
from tests.component.forks_kit import Board, Node, failing, noting


async def test_branches_see_what_was_written_before_them_and_not_each_other() -> None:
    seen: dict[str, list[str]] = {}
    g = Graph("views", state=Board)

    def look(name: str) -> Node:
        async def node(state: Board) -> dict:
            seen[name] = list(state.notes)
            return {"notes": name}

        return node

    for name in ("before", "a", "a2", "b", "join"):
        g.node(look(name), name=name)
    for source, target in [
        (START, "before"),
        ("before", "a"),
        ("before", "b"),
        ("a", "a2"),
        ("a2", "join"),
        ("b", "join"),
        ("join", END),
    ]:
        g.edge(source, target)
    async with runtime() as rt:
        await rt.deploy(g)

        await (await rt.session("views")).run({"notes": ["in"]})

        assert seen == {
            "before": ["in"],
            "a": ["in", "before"],
            "a2": ["in", "before", "a"],
            "b": ["in", "before"],
            "join": ["in", "before", "a", "a2", "b"],
        }


def counting(old: int, new: int) -> int:
    if old + new > 2:
        raise ValueError("more than two")
    return old + new


class Limited(BaseModel):
    n: Annotated[int, counting] = 0
    notes: Annotated[list[str], append] = []


async def test_a_merge_that_a_reducer_refuses_fails_the_thread() -> None:
    g = Graph("full", state=Limited)
    for name in ("a", "b"):

        async def two(state: Limited) -> dict:
            return {"n": 2}

        g.node(two, name=name)
        g.edge(START, name)
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("full")

        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert result.error is not None
        assert "raised ValueError: more than two" in result.error.message
        assert await history(rt, session.thread) == [STARTED, failed_step("__start__"), FAILED]
        assert result.state.n == 0


async def test_an_input_that_a_reducer_refuses_fails_the_turn_and_the_next_one_runs() -> None:
    g = Graph("full_input", state=Limited)

    @g.node
    async def note(state: Limited) -> dict:
        return {"notes": "ran"}

    g.edge(START, "note")
    g.edge("note", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("full_input")
        await session.run({"n": 2})

        refused = await session.run({"n": 1})
        after = await session.run({})

        assert (refused.status, refused.state.n, refused.turn) == (ThreadState.FAILED, 2, 2)
        assert refused.error is not None
        assert "raised ValueError: more than two" in refused.error.message
        assert (after.status, after.state.notes) == (ThreadState.COMPLETED, ["ran", "ran"])


async def test_tokens_of_all_branches_count_also_of_those_left_out() -> None:
    gate = Gate()
    g = Graph("costs", state=Board)
    g.fork("split", join="any")
    g.edge(START, "split")

    async def when_the_others_are_there(state: Board) -> None:
        await gate.reached()

    for name, after in (("win", when_the_others_are_there), ("fail", failing()), ("lose", noting("never", gate))):
        g.llm(f"ask_{name}", prompt="one two", into="notes")
        g.edge("split", f"ask_{name}")
        g.node(after, name=name)
        g.edge(f"ask_{name}", name)
        g.edge(name, "join")
    g.node(noting("join"), name="join")
    g.edge("join", END)
    async with runtime(models={"default": {"provider": "scripted"}}) as rt:
        await rt.deploy(g)
        session = await rt.session("costs")

        thread = await session.submit({})
        events = [event async for event in thread.events()]
        result = await thread.result()

        each = Usage(prompt_tokens=2, completion_tokens=3, calls=1)
        assert result.usage == each + each + each
        (joining,) = [event for event in events if isinstance(event, BranchesJoined)]
        assert joining.usage == result.usage
        assert [event.node for event in events if isinstance(event, NodeFinished)] == ["join"]


async def test_a_route_behind_a_fork_node_knows_the_tokens() -> None:
    g = Graph("budgeted", state=Board)
    g.llm("ask", prompt="one two three", into="notes")
    g.fork("split")
    g.node(noting("cheap"), name="cheap")
    g.node(noting("dear"), name="dear")
    g.edge(START, "ask")
    g.edge("ask", "split")
    g.route("split", "budget", {"within": "cheap", "exceeded": "dear"}, max_tokens=5)
    g.edge("cheap", END)
    g.edge("dear", END)
    async with runtime(models={"default": {"provider": "scripted"}}) as rt:
        await rt.deploy(g)

        result = await (await rt.session("budgeted")).run({})

        assert result.usage.total_tokens == 7
        assert result.state.notes[-1] == "dear"


async def test_a_hundred_branches_at_once() -> None:
    most = running = 0
    g = Graph("wide", state=Board)
    everyone = asyncio.Event()
    for index in range(100):

        async def node(state: Board) -> dict:
            nonlocal most, running
            running += 1
            most = max(most, running)
            if running == 100:
                everyone.set()
            await everyone.wait()
            return {"points": 1}

        g.node(node, name=f"n{index}")
        g.edge(START, f"n{index}")
        g.edge(f"n{index}", END)
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("wide")).run({})

        assert (result.state.points, most) == (100, 100)
