"""What a driver reads of other turns, and what it starts for workflows that another driver has deployed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

import pytest
from pydantic import BaseModel

from graphs.errors import NotFoundError
from graphs.workflow.graph import GraphModel
from runtime import END, START, AsyncLocalRuntime, Graph, append
from runtime.events import NodeFinished, ThreadFinished, TurnStarted


class State(BaseModel):
    items: list[str] = []
    results: list[str] = []
    notes: Annotated[list[str], append] = []


def note(state: State) -> dict:
    return {"notes": ["noted"]}


def noting() -> Graph:
    graph = Graph("noting", state=State)
    graph.node(note)
    graph.edge(START, "note")
    graph.edge("note", END)
    return graph


class Item(BaseModel):
    item: str = ""
    result: str = ""


def mapping() -> Graph:
    child = Graph("child", state=Item)
    child.llm("answer", prompt="{item}", into="result", model="scripted")
    child.edge(START, "answer")
    child.edge("answer", END)
    graph = Graph("mapping", state=State)
    graph.map("each", over="items", workflow=child, item="item", result="result", into="results")
    graph.edge(START, "each")
    graph.edge("each", END)
    return graph


class Starting(AsyncLocalRuntime):
    """Keeps what it was asked to start things for."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[list[str]] = []

    async def _before_run(self, graphs: Iterable[GraphModel]) -> None:
        self.started.append([graph.id for graph in graphs])
        await asyncio.sleep(0)


async def test_what_a_workflow_needs_is_started_once_whoever_has_deployed_it():
    async with Starting() as runtime:
        await runtime.deploy(mapping())
        by_deploying = list(runtime.started)
        await (await runtime.session("mapping")).run({"items": ["a"]})
        runtime._ready.clear()  # as in a driver that has deployed nothing
        runtime.started.clear()
        sessions = [await runtime.session("mapping") for _ in range(3)]
        results = await asyncio.gather(*(session.run({"items": ["a", "b"]}) for session in sessions))

        assert by_deploying == [["child", "mapping"]]
        assert runtime.started == [["mapping", "child"]]
        assert [result.state.results for result in results] == [["scripted: a", "scripted: b"]] * 3


async def test_events_of_a_later_turn_come_with_those_before_it():
    async with AsyncLocalRuntime() as runtime:
        await runtime.deploy(noting())
        session = await runtime.session("noting")
        await session.run({})
        thread = await session.submit({})
        events = [event async for event in thread.events()]
        from_the_first_on = [event async for event in thread.events(after=3)]
        past = await runtime.records.past(thread.id)

        assert [(type(event), event.seq) for event in events] == [
            (TurnStarted, 1),
            (NodeFinished, 2),
            (ThreadFinished, 3),
            (TurnStarted, 4),
            (NodeFinished, 5),
            (ThreadFinished, 6),
        ]
        assert past == events
        assert from_the_first_on == events[3:]
        assert await runtime.records.past(thread.id, after=5) == events[5:]


async def test_nothing_is_recorded_of_a_thread_that_is_not_there():
    async with AsyncLocalRuntime() as runtime:
        with pytest.raises(NotFoundError, match="no thread 'x:0'"):
            await runtime.records.past("x:0")
