"""`greenroom history`: calls of models and tools, what they used and what it cost. Needs the store alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import typer

from graphs.calls import MonetaryAmount
from graphs.history import HistoryRecord, Order, RecordType
from graphs.history_table import HISTORY_SCHEMA
from graphs.statistics import GroupBy, TokenStatistics
from runtime.cli.inputs import duration_s
from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.cli.threads import LimitOption, UserOption
from runtime.cli.trees import clock
from runtime.config import load_config
from runtime.history import AsyncHistory

_T = TypeVar("_T")

app = typer.Typer(help="Look at calls of models and tools, and what they cost.", no_args_is_help=True)

COLUMNS = ("time", "record_type", "thread", "node", "model", "what", "id")
COUNTED = ("group", "executions", "calls", "tools", "prompt", "completion", "tokens", "cost")
_SHOWN_CHARACTERS = 60


class Format(StrEnum):
    """What is written."""

    PARQUET = "parquet"
    ARROW = "arrow"


def _moment(text: str | None) -> float | None:
    """The time that an option means, in Unix seconds."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return time.time() - duration_s(text, "a date such as 2026-11-26, or how long ago: 7d")


WorkflowOption = Annotated[str | None, typer.Option("--workflow", metavar="ID", help="Those of this workflow only.")]
SessionOption = Annotated[str | None, typer.Option("--session", metavar="ID", help="Those of this session only.")]
ThreadOption = Annotated[str | None, typer.Option("--thread", metavar="ID", help="Those of this thread only.")]
VersionOption = Annotated[str | None, typer.Option("--version", help="Those of this version only.")]
NodeOption = Annotated[str | None, typer.Option("--node", help="Those of this node only.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Those of this model only.")]
TypeOption = Annotated[RecordType | None, typer.Option("--type", help="Records of this type only.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From then on: 2026-11-26, 2026-11-26T09:30, or 7d ago.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")]


@app.command("ls")
def list_records(
    *,
    workflow: WorkflowOption = None,
    version: VersionOption = None,
    session: SessionOption = None,
    user: UserOption = None,
    thread: ThreadOption = None,
    node: NodeOption = None,
    model: ModelOption = None,
    record_type: TypeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 100,
    after: Annotated[str, typer.Option("--after", metavar="ID", help="The next page: after this record.")] = "",
    order: Annotated[Order, typer.Option("--order", help="Newest (desc) or oldest (asc) first.")] = Order.DESC,
    as_json: JsonFlag = False,
) -> None:
    """List records, the newest first."""
    out = Output(as_json=as_json)
    filters = {
        "workflow": workflow,
        "version": version,
        "session": session,
        "user": user,
        "thread": thread,
        "node": node,
        "model": model,
        "record_type": record_type,
        "since": _moment(since),
        "until": _moment(until),
    }
    records = _ask(lambda history: history.query(limit=limit, after=after, order=order, **filters))
    if as_json:
        out.data(records)
        return
    out.table(COLUMNS, [_row(record) for record in records])


@app.command()
def stats(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Id of a workflow.")],
    since: SinceOption = None,
    until: UntilOption = None,
    by: Annotated[GroupBy | None, typer.Option("--by", help="Also for each of these.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a workflow has run, used and cost."""
    out = Output(as_json=as_json)
    begin, end = _moment(since), _moment(until)
    found = _ask(lambda history: history.statistics(workflow, since=begin, until=end, by=by))
    if as_json:
        out.data(found)
        return
    groups = {str(group) or "-": counted for group, counted in found.groups.items()}
    out.table(COUNTED, [_counted(group, each) for group, each in (*groups.items(), ("all", found))])
    if found.until > found.since:
        out.line(f"from {clock(found.since)} to {clock(found.until)}")
    if unpriced := found.calls - found.failed_calls - found.priced_calls:
        out.line(f"{unpriced} calls are of models without a known price: set models.NAME.price in the configuration")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write.", dir_okay=False)],
    *,
    to: Annotated[Format, typer.Option("--to", help="What to write it as.")] = Format.PARQUET,
    workflow: WorkflowOption = None,
    session: SessionOption = None,
    user: UserOption = None,
    record_type: TypeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write records to a file, the oldest first."""
    out = Output(as_json=as_json)
    filters = {
        "workflow": workflow,
        "session": session,
        "user": user,
        "record_type": record_type,
        "since": _moment(since),
        "until": _moment(until),
    }

    async def write(history: AsyncHistory) -> int:
        if to is Format.PARQUET:
            return await history.export_parquet(file, **filters)
        count = 0
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, HISTORY_SCHEMA) as writer:
            async for batch in history.export(**filters):
                writer.write_batch(batch)
                count += batch.num_rows
        return count

    with out.progress(f"writing {file}"):
        count = _ask(write)
    if as_json:
        out.data({"file": str(file), "format": to.value, "records": count})
    out.line(f"{count} records in {file}")


def _ask(question: Callable[[AsyncHistory], Awaitable[_T]]) -> _T:
    async def ask() -> _T:
        async with stored_records(load_config()) as records:
            return await question(AsyncHistory(records.store.history))

    return asyncio.run(ask())


def _row(record: HistoryRecord) -> dict[str, Any]:
    return {
        "time": clock(record.timestamp),
        "record_type": record.record_type.value,
        "thread": record.thread_id,
        "node": record.node,
        "model": record.model,
        "what": _what(record),
        "id": record.id,
    }


def _what(record: HistoryRecord) -> str:
    """What a record says, in a few words."""
    data = record.data
    match record.record_type:
        case RecordType.LLM_REQUEST:
            text = "" if not data["messages"] else data["messages"][-1].get("content", "")
        case RecordType.LLM_RESPONSE:
            text = data["error"]["message"] if data["error"] else data["text"] or ""
        case RecordType.TOKEN_USAGE:
            about = "about " if data["estimated"] else ""
            text = f"{about}{data['prompt_tokens']} + {data['completion_tokens']} tokens"
        case RecordType.COST_RECORD:
            text = f"{data['amount']} {data['currency']}"
        case RecordType.TOOL_EXECUTION:
            outcome = data["error"]["message"] if data["error"] else data["output"] or ""
            text = f"{data['tool']}: {outcome}"
        case RecordType.WORKFLOW_EXECUTION:
            text = f"{record.workflow}@{record.version} turn {data['turn']}: {data['status']}"
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"


def _counted(group: str, counted: TokenStatistics) -> dict[str, Any]:
    return {
        "group": group,
        "executions": counted.execution_count,
        "calls": counted.calls,
        "tools": counted.tool_executions,
        "prompt": counted.prompt_tokens,
        "completion": counted.completion_tokens,
        "tokens": counted.total_tokens,
        "cost": costs_text(counted.total_cost),
    }


def costs_text(costs: tuple[MonetaryAmount, ...]) -> str:
    """Costs as people read them."""
    return ", ".join(map(str, costs)) or "-"
