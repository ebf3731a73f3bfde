"""`greenroom sessions complete`: ending a session. Needs the store alone."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from graphs.sessions import Session
from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.config import load_config


def complete(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Id of a session.")], as_json: JsonFlag = False
) -> None:
    """End a session whose turns are all over: it takes no more of them."""
    out = Output(as_json=as_json)
    record = asyncio.run(_complete(session))
    out.line(f"{record.id} is {record.state}")
    if as_json:
        out.data({"session_id": record.id, "state": record.state.value})


async def _complete(session_id: str) -> Session:
    async with stored_records(load_config()) as records:
        await records.session(session_id)  # its error says where the ids are listed
        return await records.store.sessions.complete(session_id, at=time.time())
