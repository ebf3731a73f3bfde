"""Large values: stored once, and moved to those who read them and to nobody else."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from graphs.state.refs import LARGE_BYTES, ValueRef
from graphs.threads import ThreadState
from runtime import END, START, Graph, append
from runtime.events import NodeFinished
from tests.component.actors_kit import (
    executors,
    runtime,
)
from tests.component.values_kit import (
    BIG,
    Moved,
    State,
    blobs,
    chain,
    count,
    count_moves,
    journalled_bytes,
    measure,
    submitted,
    write,
)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Moved:
    return count_moves(monkeypatch)


def count_rows(state: State) -> dict[str, Any]:
    assert state.table is not None
    return {"rows": state.table.num_rows}


async def length(note: str) -> str:
    return str(len(note))


def ten_nodes() -> Graph:
    """A chain of ten nodes, of which the seventh reads the table."""
    g = Graph("ten", state=State)
    names = [f"n{i}" for i in range(9)]
    for name in names:
        g.node(count, name=name, reads=["n"], writes=["n"])
    g.node(count_rows, reads=["table"], writes=["rows"])
    chain(g, *names[:6], "count_rows", *names[6:])
    return g


async def test_a_table_of_100_mb_moves_to_the_one_node_that_reads_it(moved: Moved) -> None:
    """It is put once, by the driver, and got once, by the executor; ten steps and the result move nothing else."""
    table = pa.table({"x": pa.array(range(12_500_000), pa.int64())})
    async with runtime() as rt:
        await rt.deploy(ten_nodes())
        session = await rt.session("ten")
        result = await session.run({"table": table})

        assert (result.status, result.state.rows, result.state.n) == (ThreadState.COMPLETED, 12_500_000, 9)
        assert result.state.table.equals(table)
        assert moved.put == moved.got
        assert 100_000_000 <= moved.put[0] < 100_001_000
        assert len(moved.put) == 1
        assert await journalled_bytes(rt, result.thread_id) < 10_000

        await session.run({"n": 0})
        assert len(moved.got) == 1  # the executor still has it at hand


async def test_nobody_moves_what_nobody_reads(moved: Moved) -> None:
    """Conditions, routes, forks, joins and snapshots carry the reference."""
    g = Graph("w", state=State)
    for name in ("a", "b", "c", "d"):
        g.node(count, name=name, reads=["n"], writes=["n"])
    g.tool("sum", tool="calculator", arguments={"expression": "{n} + 1"}, into="rows")
    g.edge(START, "a")
    g.edge("a", "b", when="state.n > 0")
    g.edge("a", END, default=True)
    g.edge("b", "c")
    g.edge("b", "sum")
    g.edge("c", "d")
    g.edge("sum", "d")
    g.route("d", "threshold", {"reached": END, "below": "a"}, channel="n", value=8)
    async with runtime() as rt:
        await rt.deploy(g)
        result = await submitted(rt, "w", {"text": BIG, "notes": ["a", BIG, "b"]})

        assert (result.status, result.state.n, result.state.rows) == (ThreadState.COMPLETED, 8, 7)
        assert (result.state.text, result.state.notes) == (BIG, ["a", BIG, "b"])
        assert len(moved.put) == 2
        assert moved.got == []  # the driver has put them, and has them at hand
        assert len(blobs(rt)) == 1  # the same text twice


@pytest.mark.parametrize("kind", ["cel", "predicate", "route", "template", "all"])
async def test_who_reads_it_gets_it(kind: str, moved: Moved) -> None:
    """A condition, a predicate, a route, a template or a node that reads all: it is loaded in the one process."""
    g = Graph("w", state=State)
    if kind == "template":
        g.tool("first", tool="text_stats", arguments={"text": "{text}"}, into="notes")
    else:
        g.node(count, name="first", reads=None if kind == "all" else ["n"])
    g.node(count, name="second", reads=["n"])
    g.edge(START, "first")
    g.edge("second", END)
    match kind:
        case "cel":
            g.edge("first", "second", when="size(state.text) > 5")
            g.edge("first", END, default=True)
        case "predicate":
            g.edge("first", "second", when=is_long)
            g.edge("first", END, default=True)
        case "route":
            path_map = {"matched": "second", "not_matched": END}
            g.route("first", "message_contains", path_map, channel="text", keywords=["x"])
        case _:
            g.edge("first", "second")
    async with runtime() as rt:
        await rt.deploy(g)
        result = await submitted(rt, "w", {"text": BIG})

        assert result.state.n == (1 if kind == "template" else 2)
        assert len(moved.got) == 1


def is_long(state: State) -> bool:
    return len(state.text) > 5


async def test_what_a_node_writes_is_at_hand_for_the_next(moved: Moved) -> None:
    """A chain in one executor stores what is written, and does not read it back."""
    g = Graph("w", state=State)
    g.node(write, writes=["text", "notes"])
    g.node(measure, reads=["notes"], writes=["lengths"])
    chain(g, "write", "measure")
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        thread = await session.submit({"notes": ["first"]})
        result = await thread.result()

        assert result.state.lengths == [5, 1, len(BIG)]
        assert result.state.notes == ["first", "a", BIG]
        assert len(moved.got) == 1  # by the driver, for the result
        assert await journalled_bytes(rt, thread.id) < 10_000

        steps = [event async for event in thread.events() if isinstance(event, NodeFinished)]
        ref = steps[0].delta["text"]
        assert isinstance(ref, ValueRef)
        assert steps[0].delta["notes"] == ["a", ref]
        assert await thread.state(at=2) == {**result.state, "lengths": []}


async def test_turns_and_sessions() -> None:
    """A value is stored once in a session, and again in another one."""
    g = Graph("w", state=State)
    g.node(write, writes=["text", "notes"])
    chain(g, "write")
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        first, second = await session.run({}), await session.run({"text": BIG})

        assert second.state.notes == [*first.state.notes, "a", BIG]
        assert len(blobs(rt)) == 1
        await submitted(rt, "w", {})
        assert len(blobs(rt)) == 2


async def test_a_map_over_large_items(moved: Moved) -> None:
    """Its threads get references, and the one executor loads each item once."""
    notes = [str(i) + BIG for i in range(3)]
    g = Graph("w", state=State)
    g.map("lengths_of", over="notes", node="length", into="notes")
    g.node(length)
    chain(g, "lengths_of")
    async with runtime() as rt:
        await rt.deploy(g)
        result = await submitted(rt, "w", {"notes": [*notes, "small"]})

        assert result.state.notes == [*notes, "small", *[str(len(note)) for note in notes], "5"]
        assert len(moved.put) == len(moved.got) == 3


async def test_a_map_over_large_models() -> None:
    """An item of a model is the same bytes in the state of the thread that gets it."""

    class Part(BaseModel):
        name: str = ""
        data: str = ""

    class Parts(BaseModel):
        parts: Annotated[list[Part], append] = []
        sizes: list[int] = []

    async def size(part: Part) -> int:
        return len(part.data)

    g = Graph("w", state=Parts)
    g.map("sizes_of", over="parts", node="size", into="sizes")
    g.node(size)
    chain(g, "sizes_of")
    async with runtime() as rt:
        await rt.deploy(g)
        result = await submitted(rt, "w", {"parts": [Part(name="a", data=BIG), Part(data="b")]})

        assert result.error is None
        assert result.state.sizes == [len(BIG), 1]
        assert result.state.parts == [Part(name="a", data=BIG), Part(data="b")]


async def test_a_map_of_workflows_over_a_large_list() -> None:
    """Items and results of other workflows are loaded, checked and stored as their states want it."""

    class Item(BaseModel):
        text: str = ""
        doubled: str = ""

    async def double(state: Item) -> dict[str, Any]:
        return {"doubled": state.text * 2}

    inner = Graph("inner", state=Item)
    inner.node(double, reads=["text"], writes=["doubled"])
    chain(inner, "double")

    class Lists(BaseModel):
        texts: list[str] = []
        results: list[str] = []

    g = Graph("outer", state=Lists)
    g.map("all", over="texts", workflow=inner, item="text", result="doubled", into="results")
    chain(g, "all")
    texts = [str(i) * LARGE_BYTES for i in range(3)]
    async with runtime() as rt:
        await rt.deploy(g)
        result = await submitted(rt, "outer", {"texts": texts})

        assert result.status is ThreadState.COMPLETED
        assert result.state == {"texts": texts, "results": [text * 2 for text in texts]}
        assert await journalled_bytes(rt, result.thread_id) < 10_000


async def test_branches_read_it_together(moved: Moved) -> None:
    """Branches that read one table in one executor fetch it once; what they write is not moved by the join."""
    g = Graph("w", state=State)
    names = [f"b{i}" for i in range(5)]
    g.node(count, reads=["n"], writes=["n"])
    for name in names:
        g.node(append_rows, name=name, reads=["table"], writes=["notes"])
        g.edge("count", name)
        g.edge(name, END)
    g.edge(START, "count")
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        thread = await session.submit({"table": pa.table({"x": list(range(100_000))})})
        result = await thread.result()

        assert result.state.notes == ["100000", BIG] * 5
        assert len(moved.got) == len(executors(rt)) + 1  # the driver gets what the branches wrote
        assert await journalled_bytes(rt, thread.id) < 10_000


async def append_rows(state: State) -> dict[str, Any]:
    assert state.table is not None
    await asyncio.sleep(0)
    return {"notes": [str(state.table.num_rows), BIG]}


async def test_going_back_copies_nothing(moved: Moved) -> None:
    """A what-if branch, its promotion and a restored state refer to what is stored; the history shows it."""
    g = Graph("w", state=State)
    g.node(write, writes=["text", "notes"])
    g.node(count, reads=["n"], writes=["n"])
    chain(g, "write", "count")
    async with runtime() as rt:
        await rt.deploy(g)
        thread = await (await rt.session("w")).submit({})
        await thread.result()
        moved.put.clear()
        moved.got.clear()

        branch = await thread.branch(at=2, update={"n": 10})
        result = await branch.result()
        await branch.promote()

        assert (result.state.n, result.state.text) == (11, BIG)
        assert await thread.state() == result.state
        assert (moved.put, moved.got, len(blobs(rt))) == ([], [], 1)
        assert await journalled_bytes(rt, branch.id) < 5_000
        assert await journalled_bytes(rt, thread.id) < 5_000
        texts = [
            change.new_value
            for entry in await thread.history()
            for change in entry.changes
            if change.field_path == "text"
        ]
        assert texts == ["", BIG]


async def test_questions_and_answers(moved: Moved) -> None:
    """A question is made of a large value, and a large answer is stored as one."""
    g = Graph("w", state=State)
    g.human("ask", question="Is {text} right?", into="text")
    chain(g, "ask")
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        asked = await session.run({"text": BIG})
        thread = await rt.thread(asked.thread_id)
        await thread.answer("y" * LARGE_BYTES)
        result = await thread.result()

        assert asked.pause is not None
        assert asked.pause.question == f"Is {BIG} right?"
        assert result.state.text == "y" * LARGE_BYTES
        assert len(moved.put) == 2
        assert await journalled_bytes(rt, thread.id) < 5_000
