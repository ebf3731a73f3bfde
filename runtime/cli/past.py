"""`greenroom threads branch|history|diff|promote`: the past of threads, and other ways they could have gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
import typer

from graphs.state.changes import StateChange, StateHistoryEntry
from runtime.changes import HistoryService
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.cli.threads import ThreadArgument
from runtime.cli.trees import clock
from runtime.client import AsyncClient
from runtime.config import load_config
from runtime.documents import as_yaml, plain, result_document
from runtime.results import ThreadResult

COLUMNS = ("seq", "time", "operation", "node", "field_path", "old_value", "new_value")
VALUE_CHARS = 60
"""How much of a value a table shows."""

AtOption = Annotated[int | None, typer.Option("--at", min=1, metavar="N", help="Seq to branch at; else the last one.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="CHANNEL=VALUE", help="What is written first: JSON, or text. May be repeated."),
]


def branch(
    thread: ThreadArgument,
    at: AtOption = None,
    update: SetOption = None,
    name: Annotated[str, typer.Option("--name", help="What to call it.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its result.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Go on from a seq of a thread in another way, in a thread of its own, and print its result."""
    out = Output(as_json=as_json)
    branch_id, result, seconds = asyncio.run(_branch(thread, at, _update(update or []), name, detach, out))
    if result is None:
        out.line(branch_id)
        if as_json:
            out.data({"thread_id": branch_id})
        return
    if as_json:
        out.data(result_document(result, seconds=seconds))
    else:
        out.line(f"thread {branch_id} {result.status} in {seconds:.2f} s at seq {result.seq}")
        out.line(as_yaml(result.state).rstrip())
    if result.error is not None:
        out.error(result.error.info())
        raise typer.Exit(ExitCode.FAILED)


def promote(
    thread: Annotated[str, typer.Argument(metavar="BRANCH", help="Id of a what-if branch.")], as_json: JsonFlag = False
) -> None:
    """Make the state of a what-if branch that of the thread it came from."""
    out = Output(as_json=as_json)
    asyncio.run(_promote(thread))
    out.line(f"promoted {thread}")
    if as_json:
        out.data({"thread_id": thread})


def history(
    thread: ThreadArgument,
    after: Annotated[int, typer.Option("--after", min=0, metavar="N", help="Only what came after this seq.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Print what has changed the state of a thread, value by value."""
    out = Output(as_json=as_json)
    entries = asyncio.run(_history(thread, after))
    if as_json:
        out.data([plain(entry) for entry in entries])
    else:
        out.table(COLUMNS, [row for entry in entries for row in _rows(entry)])


def diff(
    thread: ThreadArgument,
    a: Annotated[int, typer.Argument(metavar="A", help="A seq of the thread.")],
    b: Annotated[int | None, typer.Argument(metavar="[B]", help="Another seq; else the last one.")] = None,
    other: Annotated[str | None, typer.Option("--other", metavar="THREAD", help="Thread that B is a seq of.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print what differs between two states: of a thread, or of it and another one."""
    out = Output(as_json=as_json)
    changes = asyncio.run(_diff((thread, a), (thread if other is None else other, b)))
    if as_json:
        out.data([plain(change) for change in changes])
    else:
        out.table(("operation", *COLUMNS[4:]), [_row(change) for change in changes])


@asynccontextmanager
async def acting(thread_id: str) -> AsyncGenerator[AsyncClient, None]:
    """A runtime to do something with a thread; a wrong id is told before Ray is started."""
    async with stored_records(load_config()) as records:
        await records.thread(thread_id)
        from runtime.runtime import AsyncRuntime  # Ray takes half a second to import

        async with AsyncRuntime() as runtime:
            yield runtime


async def _branch(
    thread_id: str, at: int | None, update: dict[str, Any] | None, name: str, detach: bool, out: Output
) -> tuple[str, ThreadResult | None, float]:
    async with acting(thread_id) as runtime:
        begin = time.monotonic()
        alt = await (await runtime.thread(thread_id)).branch(at, update, name=name)
        if detach:
            return alt.id, None, 0.0
        with out.progress(f"running {alt.id}"):
            return alt.id, await alt.result(), time.monotonic() - begin


async def _promote(thread_id: str) -> None:
    async with acting(thread_id) as runtime:
        await (await runtime.thread(thread_id)).promote()


async def _history(thread_id: str, after: int) -> list[StateHistoryEntry]:
    async with stored_records(load_config()) as records:
        return await HistoryService(records).get_history(thread_id, after=after)


async def _diff(a: tuple[str, int], b: tuple[str, int | None]) -> list[StateChange]:
    async with stored_records(load_config()) as records:
        return await HistoryService(records).diff(a, b)


def _update(given: list[str]) -> dict[str, Any] | None:
    update: dict[str, Any] = {}
    for each in given:
        channel, equals, text = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"{each!r} has no value; write CHANNEL=VALUE")
        try:
            update[channel] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            update[channel] = text
    return update or None


def _rows(entry: StateHistoryEntry) -> list[dict[str, Any]]:
    base = {"seq": entry.seq, "time": clock(entry.timestamp), "node": entry.node}
    if not entry.changes:
        return [{**base, "operation": entry.operation.value}]
    return [{**base, **_row(change), "operation": entry.operation.value} for change in entry.changes]


def _row(change: StateChange) -> dict[str, Any]:
    return {
        "operation": change.operation.value,
        "field_path": change.field_path,
        "old_value": _short(change.old_value),
        "new_value": _short(change.new_value),
    }


def _short(value: Any) -> str | None:
    if value is None:
        return None
    text = msgspec.json.encode(plain(value)).decode()
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 3]}..."
