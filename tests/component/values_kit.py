"""What the tests of large values share: a state, some nodes, and a count of what is moved."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from actors.stores.values import MemoryValues
from graphs.state.refs import LARGE_BYTES, ValueRef
from runtime import END, START, AsyncLocalRuntime, Graph, append
from runtime.results import ThreadResult
from tests.component.actors_kit import (
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


def count_moves(monkeypatch: pytest.MonkeyPatch) -> Moved:
    """Counts from here on."""
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


async def measure(state: State) -> dict[str, Any]:
    return {"lengths": [len(note) for note in state.notes]}


async def write(state: State) -> dict[str, Any]:
    return {"text": BIG, "notes": ["a", BIG]}
