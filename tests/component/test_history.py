"""What actors record of calls and turns, each once, and what drivers read of it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from actors.retention import Retention
from actors.settings import RetentionSettings
from graphs.errors import ValidationError
from graphs.history import RecordType
from graphs.history_table import HISTORY_SCHEMA
from graphs.messages import Message
from graphs.state.reducers import add_messages
from runtime import END, START, AsyncLocalRuntime, Graph, LocalRuntime, MonetaryAmount, Usage, append
from tests.component.actors_kit import SkippingClock, runtime

PRICED = {
    "default": {
        "provider": "scripted",
        "replies": ["yes"],
        "price": {"input_per_million": 2, "output_per_million": "0.5", "currency": "EUR"},
    }
}
PLAIN = {"default": {"provider": "scripted", "replies": ["yes"]}}
SECRET = "my secret"


class Notes(BaseModel):
    text: str = ""
    topics: list[str] = []
    notes: Annotated[list[str], append] = []


class Lists(BaseModel):
    topics: list[str] = []
    found: list[list[str]] = []


def ask() -> Graph:
    """A model, then a tool."""
    g = Graph("ask", state=Notes)
    g.llm("answer", prompt="Answer: {text}", into="notes", temperature=0.5)
    g.tool("compute", tool="calculator", arguments={"expression": "{text}"}, into="notes")
    g.edge(START, "answer")
    g.edge("answer", "compute")
    g.edge("compute", END)
    return g


async def types(rt: AsyncLocalRuntime, **filters: Any) -> Counter[str]:
    return Counter(record.record_type.value for record in await rt.history.query(limit=1_000, **filters))


def euro(amount: str) -> MonetaryAmount:
    return MonetaryAmount(amount=Decimal(amount), currency="EUR")


async def test_each_call_and_the_turn() -> None:
    async with runtime(models=PRICED) as rt:
        await rt.deploy(ask())
        result = await (await rt.session("ask", user_id="ada")).run({"text": "6 * 7"})
        records = await rt.history.query(order="asc")
        of = {record.record_type: record for record in records}

    assert [(record.record_type.value, record.node, record.seq, record.attempt) for record in records] == [
        ("llm_request", "answer", 2, 1),
        ("llm_response", "answer", 2, 1),
        ("token_usage", "answer", 2, 1),
        ("cost_record", "answer", 2, 1),
        ("tool_execution", "compute", 3, 1),
        ("workflow_execution", "", 4, 1),
    ]
    assert {(record.user_id, record.thread_id, record.workflow) for record in records} == {
        ("ada", result.thread_id, "ask")
    }
    assert of[RecordType.LLM_REQUEST].data == {
        "name": "default",
        "parameters": {"temperature": 0.5},
        "messages": [{"role": "user", "content": "Answer: 6 * 7"}],
    }
    assert of[RecordType.LLM_RESPONSE].data["text"] == "yes"
    assert of[RecordType.COST_RECORD].data == {
        "amount": "0.0000085",
        "currency": "EUR",
        "model_name": "default",
        "estimated": False,
    }
    assert of[RecordType.TOOL_EXECUTION].data["output"] == "42"
    assert result.usage == Usage(
        prompt_tokens=4, completion_tokens=1, calls=1, priced_calls=1, cost=(euro("0.0000085"),)
    )


async def test_a_model_without_a_price_has_no_cost() -> None:
    async with runtime(models=PLAIN) as rt:
        await rt.deploy(ask())
        result = await (await rt.session("ask")).run({"text": "6 * 7"})
        found = await rt.history.statistics("ask")

        assert "cost_record" not in await types(rt)
    assert (result.usage.cost, result.usage.priced_calls) == ((), 0)
    assert (found.total_cost, found.priced_calls, found.calls, found.total_tokens) == ((), 0, 1, 5)


async def test_messages_of_a_channel_are_named_and_not_stored_again() -> None:
    class Chat(BaseModel):
        messages: Annotated[list[Message], add_messages] = []

    g = Graph("chat", state=Chat)
    g.llm("answer", system="Be brief.", messages="messages", into="messages")
    g.edge(START, "answer")
    g.edge("answer", END)
    async with runtime(models=PLAIN) as rt:
        await rt.deploy(g)
        session = await rt.session("chat")
        for text in ("one", "two"):
            await session.run({"messages": [Message(role="user", content=text)]})
        requests = await rt.history.query(record_type="llm_request", order="asc")

    assert [(record.data["channel"], record.data["messages"]) for record in requests] == [
        ("messages", [{"role": "system", "content": "Be brief."}])
    ] * 2


async def test_failed_attempts_are_there_with_the_one_that_went_well() -> None:
    calls = 0

    async def flaky(state: Notes, ctx: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        ctx.record_llm("gpt-4o-mini", provider="openai", prompt="a", text="b", prompt_tokens=1_000_000)
        if calls < 3:
            raise OSError("try again")
        return {"notes": ["done"]}

    g = Graph("flaky", state=Notes)
    g.node(flaky, retry=3)
    g.edge(START, "flaky")
    g.edge("flaky", END)
    async with runtime() as rt:
        await rt.deploy(g)
        result = await (await rt.session("flaky")).run({})
        costs = await rt.history.query(record_type="cost_record", order="asc")

    assert [(record.attempt, record.data["amount"]) for record in costs] == [(1, "0.15"), (2, "0.15"), (3, "0.15")]
    assert result.usage.calls == 3
    assert result.usage.cost == (MonetaryAmount(amount=Decimal("0.45")),)


async def test_a_model_that_fails_leaves_a_request_and_an_error() -> None:
    g = Graph("wrong", state=Notes)
    g.llm("answer", prompt="{text}", into="notes", model="nobody")
    g.edge(START, "answer")
    g.edge("answer", END)
    nowhere = {"nobody": {"base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}}
    async with runtime(models=nowhere) as rt:
        await rt.deploy(g)
        await (await rt.session("wrong")).run({"text": "x"})
        execution, response, request = await rt.history.query()

    assert (execution.data["status"], execution.data["error"]["code"]) == ("failed", "ModelUnavailable")
    assert (response.record_type, response.data["error"]["code"], response.model) == (
        RecordType.LLM_RESPONSE,
        "ModelUnavailable",
        "m",
    )
    assert request.data["messages"] == [{"role": "user", "content": "x"}]


async def test_a_call_that_times_out_with_its_node_is_there() -> None:
    slow = {"default": {"provider": "scripted", "latency": {"mean_s": 60}}}
    g = Graph("slow", state=Notes)
    g.llm("answer", prompt="{text}", into="notes", timeout_s=0.05)
    g.edge(START, "answer")
    g.edge("answer", END)
    async with runtime(models=slow) as rt:
        await rt.deploy(g)
        await (await rt.session("slow")).run({"text": "x"})
        response = (await rt.history.query(record_type="llm_response"))[0]

    assert response.data["error"] == {"code": "TimeoutError", "message": "it was broken off before it had answered"}


def fork() -> Graph:
    g = Graph("fork", state=Notes)
    g.node(_nothing, name="begin")
    for branch in ("left", "right"):
        g.llm(branch, prompt="{text}", into="notes")
        g.edge("begin", branch)
        g.edge(branch, "end")
    g.node(_nothing, name="end")
    g.edge(START, "begin")
    g.edge("end", END)
    return g


async def _nothing(state: Notes) -> dict[str, Any]:
    return {}


async def test_branches_of_a_fork_count_once_and_are_no_executions() -> None:
    async with runtime(models=PRICED) as rt:
        await rt.deploy(fork())
        result = await (await rt.session("fork")).run({"text": "a b"})
        found = await rt.history.statistics("fork", by="node")

        assert await types(rt) == Counter(
            {"llm_request": 2, "llm_response": 2, "token_usage": 2, "cost_record": 2, "workflow_execution": 1}
        )
    assert (found.execution_count, found.total_tokens, found.average_tokens_per_execution) == (1, 6, 6.0)
    assert found.total_cost == result.usage.cost == (euro("0.000009"),)
    assert {node: counted.calls for node, counted in found.groups.items()} == {"left": 1, "right": 1}


async def test_items_and_subworkflows_count_for_the_workflow_whose_node_it_was() -> None:
    class Item(BaseModel):
        topic: str = ""
        notes: Annotated[list[str], append] = []

    inner = Graph("inner", state=Item)
    inner.llm("answer", prompt="{topic}", into="notes")
    inner.edge(START, "answer")
    inner.edge("answer", END)
    outer = Graph("outer", state=Lists)
    outer.map("each", over="topics", workflow=inner, item="topic", result="notes", into="found")
    outer.edge(START, "each")
    outer.edge("each", END)
    async with runtime(models=PLAIN) as rt:
        await rt.deploy(outer)
        result = await (await rt.session("outer")).run({"topics": ["a", "b", "c"]})
        own, below = await rt.history.statistics("outer"), await rt.history.statistics("inner")

    assert result.usage.calls == 3
    assert (own.execution_count, own.calls) == (1, 0)
    assert (below.execution_count, below.calls) == (3, 3)


async def test_what_if_branches_are_executions_of_their_own() -> None:
    async with runtime(models=PLAIN) as rt:
        await rt.deploy(ask())
        session = await rt.session("ask")
        await session.run({"text": "6 * 7"})
        thread = await rt.thread(session.thread)
        branch = await thread.branch(at=1, update={"text": "1 + 1"})
        await branch.result()
        found = await rt.history.statistics("ask")
        records = await rt.history.query(thread=branch.id, record_type="llm_request")

    assert (found.execution_count, found.calls, found.tool_executions) == (2, 2, 2)
    assert [record.data["messages"][0]["content"] for record in records] == ["Answer: 1 + 1"]


def redact(text: str) -> str:
    return text.replace(SECRET, "***")


def broken(text: str) -> str:
    raise ValueError(text)


async def stored_of(rt: AsyncLocalRuntime, text: str) -> tuple[list[Any], bytes]:
    """What the history tells of a turn, and all bytes of the calls in its journal."""
    session = await rt.session("ask")
    await session.run({"text": text})
    data = [record.data for record in await rt.history.query()]
    entries = await rt.records.store.journal.read(session.thread)
    return data, repr([entry.calls for entry in entries]).encode()


async def test_texts_are_redacted_before_they_are_stored() -> None:
    async with runtime(models=PLAIN, history={"redact": "tests.component.test_history:redact"}) as rt:
        await rt.deploy(ask())
        data, stored = await stored_of(rt, SECRET)

    assert SECRET not in repr([each for each in data if "status" not in each and "tool" not in each])
    assert {"role": "user", "content": "Answer: ***"} in [
        message for each in data for message in each.get("messages", [])
    ]
    assert {"expression": "***"} in [each.get("arguments") for each in data]
    assert stored.count(SECRET.encode()) == 0


@pytest.mark.parametrize("redact", ["tests.component.test_history:broken", "tests.component.test_history:nowhere"])
async def test_what_cannot_be_redacted_is_not_stored(redact: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with runtime(models=PLAIN, history={"redact": redact}) as rt:
            await rt.deploy(ask())
            _, stored = await stored_of(rt, "6 * 7")

    assert b"6 * 7" not in stored
    assert "stored in the history" in caplog.text


async def test_no_texts() -> None:
    async with runtime(models=PRICED, history={"texts": False}) as rt:
        await rt.deploy(ask())
        data, stored = await stored_of(rt, "6 * 7")
        found = await rt.history.statistics("ask")

    assert b"6 * 7" not in stored
    assert [each["text"] for each in data if "text" in each] == [None]
    assert [each["messages"] for each in data if "messages" in each] == [None]
    assert (found.total_tokens, found.total_cost) == (5, (euro("0.0000085"),))


async def test_wrong_questions() -> None:
    async with runtime() as rt:
        for question in (
            {"workflo": "x"},
            {"record_type": "llm_respons"},
            {"order": "up"},
            {"limit": 0},
            {"after": "x"},
        ):
            with pytest.raises(ValidationError):
                await rt.history.query(**question)
        with pytest.raises(ValidationError, match="no by 'nodes'; did you mean \"node\""):
            await rt.history.statistics("x", by="nodes")
        with pytest.raises(ValidationError, match="no filter 'sesion'; did you mean \"session\""):
            await anext(rt.history.export(sesion="x"))


def test_blocking_and_exported(tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    with LocalRuntime(models=PRICED) as rt:
        rt.deploy(ask())
        for _ in range(3):
            rt.session("ask").run({"text": "6 * 7"})
        table = pa.Table.from_batches(rt.history.export(workflow="ask"))
        count = rt.history.export_parquet(path, workflow="ask")
        records = rt.history.query(workflow="ask", order="asc")
        found = rt.history.statistics("ask")
        assert list(rt.history.export(workflow="nobody")) == []
    written = pq.read_table(path)

    assert table.schema.equals(HISTORY_SCHEMA)
    assert table.column("id").to_pylist() == [record.id for record in records]
    assert count == len(records) == 18
    assert written.to_pylist() == table.to_pylist()
    assert sum(written.column("cost").drop_null().to_pylist()) == found.total_cost[0].amount
    assert sum(written.column("total_tokens").drop_null().to_pylist()) == found.total_tokens
    assert len(table.to_pandas()) == 18


async def test_records_may_be_forgotten_before_their_session() -> None:
    async with runtime(models=PLAIN) as rt:
        await rt.deploy(ask())
        await (await rt.session("ask", user_id="ada")).run({"text": "1"})
        clock = SkippingClock()
        clock._now = (await rt.history.query(limit=1))[0].timestamp + 100
        store = rt.records.store
        await Retention(store, RetentionSettings(sessions_idle_s=None, history_s=200), clock).sweep()
        kept = len(await rt.history.query())
        await Retention(store, RetentionSettings(sessions_idle_s=None, history_s=50), clock).sweep()

        assert kept == 5
        assert await rt.history.query() == []
        assert await rt.history.query(user="ada") == []
        assert (await rt.history.statistics("ask")).execution_count == 1
        assert len(await store.sessions.list()) == 1


async def test_calls_made_in_threads_of_functions_at_once() -> None:
    def work(state: Notes, ctx: Any) -> dict[str, Any]:
        ctx.record_llm("m", prompt="one two three four", text="five")
        return {}

    g = Graph("work", state=Notes)
    g.node(work)
    g.edge(START, "work")
    g.edge("work", END)
    async with runtime() as rt:
        await rt.deploy(g)
        sessions = [await rt.session("work") for _ in range(20)]
        await asyncio.gather(*(session.run({}) for session in sessions))
        found = await rt.history.statistics("work")

    assert (found.calls, found.estimated_calls, found.execution_count) == (20, 20, 20)
    assert found.total_tokens == 20 * (5 + 1)
