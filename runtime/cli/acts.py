"""`greenroom threads answer|cancel|pause|resume`: doing something with a thread that runs or waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
import typer

from runtime.cli.output import JsonFlag, Output
from runtime.cli.past import acting
from runtime.cli.threads import ThreadArgument
from runtime.handles import AsyncThread

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; recorded with it.")]


def answer(
    thread: ThreadArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The answer: JSON, or text.")],
    as_json: JsonFlag = False,
) -> None:
    """Answer the question that a thread waits with; it goes on. `threads show` has the question and its schema."""
    _act(thread, "answered", lambda handle: handle.answer(_value(value)), as_json=as_json)


def cancel(
    thread: ThreadArgument, reason: ReasonOption = "asked on the command line", as_json: JsonFlag = False
) -> None:
    """Cancel the turn a thread is at, with all threads below it."""
    _act(thread, "cancelled", lambda handle: handle.cancel(reason), as_json=as_json)


def pause(
    thread: ThreadArgument, reason: ReasonOption = "asked on the command line", as_json: JsonFlag = False
) -> None:
    """Pause a thread, and those below it, after the steps they are at."""
    _act(thread, "paused", lambda handle: handle.pause(reason), as_json=as_json)


def resume(thread: ThreadArgument, as_json: JsonFlag = False) -> None:
    """Let a thread go on that was paused."""
    _act(thread, "resumed", lambda handle: handle.resume(), as_json=as_json)


def _act(thread_id: str, done: str, act: Callable[[AsyncThread], Awaitable[None]], *, as_json: bool) -> None:
    out = Output(as_json=as_json)
    status = asyncio.run(_acted(thread_id, act))
    out.line(f"{done} {thread_id}, which is {status}")
    if as_json:
        out.data({"thread_id": thread_id, "status": status})


async def _acted(thread_id: str, act: Callable[[AsyncThread], Awaitable[None]]) -> str:
    async with acting(thread_id) as runtime:
        handle = await runtime.thread(thread_id)
        await act(handle)
        return str(await handle.status())


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
