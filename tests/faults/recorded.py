"""The history of a run, whatever has died in it: each call of each journalled step is there once, and counted once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from actors.ports import Store
from graphs.history import HistoryQuery, HistoryRecord, Order, RecordType, is_execution, new_rows
from graphs.journal import EntryKind, JournalEntry

EVERYTHING = HistoryQuery(order=Order.ASC)


async def check_history(store: Store, session_id: str) -> None:
    """Compare what the history tells with the journals, and what was counted with what the history tells."""
    expected: Counter[tuple[Any, ...]] = Counter()
    for head in await store.journal.threads(session_id):
        for entry in await store.journal.read(head.thread.id):
            kinds = [row.kind.value for row in new_rows([entry]) if row.kind != "x" or is_execution(head.thread)]
            expected.update((head.thread.id, entry.seq, kind, number) for number, kind in enumerate(kinds))
            _check_step(entry)
    records = [record async for page in store.history.pages(EVERYTHING, size=100) for record in page]
    assert len({record.id for record in records}) == len(records)
    found = Counter(_rows_of(records))
    assert found == expected, f"{found - expected} too many, {expected - found} too few"
    by_session = [record async for page in store.history.pages(_of(session_id), size=100) for record in page]
    assert by_session == records
    for workflow in {record.workflow for record in records}:
        await _check_counts(store, workflow, [record for record in records if record.workflow == workflow])


def _check_step(entry: JournalEntry) -> None:
    """A step that was completed has the calls of the run that completed it, and no others: those of runs that have died
    with their executor are told by its attempt alone. (No step here fails, and is run again, after it has asked.)"""
    if entry.kind is EntryKind.STEP_FINISHED:
        assert all(call.attempt == entry.attempt and call.error is None for call in entry.calls), entry


def _rows_of(records: list[HistoryRecord]) -> list[tuple[Any, ...]]:
    """(thread, seq, kind of row, number of the call) of each row that has given records."""
    rows = []
    numbers: Counter[tuple[str, int]] = Counter()
    seen: set[str] = set()
    for record in records:
        row = record.id.partition(".")[0]
        if row in seen:
            continue
        seen.add(row)
        place = record.thread_id, record.seq
        kind = {RecordType.TOOL_EXECUTION: "t", RecordType.WORKFLOW_EXECUTION: "x"}.get(record.record_type, "m")
        rows.append((*place, kind, numbers[place]))
        numbers[place] += 1
    return rows


async def _check_counts(store: Store, workflow: str, records: list[HistoryRecord]) -> None:
    counted = await store.history.statistics(workflow, since=None, until=None, by=None)
    types = Counter(record.record_type for record in records)
    usages = [record.data for record in records if record.record_type is RecordType.TOKEN_USAGE]
    assert counted.execution_count == types[RecordType.WORKFLOW_EXECUTION]
    assert counted.tool_executions == types[RecordType.TOOL_EXECUTION]
    assert counted.calls == types[RecordType.LLM_REQUEST] == types[RecordType.LLM_RESPONSE]
    assert counted.total_tokens == sum(usage["total_tokens"] for usage in usages)


def _of(session_id: str) -> HistoryQuery:
    return HistoryQuery(session=session_id, order=Order.ASC)
