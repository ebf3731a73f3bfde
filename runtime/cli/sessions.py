"""`greenroom sessions`: what is recorded of sessions. Needs the store alone."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from graphs.sessions import Session
from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.cli.threads import LimitOption, UserOption
from runtime.cli.trees import clock, drawn, head_document, nested, thread_label
from runtime.config import load_config
from runtime.documents import as_yaml, plain

app = typer.Typer(help="Look at sessions.", no_args_is_help=True)

COLUMNS = ("session_id", "user_id", "workflow", "state", "created")


@app.command("ls")
def list_sessions(user: UserOption = None, limit: LimitOption = 100, as_json: JsonFlag = False) -> None:
    """List sessions, the newest first."""
    out = Output(as_json=as_json)
    rows = [_document(session) for session in asyncio.run(_list(user, limit))]
    out.table(COLUMNS, rows if as_json else [{**row, "created": clock(row["created_at"])} for row in rows])


@app.command()
def show(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Id of a session.")], as_json: JsonFlag = False
) -> None:
    """Print the record of a session and its threads."""
    out = Output(as_json=as_json)
    document = asyncio.run(_show(session))
    if as_json:
        out.data(document)
        return
    threads = document.pop("threads")
    typer.echo(as_yaml({key: value for key, value in document.items() if value not in ("", {})}), nl=False)
    out.show(drawn(nested(threads), "threads", thread_label))


async def _list(user_id: str | None, limit: int) -> list[Session]:
    async with stored_records(load_config()) as records:
        return await records.store.sessions.list(user_id=user_id, limit=limit)


async def _show(session_id: str) -> dict[str, Any]:
    async with stored_records(load_config()) as records:
        session = await records.session(session_id)
        heads = await records.store.journal.threads(session_id)
        return {**_document(session), "threads": [head_document(head) for head in heads]}


def _document(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "user_id": session.user_id,
        "workflow": session.workflow_id,
        "state": str(session.state),
        "context": plain(session.context),
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }
