"""What every store does with the history: it is written by appends, read by indexes, and counted as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from actors.errors import Fenced
from actors.ports import Store
from graphs.calls import Call, ModelCall, MonetaryAmount, ToolRun
from graphs.errors import ErrorInfo, ValidationError
from graphs.history import HistoryQuery, HistoryRecord, Order, RecordType
from graphs.journal import Cursor, EntryKind, JournalEntry, Usage
from graphs.sessions import InteractionType, Session, UserInteraction
from graphs.statistics import GroupBy, TokenStatistics
from graphs.threads import Thread, ThreadState, ThreadType

HOUR = 3_600.0
DAY = 24 * HOUR


def usd(amount: str) -> MonetaryAmount:
    return MonetaryAmount(amount=Decimal(amount))


def ask(model: str = "m", *, prompt: int = 10, completion: int = 5, cost: str | None = None, **fields) -> ModelCall:
    price = None if cost is None else usd(cost)
    return ModelCall(model=model, prompt_tokens=prompt, completion_tokens=completion, cost=price, **fields)


class Writer:
    """Writes what the tests read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.epochs: dict[str, int] = {}
        self.seqs: dict[str, int] = {}

    async def session(self, session_id: str, *, user: str = "ada") -> None:
        interaction = UserInteraction(
            interaction_id="i", session_id=session_id, interaction_type=InteractionType.USER_REQUEST, timestamp=1.0
        )
        session = Session(id=session_id, user_id=user, workflow_id="w@1+b")
        await self.store.sessions.accept(session, interaction, host="h")

    async def thread(self, thread_id: str, workflow: str = "w@1.0+b", **fields) -> None:
        fields = {"thread_type": ThreadType.MAIN} | fields
        made = Thread(id=thread_id, session_id=thread_id.rpartition(":")[0], workflow=workflow, **fields)
        self.epochs[thread_id] = (await self.store.journal.activate(thread_id, "h", create=made)).epoch

    async def step(self, thread_id: str, node: str, *calls: Call, at: float = 100.0, times: int = 1) -> None:
        """A step, appended so often."""
        await self._append(thread_id, [self._entry(thread_id, EntryKind.STEP_FINISHED, at, node, calls)], times)

    async def end(self, thread_id: str, *, at: float = 100.0, status: ThreadState = ThreadState.COMPLETED) -> None:
        """The end of a turn."""
        await self._append(thread_id, [self._entry(thread_id, EntryKind.TURN_FINISHED, at, None, (), status)], 1)

    async def _append(self, thread_id: str, entries: Sequence[JournalEntry], times: int) -> None:
        for _ in range(times):
            await self.store.journal.append(thread_id, self.epochs[thread_id], entries, op_id=f"op{entries[0].seq}")

    def _entry(self, thread_id, kind, at, node, calls, status=ThreadState.RUNNING) -> JournalEntry:
        seq = self.seqs[thread_id] = self.seqs.get(thread_id, 0) + 1
        cursor = Cursor(turn=1, status=status, steps=seq)
        return JournalEntry(seq=seq, kind=kind, cursor=cursor, at=at, node=node, calls=calls, usage=Usage.of(calls))


@pytest.fixture
def writer(store: Store) -> Writer:
    return Writer(store)


async def read(store: Store, *, size: int = 100, **fields) -> list[HistoryRecord]:
    query = HistoryQuery(**{"order": Order.ASC, **fields})
    return [record async for page in store.history.pages(query, size=size) for record in page]


def brief(records: Sequence[HistoryRecord]) -> list[tuple[str, str, int]]:
    return [(record.record_type.value, record.thread_id, record.seq) for record in records]


