"""Subworkflow nodes: another workflow in a thread of its own, on the host of its parent."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel

from runtime import END, START, BranchFailed, Graph, Message, ThreadState, Usage, add, add_messages, append
from tests.component.actors_kit import (
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    failed_step,
    history,
    joined,
    runtime,
    step,
    tree,
)


class Outer(BaseModel):
    text: str = ""
    answer: str = ""
    length: int = 0
    total: Annotated[int, add] = 0
    notes: Annotated[list[str], append] = []
    said: Annotated[list[Message], add_messages] = []


class Inner(BaseModel):
    text: str = ""
    reply: str = "none"
    total: Annotated[int, add] = 0
    notes: Annotated[list[str], append] = []


def inner(run: Any, name: str = "inner") -> Graph:
    g = Graph(name, state=Inner)
    g.node(run, name="work")
    g.edge(START, "work")
    g.edge("work", END)
    return g


def outer(sub: Graph | str, **options: Any) -> Graph:
    g = Graph("outer", state=Outer)
    g.subworkflow("sub", workflow=sub, **options)
    g.edge(START, "sub")
    g.edge("sub", END)
    return g


async def work(state: Inner) -> dict:
    return {"reply": state.text.upper(), "total": 10, "notes": f"had {len(state.notes)}"}


async def test_channels_that_both_have_go_in_and_what_was_written_comes_back() -> None:
    async with runtime() as rt:
        await rt.deploy(outer(inner(work)))
        session = await rt.session("outer")

        result = await session.run({"text": "x", "notes": ["a", "b"], "total": 5})

        assert (result.status, result.state.notes, result.state.total) == (
            ThreadState.COMPLETED,
            ["a", "b", "had 2"],
            15,
        )
        assert await history(rt, session.thread) == [STARTED, joined("sub"), COMPLETED]
        assert await history(rt, f"{session.thread}.1.0") == [STARTED, step("work"), COMPLETED]
        heads = await session.threads()
        assert [head.thread.thread_type.value for head in heads] == ["main", "sequential"]
        assert len({head.host for head in heads}) == 1, "it runs where its parent does"


async def test_a_mapping_says_which_channels_go_in_and_come_back() -> None:
    async with runtime() as rt:
        await rt.deploy(outer(inner(work), input={"text": "answer"}, output={"answer": "reply", "notes": "notes"}))
        session = await rt.session("outer")

        result = await session.run({"text": "x", "answer": "from here", "notes": ["a"]})

        assert (result.state.answer, result.state.notes) == ("FROM HERE", ["a", "had 0"])
        assert (result.state.text, result.state.total) == ("x", 0)


async def test_a_failure_fails_the_turn_and_an_edge_for_errors_catches_it() -> None:
    async def broken(state: Inner) -> dict:
        raise ValueError("no")

    caught: list[Any] = []
    g = outer(inner(broken))

    @g.node
    async def rescue(state: Outer, ctx: Any) -> dict:
        caught.append(ctx.error)
        return {"answer": "rescued"}

    async with runtime() as rt:
        failing = Graph("failing", state=Outer)
        failing.subworkflow("sub", workflow=inner(broken, "alone"))
        failing.edge(START, "sub")
        failing.edge("sub", END)
        await rt.deploy(failing)
        g.edge("sub", "rescue", on_error=True)
        g.edge("rescue", END)
        await rt.deploy(g)

        failed_session = await rt.session("failing")
        failed = await failed_session.run({})
        rescued = await (await rt.session("outer")).run({})

        assert (failed.status, type(failed.error)) == (ThreadState.FAILED, BranchFailed)
        assert await history(rt, failed_session.thread) == [STARTED, failed_step("sub"), FAILED]
        assert (rescued.status, rescued.state.answer) == (ThreadState.COMPLETED, "rescued")
        assert (type(caught[0]), caught[0].fields["cause"]["message"]) == (BranchFailed, "no")


async def test_it_is_cancelled_with_its_parent() -> None:
    gate = Gate()

    async def held(state: Inner) -> dict:
        await gate()
        return {}

    async with runtime() as rt:
        await rt.deploy(outer(inner(held)))
        session = await rt.session("outer")
        thread = await session.submit({})
        await gate.reached()

        await thread.cancel()

        assert await tree(rt, session.id) == {"0": "cancelled", "0.1.0": "cancelled"}


async def test_its_tokens_count() -> None:
    async with runtime(models={"default": {"provider": "scripted", "replies": ["fine"]}}) as rt:
        sub = Graph("asks", state=Inner)
        sub.llm("ask", prompt="{text}", into="reply")
        sub.edge(START, "ask")
        sub.edge("ask", END)
        await rt.deploy(outer(sub, output={"answer": "reply"}))

        result = await (await rt.session("outer")).run({"text": "one two"})

        assert result.state.answer == "fine"
        assert result.usage != Usage()
        assert result.usage.calls == 1


async def test_one_that_runs_itself_without_end_is_ended_by_the_limit_of_steps() -> None:
    g = Graph("endless", state=Inner, max_steps=6)
    g.subworkflow("again", workflow="endless")
    g.edge(START, "again")
    g.edge("again", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("endless")

        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert "max_steps" in result.error.message
        assert len(await session.threads()) == 7
