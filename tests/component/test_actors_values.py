"""Large values: stored once, moved to those who read them and to nobody else, and there for whoever comes later."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from actors.errors import StoreUnavailable, ValueMissing
from actors.stores.values import MemoryValues
from actors.values import Values
from graphs.journal import CorruptRecord, EntryKind
from graphs.state.refs import LARGE_BYTES, ValueRef, ref_of
from graphs.threads import ThreadState
from runtime import END, START, AsyncLocalRuntime, Graph, append
from runtime.events import NodeFinished
from runtime.results import ThreadResult
from tests.component.actors_kit import (
    COMPLETED,
    STARTED,
    another_driver,
    executors,
    history,
    hosts,
    runtime,
    step,
    world,
)

BIG = "x" * LARGE_BYTES


class State(BaseModel):
    n: int = 0
    rows: int = 0
    text: str = ""
    notes: Annotated[list[str], append] = []
    lengths: list[int] = []
    table: pa.Table | None = None

    model_config = {"arbitrary_types_allowed": True}


class Moved:
    """Bytes of what goes to the store and comes from it."""

    def __init__(self) -> None:
        self.put: list[int] = []
        self.got: list[int] = []


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Moved:
    counts = Moved()
    put, get = MemoryValues.put, MemoryValues.get

    async def counted_put(self: MemoryValues, thread_id: str, blob: memoryview) -> ValueRef:
        counts.put.append(len(blob))
        return await put(self, thread_id, blob)

    async def counted_get(self: MemoryValues, thread_id: str, ref: ValueRef) -> memoryview:
        blob = await get(self, thread_id, ref)
        counts.got.append(len(blob))
        return blob

    monkeypatch.setattr(MemoryValues, "put", counted_put)
    monkeypatch.setattr(MemoryValues, "get", counted_get)
    return counts


def blobs(rt: AsyncLocalRuntime) -> dict[str, bytes]:
    values = world(rt).store.values
    assert isinstance(values, MemoryValues)
    return values.blobs


async def journalled_bytes(rt: AsyncLocalRuntime, thread_id: str) -> int:
    """Bytes of all deltas of a thread and of its snapshot."""
    journal = world(rt).store.journal
    snapshot = await journal.snapshot(thread_id)
    deltas = [delta for entry in await journal.read(thread_id) for delta in entry.deltas]
    return sum(map(len, deltas)) + (0 if snapshot is None else len(snapshot.state))


def chain(graph: Graph, *names: str) -> None:
    for source, target in zip((START, *names), (*names, END), strict=True):
        graph.edge(source, target)


async def submitted(rt: AsyncLocalRuntime, workflow: str, content: dict[str, Any]) -> ThreadResult:
    """The result of a turn as its driver has it."""
    return await (await rt.session(workflow)).run(content)


async def count(state: State) -> dict[str, Any]:
    return {"n": state.n + 1}


def count_rows(state: State) -> dict[str, Any]:
    assert state.table is not None
    return {"rows": state.table.num_rows}


async def measure(state: State) -> dict[str, Any]:
    return {"lengths": [len(note) for note in state.notes]}


async def write(state: State) -> dict[str, Any]:
    return {"text": BIG, "notes": ["a", BIG]}


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


async def test_a_node_waits_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not failed when its value cannot be had just now, and it runs once."""
    g = Graph("w", state=State)
    runs: list[int] = []

    @g.node(reads=["text"], writes=["rows"])
    async def read(state: State) -> dict[str, Any]:
        runs.append(len(state.text))
        return {"rows": len(state.text)}

    chain(g, "read")
    get = MemoryValues.get
    left = [StoreUnavailable("the store is away; wait", url="memory://")] * 2

    async def away(self: MemoryValues, thread_id: str, ref: ValueRef) -> memoryview:
        if left:
            raise left.pop()
        return await get(self, thread_id, ref)

    async with runtime() as rt:
        await rt.deploy(g)
        monkeypatch.setattr(MemoryValues, "get", away)
        result = await submitted(rt, "w", {"text": BIG})

        assert (result.error, result.state.rows, runs) == (None, len(BIG), [len(BIG)])
        assert await history(rt, result.thread_id) == [STARTED, step("read"), COMPLETED]


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


async def test_it_outlives_every_process(moved: Moved) -> None:
    """With all hosts and executors gone, and for a driver that never had it, the store has it."""
    g = Graph("w", state=State)
    g.node(write, writes=["text", "notes"])
    g.node(measure, reads=["notes"], writes=["lengths"])
    g.edge(START, "write", when="state.n == 0")
    g.edge(START, "measure", default=True)
    g.edge("write", END)
    g.edge("measure", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        await session.run({})
        for address in [*hosts(rt), *executors(rt)]:
            await world(rt).kill(address)
        async with another_driver(rt) as other:
            again = await other.session(id=session.id)
            result = await again.run({"n": 1})

        assert (result.state.lengths, result.state.text) == ([1, len(BIG)], BIG)
        assert len(moved.got) == 3  # the first driver, the new executor, the second driver


@pytest.mark.parametrize("damaged", [True, False])
async def test_a_value_that_is_damaged_or_gone(damaged: bool) -> None:
    """The turn that needs it fails with an error that names it; so does reading the state; other sessions go on."""
    g = Graph("w", state=State)
    g.node(measure, reads=["notes"], writes=["lengths"])
    chain(g, "measure")
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        await session.run({"notes": ["a"]})
        values = blobs(rt)
        thread = await session.submit({"text": BIG, "notes": [BIG]})
        await thread.result()
        (key,) = values
        for address in executors(rt):
            await world(rt).kill(address)
        if damaged:
            values[key] = values[key][:-1] + b"?"
        else:
            del values[key]

        async with another_driver(rt) as other:
            with pytest.raises(CorruptRecord if damaged else ValueMissing) as failure:
                await (await other.session(id=session.id)).run({})
            head = await other.records.thread(thread.id)

        digest = key.rpartition(":")[2]
        assert (failure.value.thread_id, failure.value.key, failure.value.digest) == (thread.id, key, digest)
        assert head.cursor.error is not None
        assert (head.cursor.status, head.cursor.error.code) == (ThreadState.FAILED, type(failure.value).__name__)
        assert (await submitted(rt, "w", {"notes": ["b", BIG]})).state.lengths == [1, len(BIG)]


async def test_a_start_that_hangs_on_a_damaged_value() -> None:
    """The turn is recorded as failed, with the reason."""
    g = Graph("w", state=State)
    g.node(count, reads=["n"], writes=["n"])
    g.edge(START, "count", when="size(state.text) > 0")
    g.edge(START, END, default=True)
    g.edge("count", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("w")
        await session.run({"text": BIG})
        for address in hosts(rt):
            await world(rt).kill(address)
        blobs(rt).clear()
        result = await session.run({})

        assert isinstance(result.error, ValueMissing)
        entries = await world(rt).store.journal.read(result.thread_id)
        assert [entry.kind for entry in entries[-2:]] == [EntryKind.TURN_STARTED, EntryKind.TURN_FINISHED]


async def test_what_is_at_hand_is_bounded() -> None:
    """The least recently used value goes first; one that is larger than the bound is not kept."""
    store = MemoryValues()
    values = Values(store, cache_bytes=100)
    refs = [await values.put("s:0", memoryview(bytes([i]) * size)) for i, size in enumerate((40, 40, 200, 40))]
    store.blobs.clear()

    for missing in (0, 2):
        with pytest.raises(ValueMissing):
            await values.get("s:0", refs[missing])
    assert [ref_of(await values.get("s:0", refs[kept])) for kept in (1, 3)] == [refs[1], refs[3]]