async def furnish(writer: Writer) -> None:
    """Two sessions of two users, with two workflows in three versions, and a fork."""
    for session_id, user, workflow in (("s1", "ada", "w@1.0+b"), ("s2", "bob", "w@1.1+c"), ("s3", "bob", "v@1.0+b")):
        await writer.session(session_id, user=user)
        await writer.thread(f"{session_id}:0", workflow)
    await writer.thread("s1:0.1.0", thread_type=ThreadType.PARALLEL, base=("s1:0", 1))
    await writer.step("s1:0", "answer", ask("m", cost="0.1"), at=10.0)
    await writer.step("s2:0", "answer", ask("n"), at=20.0)
    await writer.step("s1:0.1.0", "look", ToolRun(tool="calculator", arguments=b'{"x":1}', output=b"2"), at=30.0)
    await writer.end("s1:0.1.0", at=40.0)
    await writer.step("s3:0", "answer", ask("m"), at=50.0)
    for session_id in ("s1", "s2", "s3"):
        await writer.end(f"{session_id}:0", at=60.0)


class TestRecords:
    async def test_a_call_of_a_model_gives_four(self, store: Store, writer: Writer):
        call = ModelCall(
            model="m-1",
            name="default",
            attempt=2,
            started_at=99.0,
            duration_s=0.5,
            messages=b'[{"role":"user","content":"6*7?"}]',
            channel="chat",
            parameters={"temperature": 0.5},
            text="42",
            finish_reason="stop",
            prompt_tokens=10,
            completion_tokens=5,
            cost=usd("0.000075"),
        )
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "answer", call, at=100.25)
        same = {
            "timestamp": 100.25,
            "user_id": "ada",
            "session_id": "s1",
            "thread_id": "s1:0",
            "workflow": "w",
            "version": "1.0",
            "node": "answer",
            "seq": 1,
            "attempt": 2,
            "model": "m-1",
        }
        request = {
            "name": "default",
            "parameters": {"temperature": 0.5},
            "channel": "chat",
            "messages": [{"role": "user", "content": "6*7?"}],
        }
        response = {
            "text": "42",
            "tool_calls": [],
            "finish_reason": "stop",
            "started_at": 99.0,
            "duration_s": 0.5,
            "error": None,
        }
        cost = {"amount": "0.000075", "currency": "USD"}
        usage = {
            "model_name": "m-1",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "cached_tokens": 0,
            "reasoning_tokens": 0,
            "cost": cost,
            "estimated": False,
        }

        assert await read(store) == [
            HistoryRecord(id="100250000.0", record_type=RecordType.LLM_REQUEST, data=request, **same),
            HistoryRecord(id="100250000.1", record_type=RecordType.LLM_RESPONSE, data=response, **same),
            HistoryRecord(id="100250000.2", record_type=RecordType.TOKEN_USAGE, data=usage, **same),
            HistoryRecord(
                id="100250000.3",
                record_type=RecordType.COST_RECORD,
                data=cost | {"model_name": "m-1", "estimated": False},
                **same,
            ),
        ]

    async def test_a_call_without_a_price_has_no_cost_and_one_without_an_answer_no_tokens(self, store, writer: Writer):
        failed = ModelCall(model="m", error=ErrorInfo(code="ModelError", message="no"))
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "answer", failed, ask())
        records = await read(store)

        assert [record.record_type.value for record in records] == [
            "llm_request",
            "llm_response",
            "llm_request",
            "llm_response",
            "token_usage",
        ]
        assert records[1].data["error"] == {"code": "ModelError", "message": "no"}
        assert records[4].data["cost"] is None

    async def test_texts_that_are_not_kept_are_told_from_empty_ones(self, store: Store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "n", ask(texts_kept=False), ToolRun(tool="t", texts_kept=False), ask())
        records = [record for record in await read(store) if record.record_type is not RecordType.TOKEN_USAGE]
        found = [tuple(record.data.get(name, 0) for name in ("messages", "text", "output")) for record in records]

        assert found == [(None, 0, 0), (0, None, 0), (0, 0, None), ([], 0, 0), (0, "", 0)]

    async def test_tools_and_executions(self, store: Store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "look", ToolRun(tool="t", arguments=b'{"x":1}', output=b"2", output_bytes=1))
        await writer.end("s1:0", status=ThreadState.FAILED)
        tool, execution = await read(store)

        assert (tool.record_type, tool.node, tool.model) == (RecordType.TOOL_EXECUTION, "look", "")
        assert tool.data == {
            "tool": "t",
            "arguments": {"x": 1},
            "output": "2",
            "output_bytes": 1,
            "started_at": 0.0,
            "duration_s": 0.0,
            "error": None,
        }
        assert (execution.record_type, execution.node, execution.seq) == (RecordType.WORKFLOW_EXECUTION, "", 2)
        assert (execution.data["turn"], execution.data["status"], execution.data["steps"]) == (1, "failed", 2)

    async def test_no_two_are_at_one_time_and_none_is_before_one_that_was_written_before(self, store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "a", ToolRun(tool="t"), at=200.0)
        await writer.step("s1:0", "b", ToolRun(tool="t"), ToolRun(tool="t"), at=100.0)

        assert [record.id for record in await read(store)] == ["200000000.0", "200000001.0", "200000002.0"]


