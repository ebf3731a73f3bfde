"""Workflows that are run with a crash at every point."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel

from graphs.messages import Message
from runtime import END, START, Graph, add, add_messages, append, tool


class Board(BaseModel):
    text: str = ""
    n: int = 0
    items: list[int] = []
    squares: list[int] = []
    notes: Annotated[list[str], append] = []
    points: Annotated[int, add] = 0


class Talk(BaseModel):
    messages: Annotated[list[Message], add_messages] = []


LARGE = "large" * 60_000
"""A text that is kept outside of states."""


def note(name: str, takes_s: float = 0.0) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """A node that leaves its name in `notes`."""

    async def node(state: Any) -> dict[str, Any]:
        await asyncio.sleep(takes_s)
        return {"notes": name, "points": 1}

    node.__qualname__ = f"note_{name}"  # workflows that are deployed together tell their functions apart by it
    return node


def line(graph: Graph, *names: str, at: str = START, to: str = END, takes_s: float = 0.0) -> Graph:
    """Nodes in a row."""
    for name in names:
        graph.node(note(name, takes_s), name=name)
        graph.edge(at, name)
        at = name
    graph.edge(at, to)
    return graph


def chain() -> list[Graph]:
    g = Graph("w", state=Board)
    g.tool("sum", tool="calculator", arguments={"expression": "6 * 7"}, into="n")
    for name, takes_s in (("a", 0.0), ("b", 0.05), ("c", 0.0)):
        g.node(note(name, takes_s), name=name)
    g.edge(START, "a")
    g.edge("a", "b")
    g.edge("b", "sum")
    g.edge("sum", "c")
    g.edge("c", END)
    return [g]


def calling() -> list[Graph]:
    """Models asked by nodes, by a function and in branches, and a tool."""
    g = Graph("w", state=Board)
    g.llm("ask", prompt="{text}", into="text", model="plain")
    g.tool("sum", tool="calculator", arguments={"expression": "6 * 7"}, into="n")

    @g.node
    async def own(state: Board, ctx: Any) -> dict[str, Any]:
        ctx.record_llm("m", prompt="a", text="b", prompt_tokens=3, completion_tokens=4)
        return {"notes": ["own"]}

    for branch in ("left", "right"):
        g.llm(branch, prompt=branch, into="notes", model="plain")
        g.edge("own", branch)
        g.edge(branch, "end")
    g.node(note("end"), name="end")
    g.edge(START, "ask")
    g.edge("ask", "sum")
    g.edge("sum", "own")
    g.edge("end", END)
    return [g]


def budgeted() -> list[Graph]:
    """The second question is one too many, and an edge for errors goes on without it."""
    g = Graph("w", state=Board, budget={"tokens": 1})
    for name in ("ask", "again"):
        g.llm(name, prompt=name, into="notes", model="plain")
    g.node(note("end"), name="end")
    g.edge(START, "ask")
    g.edge("ask", "again")
    g.edge("again", "end", on_error=True)
    g.edge("end", END)
    g.edge("again", END)
    return [g]


def conversation() -> list[Graph]:
    """A state so long that who has had it is sent only what is new, and goes from executor to executor."""
    g = Graph("w", state=Board)

    async def reply(state: Board) -> dict[str, Any]:
        return {"notes": f"{len(state.notes)}{state.text}", "points": 1}

    async def close(state: Board) -> dict[str, Any]:
        return {"notes": f"closed with {len(state.notes)}"}

    g.node(reply)
    g.tool("count", tool="calculator", arguments={"expression": "{points} * 2"}, into="n")
    g.node(close)
    g.edge(START, "reply")
    g.edge("reply", "count")
    g.edge("count", "close")
    g.edge("close", END)
    return [g]


def loop() -> list[Graph]:
    g = Graph("w", state=Board)

    @g.node
    async def count(state: Board) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"n": state.n + 1, "points": 1}

    g.edge(START, "count")
    g.edge("count", "count", when="state.n < 4")
    g.edge("count", END, default=True)
    return [g]


def retried() -> list[Graph]:
    g = Graph("w", state=Board)

    @g.node(retry=5)
    async def flaky(state: Board, ctx: Any) -> dict[str, Any]:
        if ctx.attempt < 3:
            raise RuntimeError("not yet")
        return {"notes": "flaky"}

    g.edge(START, "flaky")
    g.edge("flaky", END)
    return [g]


def failing() -> list[Graph]:
    g = line(Graph("w", state=Board), "a", to="bad")

    @g.node
    async def bad(state: Board) -> dict[str, Any]:
        raise ValueError("broken")

    g.edge("bad", END)
    return [g]


def forked(*, slowest_s: float = 0.3, **policy: Any) -> Callable[[], list[Graph]]:
    def build() -> list[Graph]:
        g = Graph("w", state=Board)
        g.fork("split", **policy)
        g.edge(START, "split")
        g.node(note("join"), name="join")
        for name, takes_s in (("a", 0.01), ("b", 0.05), ("c", slowest_s)):
            line(g, name, f"{name}2", at="split", to="join", takes_s=takes_s)
        g.edge("join", END)
        return [g]

    return build


def nested(right_s: float = 0.05, inner_s: float = 0.02) -> list[Graph]:
    g = Graph("w", state=Board)
    g.node(note("inner"), name="inner")
    line(g, "left", to="inner")
    g.edge("inner", "x")
    g.edge("inner", "y")
    for name in ("x", "y"):
        g.node(note(name, inner_s), name=name)
        g.edge(name, "inner_join")
    g.node(note("inner_join"), name="inner_join")
    g.edge("inner_join", "join")
    line(g, "right", to="join", takes_s=right_s)
    g.node(note("join"), name="join")
    g.edge("join", END)
    return [g]


def mapped(max_concurrency: int) -> Callable[[], list[Graph]]:
    def build() -> list[Graph]:
        g = Graph("w", state=Board)

        @g.node
        async def square(item: int) -> int:
            await asyncio.sleep(0.01 * item)
            return item * item

        g.map("each", over="items", node="square", into="squares", max_concurrency=max_concurrency)
        g.edge(START, "each")
        g.edge("each", END)
        return [g]

    return build


def mapped_workflow() -> list[Graph]:
    child = line(Graph("child", state=Board), "p", "q", takes_s=0.02)
    g = Graph("w", state=Board)
    g.map("each", over="items", workflow="child", item="n", result="points", into="squares", max_concurrency=2)
    g.edge(START, "each")
    g.edge("each", END)
    return [child, g]


def large_values() -> list[Graph]:
    """A large text is written, read and not read, forked with and mapped over."""
    g = Graph("w", state=Board)

    @g.node(reads=["n"], writes=["text", "notes"])
    async def write(state: Board) -> dict[str, Any]:
        return {"text": LARGE, "notes": ["small", LARGE]}

    @g.node(reads=["text"], writes=["n"])
    async def measure(state: Board) -> dict[str, Any]:
        return {"n": len(state.text)}

    @g.node
    async def shorten(item: str) -> str:
        return item[:10]

    g.node(note("other"), name="other", reads=["n"])
    g.map("each", over="notes", node="shorten", into="notes")
    g.edge(START, "write")
    g.edge("write", "measure", when="size(state.text) > 5")
    g.edge("write", "other")
    for name in ("measure", "other"):
        g.edge(name, "each")
    g.edge("each", END)
    return [g]


def broken_branch(on_branch_error: str) -> Callable[[], list[Graph]]:
    def build() -> list[Graph]:
        g = Graph("w", state=Board)
        g.fork("split", on_branch_error=on_branch_error)
        g.edge(START, "split")
        g.node(note("join"), name="join")

        @g.node
        async def bad(state: Board) -> dict[str, Any]:
            await asyncio.sleep(0.02)
            raise ValueError("broken")

        g.edge("split", "bad")
        g.edge("bad", "join")
        line(g, "good", "good2", at="split", to="join", takes_s=0.05)
        g.edge("join", END)
        return [g]

    return build


def rescued() -> list[Graph]:
    """A node and a branch fail, and the turn goes on behind them."""
    g = failing_node(Graph("w", state=Board), "bad")
    g.node(rescue, name="rescue")
    g.fork("split")
    g.edge(START, "bad")
    g.edge("bad", END)
    g.edge("bad", "rescue", on_error=True)
    g.edge("rescue", "split")
    line(g, "good", at="split", to="join", takes_s=0.02)
    g.edge("split", "worse")
    failing_node(g, "worse")
    g.edge("worse", "join")
    g.node(note("join"), name="join")
    g.edge("join", END)
    g.node(rescue, name="last")
    g.edge("split", "last", on_error=True)
    g.edge("last", END)
    return [g]


def failing_node(graph: Graph, name: str) -> Graph:
    async def node(state: Board) -> dict[str, Any]:
        raise ValueError(f"{name} is broken")

    graph.node(node, name=name)
    return graph


async def rescue(state: Board, ctx: Any) -> dict[str, Any]:
    return {"notes": ctx.error.message}


calls: Counter[str] = Counter()
"""Runs of the nodes that may run once at most, by idempotency key."""


def once() -> list[Graph]:
    calls.clear()
    g = Graph("w", state=Board)

    @g.node(at_most_once=True)
    async def pay(state: Board, ctx: Any) -> dict[str, Any]:
        calls[ctx.idempotency_key] += 1
        await asyncio.sleep(0.05)
        return {"notes": "paid"}

    line(g, "a", to="pay")
    line(g, "thanks", at="pay", to=END)
    g.node(note("unknown"), name="unknown")
    g.edge("pay", "unknown", on_error=True)
    g.edge("unknown", END)
    return [g]


def asking() -> list[Graph]:
    g = line(Graph("w", state=Board), "a", to="ask")
    g.human("ask", question="Go on after {notes}?", into="text")
    line(g, "b", at="ask")
    return [g]


def approving(*, at_most_once: bool) -> Callable[[], list[Graph]]:
    """Calls of tools that a person has to allow: one that is allowed, and one that is refused."""

    def build() -> list[Graph]:
        calls.clear()
        g = Graph("w", state=Board)
        options: dict[str, Any] = {"tool": pay, "into": "notes"}
        g.tool("pay", arguments={"amount": "{n}"}, at_most_once=at_most_once, **options)
        g.tool("overpay", arguments={"amount": 100}, **options)
        line(g, "a", to="pay")
        line(g, "b", at="pay", to="overpay")
        g.edge("overpay", END)
        g.node(rescue, name="rescue")
        g.edge("pay", "rescue", on_error=True)
        g.edge("overpay", "rescue", on_error=True)
        g.edge("rescue", END)
        return [g]

    return build


@tool(requires_approval=True)
async def pay(amount: int, idempotency_key: str | None) -> str:
    """Pay."""
    calls[f"{amount} {idempotency_key}"] += 1
    await asyncio.sleep(0.02)
    return f"paid {amount}"


def approving_agent() -> list[Graph]:
    """An agent that asks for three calls: one that is allowed, one that is refused, and one that needs nobody."""
    g = Graph("w", state=Talk)
    g.agent("helper", messages="messages", tools=["calculator", pay])
    g.edge(START, "helper")
    g.edge("helper", END)
    return [g]


def asking_below() -> list[Graph]:
    """A branch that runs a workflow that forks into a question and a note, beside a branch that asks itself."""
    inner = Graph("inner", state=Board)
    inner.human("ask", question="inside?", into="text")
    for name in ("ask", "quick"):
        if name != "ask":
            inner.node(note(name, 0.05), name=name)
        inner.edge(START, name)
        inner.edge(name, END)
    g = Graph("w", state=Board)
    g.subworkflow("sub", workflow=inner, output={"notes": "notes"})
    g.human("ask", question="beside?", into="text")
    g.edge(START, "sub")
    g.edge(START, "ask")
    line(g, "end", at="sub")
    g.edge("ask", "end")
    return [g]


def asking_branches() -> list[Graph]:
    g = Graph("w", state=Board)
    g.fork("split")
    g.edge(START, "split")
    g.node(note("join"), name="join")
    line(g, "a", at="split", to="ask")
    g.human("ask", question="Go on?", into="text")
    line(g, "b", at="ask", to="join")
    line(g, "c", at="split", to="wait", takes_s=0.05)
    g.wait("wait", seconds=60)
    g.edge("wait", "join")
    g.edge("join", END)
    return [g]


def subworkflow() -> list[Graph]:
    child = line(Graph("child", state=Board), "p", to="ask")
    child.human("ask", question="Go on?", into="text")
    line(child, "q", at="ask", takes_s=0.02)
    g = line(Graph("w", state=Board), "a", to="sub")
    g.subworkflow("sub", workflow="child", output={"text": "text", "notes": "notes"})
    line(g, "b", at="sub")
    return [child, g]


def waiting() -> list[Graph]:
    g = line(Graph("w", state=Board), "a", to="wait")
    g.wait("wait", seconds=60)
    line(g, "b", at="wait")
    return [g]


def queued() -> list[Graph]:
    """Two workflows, of which the second fails when it is told to."""
    other = Graph("other", state=Board)

    @other.node
    async def work(state: Board) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        if state.text == "bad":
            raise ValueError("broken")
        return {"notes": f"other {state.text}"}

    other.edge(START, "work")
    other.edge("work", END)
    return [line(Graph("w", state=Board), "a", "b", takes_s=0.02), other]
