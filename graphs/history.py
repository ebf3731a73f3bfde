"""The history of what was called and run: records that are read from the journal, and the rows that index them.

Nothing is stored twice: an entry of a journal holds the calls its step made, a row of an index says where, and the
records are made of both when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from graphs.calls import COST_DIGITS, Call, ModelCall, MonetaryAmount, ToolRun
from graphs.errors import ValidationError
from graphs.journal import EntryKind, JournalEntry
from graphs.threads import Thread, ThreadState, ThreadType, session_of


class RecordType(StrEnum):
    """What a record of the history tells."""

    LLM_REQUEST = "llm_request"
    LLM_RESPONSE = "llm_response"
    TOKEN_USAGE = "token_usage"  # noqa: S105 - no password
    COST_RECORD = "cost_record"
    TOOL_EXECUTION = "tool_execution"
    WORKFLOW_EXECUTION = "workflow_execution"


class RowKind(StrEnum):
    """What a row stands for."""

    MODEL = "m"
    TOOL = "t"
    EXECUTION = "x"


RECORDS: dict[RowKind, tuple[RecordType, ...]] = {
    RowKind.MODEL: (
        RecordType.LLM_REQUEST,
        RecordType.LLM_RESPONSE,
        RecordType.TOKEN_USAGE,
        RecordType.COST_RECORD,
    ),
    RowKind.TOOL: (RecordType.TOOL_EXECUTION,),
    RowKind.EXECUTION: (RecordType.WORKFLOW_EXECUTION,),
}
"""Records that a row of each kind gives, in this order."""


class TokenUsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one call of a model."""

    model_name: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0
    """Those of the prompt that the provider had kept from an earlier one."""
    reasoning_tokens: int = 0
    """Those of the completion that the model has thought, and not said."""
    cost: MonetaryAmount | None = None
    """None: the price of the model is not known, which does not mean that it is free."""
    estimated: bool = False
    """Whether the tokens are an estimate, because the server did not count them."""


class HistoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the history."""

    id: str
    """Unique, and in the order of all records; `after` takes it."""
    record_type: RecordType
    timestamp: float
    """Unix seconds when it was recorded. No two steps are recorded at the same time."""
    user_id: str
    session_id: str
    thread_id: str
    workflow: str
    """Id of the workflow whose node it was."""
    version: str
    node: str
    """Empty for a `workflow_execution`."""
    seq: int
    """Seq of the step in its thread."""
    attempt: int
    """The run of the step that made it, from 1."""
    model: str
    """What the server says the model is; empty where none was asked."""
    data: dict[str, Any]
    """What `record_type` says; JSON-able, with decimals as text."""


class Order(StrEnum):
    """In which order records come."""

    ASC = "asc"
    DESC = "desc"


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which records; every field that is given must fit."""

    workflow: str | None = None
    version: str | None = None
    session: str | None = None
    user: str | None = None
    thread: str | None = None
    node: str | None = None
    model: str | None = None
    record_type: RecordType | None = None
    since: float | None = None
    """Unix seconds; the first moment that counts."""
    until: float | None = None
    """Unix seconds; the first moment that counts no more."""
    after: str = ""
    """Id of the last record that is known already."""
    order: Order = Order.DESC

    def kinds(self) -> tuple[RowKind, ...]:
        """Kinds of rows that give such records."""
        return tuple(kind for kind, types in RECORDS.items() if self.record_type in (None, *types))


class Series(NamedTuple):
    """What rows have in common that are in one index: each belongs to exactly one series."""

    workflow: str
    version: str
    node: str
    model: str
    kind: RowKind

    def label(self) -> str:
        """The series as a text."""
        return "\0".join(self)

    @classmethod
    def of(cls, label: str) -> Series:
        """The series that `label` says."""
        workflow, version, node, model, kind = label.split("\0")
        return cls(workflow, version, node, model, RowKind(kind))

    def fits(self, query: HistoryQuery) -> bool:
        """Whether its rows may be asked for."""
        asked = (query.workflow, query.version, query.node, query.model)
        return self.kind in query.kinds() and all(
            want in (None, have) for want, have in zip(asked, self[:4], strict=True)
        )


class NewRow(NamedTuple):
    """A row that an append adds: of a call, or of a turn that has ended."""

    kind: RowKind
    node: str
    model: str
    seq: int
    number: int
    """Number of the call in its entry, from 0; 0 for a turn."""
    at_us: int
    """Unix microseconds; the row gets the next free one."""
    counts: dict[str, int]
    """What it adds to statistics; see `Counter`."""


class Counter(StrEnum):
    """What is counted of the rows of a series."""

    ROWS = "n"
    FAILED = "f"
    PROMPT = "p"
    COMPLETION = "c"
    CACHED = "h"
    REASONING = "r"
    ESTIMATED = "e"
    PRICED = "k"


COST = "$"
"""What stands before the currency in the name of a counter: its unit is the last place of `COST_DIGITS`."""


def new_rows(entries: Sequence[JournalEntry]) -> list[NewRow]:
    """The rows that go with an append; none, as for every step, if no call was made and no turn has ended."""
    rows: list[NewRow] = []
    for entry in entries:
        if entry.calls:
            rows += [_row_of(entry, number, call) for number, call in enumerate(entry.calls)]
        elif entry.kind is EntryKind.TURN_FINISHED:
            failed = entry.cursor.status is not ThreadState.COMPLETED
            rows.append(NewRow(RowKind.EXECUTION, "", "", entry.seq, 0, _us(entry.at), _counts(failed=failed)))
    return rows


