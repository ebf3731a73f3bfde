"""Executors are killed in the middle of calls of models and tools: each completed step has one record of its calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from graphs.calls import Call, ModelCall, ToolRun
from graphs.history import HistoryQuery, HistoryRecord, Order, RecordType
from graphs.journal import EntryKind, JournalEntry, Usage
from runtime import END, START, Graph, Message, Runtime, add_messages
from tests.component.model_server import DONE, USAGE, Handler, ModelServer, event, stream
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.integration

GOOD = stream(event("Hello", finish="stop"), USAGE, DONE)


def hang(handler: Handler) -> None:
    """Half an answer, and then nothing."""
    handler.begin_stream()
    handler.send(event("Hel"))
    handler.server.released.wait(60)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer().serving() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(fault_home: Path, server: ModelServer) -> Iterator[Cluster]:
    """A Greenroom whose models are behind `server`, but for a scripted one that asks for a tool."""
    asks = {"text": "", "tool_calls": [{"name": "work"}]}
    models = {
        "default": {"provider": "openai", "base_url": server.url, "model": "tiny"},
        "worker": {"provider": "scripted", "replies": {"go": [asks, "Done."]}},
    }
    with Runtime(home=fault_home, models=models) as rt:
        yield Cluster(fault_home, rt)


class Ask(BaseModel):
    answer: str = ""


class Chat(BaseModel):
    messages: Annotated[list[Message], add_messages] = []


def history(cluster: Cluster, thread_id: str) -> list[HistoryRecord]:
    """All records of a thread, oldest first."""

    async def read() -> list[HistoryRecord]:
        pages = cluster.rt._client.records.store.history.pages(
            HistoryQuery(thread=thread_id, order=Order.ASC), size=100
        )
        return [record async for page in pages for record in page]

    return cluster.rt._run(read())


def step(cluster: Cluster, thread_id: str, node: str) -> tuple[JournalEntry, list[Call]]:
    """The one entry of a node's step, and the calls it holds."""
    (entry,) = (entry for entry in cluster.entries(thread_id) if entry.node == node)
    assert entry.kind is EntryKind.STEP_FINISHED
    return entry, list(entry.calls)


def test_an_executor_is_killed_in_the_middle_of_an_answer(cluster: Cluster, server: ModelServer) -> None:
    server.steps = [hang, GOOD]
    g = Graph("faults-ask", state=Ask)
    g.llm("ask", prompt="hi", into="answer")
    g.edge(START, "ask")
    g.edge("ask", END)
    cluster.rt.deploy(g)
    thread = cluster.rt.session("faults-ask").submit({})
    cluster.until(lambda: server.requests, "the model is asked")

    (executor,) = cluster.pids("llm")
    cluster.kill(executor)
    result = thread.result(timeout_s=60)

    assert (result.status, result.state.answer) == ("completed", "Hello")
    assert len(server.requests) == 2
    entry, calls = step(cluster, thread.id, "ask")
    assert entry.attempt == 2
    assert [(type(call), call.attempt, call.text, call.error) for call in calls] == [(ModelCall, 2, "Hello", None)]
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.calls) == (5, 2, 1)
    records = history(cluster, thread.id)
    assert [(record.record_type, record.attempt) for record in records] == [
        (RecordType.LLM_REQUEST, 2),
        (RecordType.LLM_RESPONSE, 2),
        (RecordType.TOKEN_USAGE, 2),
        (RecordType.WORKFLOW_EXECUTION, 1),
    ]


async def slow(log: Path) -> str:
    """Leave a line, and the first time wait for good."""
    with log.open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    is_first = log.read_text().count("\n") == 1  # noqa: ASYNC240 - quicker than any way around it
    if is_first:
        await asyncio.Event().wait()
    return "done"


def test_an_executor_is_killed_in_the_middle_of_a_tool_that_a_model_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "calls.txt"

    async def work() -> str:
        return await slow(log)

    g = Graph("faults-agent", state=Chat)
    g.agent("agent", messages="messages", tools=[work], model="worker")
    g.edge(START, "agent")
    g.edge("agent", END)
    cluster.rt.deploy(g)
    thread = cluster.rt.session("faults-agent").submit({"messages": [Message(role="user", content="go")]})
    cluster.until(log.exists, "the tool is called")

    (executor,) = cluster.pids("tool")
    cluster.kill(executor)
    result = thread.result(timeout_s=60)

    assert [(message.role, message.content) for message in result.state.messages] == [
        ("user", "go"),
        ("assistant", ""),
        ("tool", "done"),
        ("assistant", "Done."),
    ]
    assert len(log.read_text().splitlines()) == 2
    item = f"{thread.id}.2.0"
    entry, calls = step(cluster, item, "agent_call")
    assert entry.attempt == 2
    assert [(type(call), call.tool, call.attempt, call.error) for call in calls] == [(ToolRun, "work", 2, None)]
    assert [(record.record_type, record.attempt) for record in history(cluster, item)] == [
        (RecordType.TOOL_EXECUTION, 2)
    ]
    assert result.usage.calls == 2
    assert result.usage != Usage()