class TestOnce:
    async def test_an_append_that_is_repeated_counts_once(self, store: Store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "a", ask(cost="1"), times=3)
        await writer.end("s1:0")
        found = await store.history.statistics("w", since=None, until=None, by=None)

        assert len(await read(store)) == 5
        assert (found.calls, found.execution_count, found.total_tokens) == (1, 1, 15)

    async def test_a_fenced_append_leaves_nothing(self, store: Store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.thread("s1:0")
        writer.epochs["s1:0"] = 1
        with pytest.raises(Fenced):
            await writer.step("s1:0", "a", ask())

        assert await read(store) == []


class TestQueries:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"workflow": "v"}, ["s3", "s3"]),
            ({"workflow": "nobody"}, []),
            ({"version": "1.0"}, ["s1", "s1", "s3", "s1", "s3"]),
            ({"workflow": "w", "version": "1.1"}, ["s2", "s2"]),
            ({"session": "s2"}, ["s2", "s2"]),
            ({"session": "nobody"}, []),
            ({"user": "bob"}, ["s2", "s3", "s2", "s3"]),
            ({"user": "bob", "workflow": "w"}, ["s2", "s2"]),
            ({"user": "bob", "session": "s1"}, []),
            ({"user": "ada", "session": "s1"}, ["s1", "s1", "s1"]),
            ({"thread": "s1:0.1.0"}, ["s1"]),
            ({"thread": "s1:0", "session": "s2"}, []),
            ({"node": "answer"}, ["s1", "s2", "s3"]),
            ({"model": "m"}, ["s1", "s3"]),
            ({"model": "m", "user": "bob", "node": "answer"}, ["s3"]),
            ({"record_type": RecordType.TOOL_EXECUTION}, ["s1"]),
            ({"record_type": RecordType.COST_RECORD}, ["s1"]),
            ({"record_type": RecordType.WORKFLOW_EXECUTION}, ["s1", "s2", "s3"]),
            ({"since": 20.0, "until": 50.0}, ["s2", "s1"]),
            ({"since": 20.0, "until": 50.0, "session": "s1"}, ["s1"]),
            ({"since": 20.0, "until": 60.0, "user": "bob"}, ["s2", "s3"]),
            ({}, ["s1", "s2", "s1", "s3", "s1", "s2", "s3"]),
        ],
        ids=str,
    )
    async def test_by_anything(self, store: Store, writer: Writer, fields: dict, expected: list[str]):
        await furnish(writer)
        ascending = await read(store, **fields)
        descending = await read(store, **fields, order=Order.DESC)
        rows = list(dict.fromkeys((record.id.partition(".")[0], record.session_id) for record in ascending))

        assert [session_id for _, session_id in rows] == expected
        assert descending == ascending[::-1]

    @pytest.mark.parametrize("order", Order)
    @pytest.mark.parametrize("fields", [{}, {"session": "s1"}, {"user": "bob"}, {"workflow": "w"}], ids=str)
    async def test_pages_and_going_on_after_any_record(self, store, writer: Writer, fields: dict, order: Order):
        await furnish(writer)
        whole = await read(store, **fields, order=order)

        for size in (1, 2, 3):
            assert await read(store, **fields, order=order, size=size) == whole
        for number, record in enumerate(whole):
            assert await read(store, **fields, order=order, after=record.id) == whole[number + 1 :]

    async def test_many_in_many_series(self, store: Store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        for number in range(120):
            await writer.step("s1:0", f"n{number % 7}", ToolRun(tool="t"), at=float(number))
        whole = await read(store)

        assert [record.seq for record in whole] == list(range(1, 121))
        assert await read(store, size=5) == whole
        assert await read(store, size=5, order=Order.DESC) == whole[::-1]

    @pytest.mark.parametrize("after", ["x", "1", "1.x", "-1.0", ".", "\u0661.0"])
    async def test_what_is_no_id_of_a_record(self, store: Store, after: str):
        with pytest.raises(ValidationError, match="is no id of a record"):
            await read(store, after=after)

    async def test_nothing_is_there(self, store: Store):
        assert await read(store) == []


class TestStatistics:
    async def test_are_the_sums(self, store: Store, writer: Writer):
        await furnish(writer)
        failed = ModelCall(model="m", error=ErrorInfo(code="E", message="no"))
        await writer.step("s2:0", "answer", failed, ask("m", cost="0.2", estimated=True), at=70.0)
        await writer.step("s2:0", "look", ToolRun(tool="t", error=ErrorInfo(code="E", message="no")), at=70.0)
        await writer.end("s2:0", at=80.0, status=ThreadState.CANCELLED)
        found = await store.history.statistics("w", since=None, until=None, by=None)

        assert (found.workflow_id, found.since, found.until, found.groups) == ("w", 0.0, DAY, {})
        assert found.average_tokens_per_execution == 15.0
        assert TokenStatistics(**{name: getattr(found, name) for name in TokenStatistics.__struct_fields__}) == (
            TokenStatistics(
                execution_count=3,
                failed_executions=1,
                calls=4,
                failed_calls=1,
                tool_executions=2,
                failed_tool_executions=1,
                prompt_tokens=30,
                completion_tokens=15,
                total_tokens=45,
                estimated_calls=1,
                priced_calls=2,
                total_cost=(usd("0.3"),),
            )
        )

    @pytest.mark.parametrize(
        ("by", "tokens"),
        [
            (GroupBy.NODE, {"answer": 30, "look": 0}),
            (GroupBy.MODEL, {"m": 15, "n": 15}),
            (GroupBy.USER, {"ada": 15, "bob": 15}),
            (GroupBy.VERSION, {"1.0": 15, "1.1": 15}),
            (GroupBy.DAY, {"1970-01-01": 30}),
        ],
    )
    async def test_by_group(self, store: Store, writer: Writer, by: GroupBy, tokens: dict[str, int]):
        await furnish(writer)
        found = await store.history.statistics("w", since=None, until=None, by=by)

        assert {group: counted.total_tokens for group, counted in found.groups.items()} == tokens
        assert found.execution_count == 2
        if by in (GroupBy.USER, GroupBy.VERSION):
            assert [counted.execution_count for counted in found.groups.values()] == [1, 1]

    async def test_a_time_range_is_made_larger_to_whole_hours(self, store: Store, writer: Writer):
        await writer.session("s1")
        await writer.thread("s1:0")
        for hour in range(60):
            await writer.step("s1:0", "a", ask(prompt=1, completion=0), at=hour * HOUR + 5)
        for since, until in ((0, 60), (3, 5), (20, 30), (5, 55), (24, 48), (47, 48), (7, 7)):
            found = await store.history.statistics("w", since=since * HOUR, until=until * HOUR, by=None)
            assert (found.calls, found.since, found.until) == (until - since, since * HOUR, until * HOUR)
        odd = await store.history.statistics("w", since=3.5 * HOUR, until=4.5 * HOUR, by=GroupBy.DAY)
        by_user = await store.history.statistics("w", since=3 * HOUR, until=25 * HOUR, by=GroupBy.USER)
        by_day = await store.history.statistics("w", since=23 * HOUR, until=50 * HOUR, by=GroupBy.DAY)

        assert (odd.calls, odd.since, odd.until) == (2, 3 * HOUR, 5 * HOUR)
        assert (by_user.calls, by_user.since, by_user.until) == (48, 0.0, 2 * DAY)
        assert {day: counted.calls for day, counted in by_day.groups.items()} == {
            "1970-01-01": 1,
            "1970-01-02": 24,
            "1970-01-03": 2,
        }

    async def test_small_and_large_costs_in_several_currencies_are_exact(self, store: Store, writer: Writer):
        euro = MonetaryAmount(amount=Decimal("0.1"), currency="EUR")
        await writer.session("s1")
        await writer.thread("s1:0")
        await writer.step("s1:0", "a", *(ask(cost=cost) for cost in ("0.000000000001", "8999.999999999998", "0.2")))
        await writer.step("s1:0", "a", ModelCall(model="m", cost=euro), ask(cost="0"))
        found = await store.history.statistics("w", since=None, until=None, by=None)

        assert found.total_cost == (euro, usd("9000.199999999999"))
        assert (found.calls, found.priced_calls) == (5, 5)

    async def test_of_what_has_never_run(self, store: Store):
        found = await store.history.statistics("w", since=None, until=None, by=GroupBy.NODE)

        assert (found.execution_count, found.total_cost, found.groups) == (0, (), {})


class TestExecutions:
    @pytest.mark.parametrize(
        ("thread", "counts"),
        [
            ({"thread_type": ThreadType.MAIN}, 1),
            ({"thread_type": ThreadType.BRANCH, "base": ("s1:0", 1)}, 1),
            ({"thread_type": ThreadType.SEQUENTIAL}, 1),
            ({"thread_type": ThreadType.PARALLEL}, 1),
            ({"thread_type": ThreadType.PARALLEL, "base": ("s1:0", 1)}, 0),
            ({"thread_type": ThreadType.PARALLEL, "base": ("s1:0", 1), "workflow": "w@1+b#map"}, 0),
        ],
        ids=["main", "what-if", "subworkflow", "item that is a workflow", "branch of a fork", "item that is a node"],
    )
    async def test_of_which_threads(self, store: Store, writer: Writer, thread: dict, counts: int):
        await writer.session("s1")
        await writer.thread("s1:0.1.0", **thread)
        await writer.step("s1:0.1.0", "a", ask())
        await writer.end("s1:0.1.0")
        found = await store.history.statistics("w", since=None, until=None, by=None)

        assert (found.execution_count, found.calls) == (counts, 1)


class TestPruned:
    async def test_records_go_with_their_session_and_statistics_stay(self, store: Store, writer: Writer):
        await furnish(writer)
        before = await store.history.statistics("w", since=None, until=None, by=GroupBy.USER)
        await store.upkeep.prune("s1", force=True)

        assert {record.session_id for record in await read(store)} == {"s2", "s3"}
        assert await read(store, session="s1") == []
        assert await read(store, user="ada") == []
        assert await store.history.statistics("w", since=None, until=None, by=GroupBy.USER) == before


class TestSessionsThatAreNotThere:
    async def test_a_thread_without_a_session_is_nobodys(self, store: Store, writer: Writer):
        await writer.thread("s1:0")
        await writer.step("s1:0", "a", ToolRun(tool="t"))

        assert [(record.user_id, record.workflow) for record in await read(store)] == [("", "w")]
        assert brief(await read(store, user="")) == [("tool_execution", "s1:0", 1)]
