"""`greenroom sessions complete|pause|resume|abort`: what becomes of a session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from graphs.sessions import Session
from runtime.cli.acts import ReasonOption
from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.config import load_config
from runtime.handles import AsyncSession

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="Id of a session.")]


def complete(session: SessionArgument, as_json: JsonFlag = False) -> None:
    """End a session whose turns are all over: it takes no more of them. Needs the store alone."""
    _tell(asyncio.run(_complete(session)), as_json=as_json)


def pause(
    session: SessionArgument, reason: ReasonOption = "asked on the command line", as_json: JsonFlag = False
) -> None:
    """Pause a session: all of its threads after the steps they are at. Turns are accepted, and wait."""
    _act(session, lambda handle: handle.pause(reason), as_json=as_json)


def resume(session: SessionArgument, as_json: JsonFlag = False) -> None:
    """Let a session go on that was paused."""
    _act(session, lambda handle: handle.resume(), as_json=as_json)


def abort(
    session: SessionArgument, reason: ReasonOption = "asked on the command line", as_json: JsonFlag = False
) -> None:
    """End a session now: what is under way and what waits is cancelled, and it takes no more turns."""
    _act(session, lambda handle: handle.abort(reason), as_json=as_json)


def _act(session_id: str, act: Callable[[AsyncSession], Awaitable[None]], *, as_json: bool) -> None:
    _tell(asyncio.run(_acted(session_id, act)), as_json=as_json)


def _tell(record: Session, *, as_json: bool) -> None:
    out = Output(as_json=as_json)
    out.line(f"{record.id} is {record.state}")
    if as_json:
        out.data({"session_id": record.id, "state": record.state.value})


async def _acted(session_id: str, act: Callable[[AsyncSession], Awaitable[None]]) -> Session:
    async with stored_records(load_config()) as records:
        await records.session(session_id)  # a wrong id is told before Ray is started
        from runtime.runtime import AsyncRuntime  # Ray takes half a second to import

        async with AsyncRuntime() as runtime:
            await act(await runtime.session(id=session_id))
        return await records.session(session_id)


async def _complete(session_id: str) -> Session:
    async with stored_records(load_config()) as records:
        await records.session(session_id)  # its error says where the ids are listed
        return await records.store.sessions.complete(session_id, at=time.time())