def _row_of(entry: JournalEntry, number: int, call: Call) -> NewRow:
    node, at_us = entry.node or "", _us(entry.at)
    counts = _counts(failed=call.error is not None)
    if isinstance(call, ToolRun):
        return NewRow(RowKind.TOOL, node, "", entry.seq, number, at_us, counts)
    more = {
        Counter.PROMPT.value: call.prompt_tokens,
        Counter.COMPLETION.value: call.completion_tokens,
        Counter.CACHED.value: call.cached_tokens,
        Counter.REASONING.value: call.reasoning_tokens,
        Counter.ESTIMATED.value: int(call.estimated),
        Counter.PRICED.value: int(call.cost is not None),
    }
    if call.cost is not None:
        more[COST + call.cost.currency] = int(call.cost.amount.scaleb(COST_DIGITS))
    counts |= {name: count for name, count in more.items() if count}
    return NewRow(RowKind.MODEL, node, call.model, entry.seq, number, at_us, counts)


def _counts(*, failed: bool) -> dict[str, int]:
    return {Counter.ROWS.value: 1, Counter.FAILED.value: 1} if failed else {Counter.ROWS.value: 1}


def _us(at: float) -> int:
    return int(at * 1_000_000)


def workflow_of(thread: Thread) -> tuple[str, str]:
    """Id and version of the workflow a thread runs."""
    name, _, rest = thread.workflow.partition("@")
    return name, rest.partition("#")[0].partition("+")[0]


def is_execution(thread: Thread) -> bool:
    """Whether a turn of a thread is an execution of its workflow, and not of a part of it."""
    part = thread.base is not None or "#" in thread.workflow
    return not (thread.thread_type is ThreadType.PARALLEL and part)


class Row(NamedTuple):
    """One row of an index: a call or a turn, and where it stands."""

    id: int
    """Unix microseconds when it was recorded; unique."""
    series: int
    """Number of its series."""
    thread_id: str
    seq: int
    number: int


def records_of(row: Row, series: Series, entry: JournalEntry, user_id: str) -> Iterator[HistoryRecord]:
    """The records that a row gives."""
    call = None if series.kind is RowKind.EXECUTION else entry.calls[row.number]
    for place, kind in enumerate(RECORDS[series.kind]):
        data = _DATA[kind](call if call is not None else entry)
        if data is not None:
            yield HistoryRecord(
                id=f"{row.id}.{place}",
                record_type=kind,
                timestamp=row.id / 1e6,
                user_id=user_id,
                session_id=session_of(row.thread_id),
                thread_id=row.thread_id,
                workflow=series.workflow,
                version=series.version,
                node=series.node,
                seq=row.seq,
                attempt=entry.attempt if call is None else call.attempt,
                model=series.model,
                data=data,
            )


def parse_id(record_id: str) -> tuple[int, int]:
    """Row and place of a record. Raises `ValidationError` for what is no id of a record."""
    row, dot, place = record_id.partition(".")
    if not (dot and row.isascii() and row.isdigit() and place.isascii() and place.isdigit()):
        problem = f"after: {record_id!r} is no id of a record; give the `id` of one"
        raise ValidationError(problem, problems=[problem])
    return int(row), int(place)


def _request(call: ModelCall) -> dict[str, Any]:
    data: dict[str, Any] = {"name": call.name, "parameters": call.parameters}
    if call.channel:
        data["channel"] = call.channel
    data["messages"] = msgspec.json.decode(call.messages) if call.messages else None if not call.texts_kept else []
    return data


def _response(call: ModelCall) -> dict[str, Any]:
    return {
        "text": call.text if call.texts_kept else None,
        "tool_calls": msgspec.json.decode(call.asked_tools) if call.asked_tools else [],
        "finish_reason": call.finish_reason,
        "started_at": call.started_at,
        "duration_s": call.duration_s,
        "error": _plain(call.error),
    }


def _token_usage(call: ModelCall) -> Any:
    total = call.prompt_tokens + call.completion_tokens
    if call.error is not None and not total:
        return None
    usage = TokenUsageRecord(
        model_name=call.model,
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        total_tokens=total,
        cached_tokens=call.cached_tokens,
        reasoning_tokens=call.reasoning_tokens,
        cost=call.cost,
        estimated=call.estimated,
    )
    return _plain(usage)


def _cost(call: ModelCall) -> dict[str, Any] | None:
    if call.cost is None:
        return None
    return {**_plain(call.cost), "model_name": call.model, "estimated": call.estimated}


def _tool(run: ToolRun) -> dict[str, Any]:
    return {
        "tool": run.tool,
        "arguments": msgspec.json.decode(run.arguments) if run.arguments else None,
        "output": run.output.decode(errors="replace") if run.texts_kept else None,
        "output_bytes": run.output_bytes,
        "started_at": run.started_at,
        "duration_s": run.duration_s,
        "error": _plain(run.error),
    }


def _execution(entry: JournalEntry) -> dict[str, Any]:
    return {
        "turn": entry.cursor.turn,
        "status": entry.cursor.status.value,
        "steps": entry.cursor.steps,
        "usage": _plain(entry.usage),
        "error": _plain(entry.error),
    }


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=())


_DATA: dict[RecordType, Any] = {
    RecordType.LLM_REQUEST: _request,
    RecordType.LLM_RESPONSE: _response,
    RecordType.TOKEN_USAGE: _token_usage,
    RecordType.COST_RECORD: _cost,
    RecordType.TOOL_EXECUTION: _tool,
    RecordType.WORKFLOW_EXECUTION: _execution,
}
