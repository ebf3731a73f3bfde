"""Large values when processes die, the store is away or has lost something, and memory is short."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import StoreUnavailable, ValueMissing
from actors.stores.values import MemoryValues
from actors.values import Values
from graphs.journal import CorruptRecord, EntryKind
from graphs.state.refs import ValueRef, ref_of
from graphs.threads import ThreadState
from runtime import END, START, Graph
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
from tests.component.values_kit import BIG, Moved, State, blobs, chain, count, count_moves, measure, submitted, write


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Moved:
    return count_moves(monkeypatch)


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
