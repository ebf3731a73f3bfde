"""`greenroom threads`: what is recorded of threads. Needs the store alone."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from actors.ports import Head
from graphs.threads import session_of
from runtime.cli.facts import EventPrinter
from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.cli.trees import clock, drawn, head_document, nested, thread_label
from runtime.config import load_config
from runtime.documents import as_yaml, plain
from runtime.records import Records

app = typer.Typer(help="Look at threads.", no_args_is_help=True)

COLUMNS = ("thread_id", "type", "status", "workflow", "node", "turn", "seq", "host", "updated")

ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="Id of a thread.")]
SessionOption = Annotated[str | None, typer.Option("--session", metavar="ID", help="Threads of this session only.")]
UserOption = Annotated[str | None, typer.Option("--user", metavar="ID", help="Those of this user only.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Most rows.")]


@app.command("ls")
def list_threads(
    session: SessionOption = None, user: UserOption = None, limit: LimitOption = 100, as_json: JsonFlag = False
) -> None:
    """List threads, those of the newest session first."""
    out = Output(as_json=as_json)
    heads = asyncio.run(_list(session, user, limit))
    rows = [head_document(head) for head in heads]
    out.table(COLUMNS, rows if as_json else [{**row, "updated": clock(row["updated_at"])} for row in rows])


@app.command()
def show(thread: ThreadArgument, as_json: JsonFlag = False) -> None:
    """Print the record and the state of a thread."""
    out = Output(as_json=as_json)
    document = asyncio.run(_show(thread))
    if as_json:
        out.data(document)
    else:
        typer.echo(as_yaml({key: value for key, value in document.items() if value not in (None, "")}), nl=False)


@app.command()
def tree(
    root: Annotated[str, typer.Argument(metavar="SESSION|THREAD", help="Id of a session, or of a thread.")],
    as_json: JsonFlag = False,
) -> None:
    """Print the threads of a session, or those below a thread, as a tree."""
    out = Output(as_json=as_json)
    roots = nested(map(head_document, asyncio.run(_family(root))))
    if as_json:
        out.data(roots)
    else:
        out.show(drawn(roots, root, thread_label))


@app.command()
def events(
    thread: ThreadArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until its turn is over.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, metavar="N", help="Only what came after this seq.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Print what has happened in a thread; with --json a document on each line."""
    asyncio.run(_events(thread, follow, after, EventPrinter(as_json=as_json)))


async def _list(session_id: str | None, user_id: str | None, limit: int) -> list[Head]:
    async with stored_records(load_config()) as records:
        if session_id is not None:
            session = await records.session(session_id)
            sessions = [session] if user_id in (None, session.user_id) else []
        else:
            sessions = await records.store.sessions.list(user_id=user_id, limit=limit)
        heads: list[Head] = []
        for session in sessions:
            if len(heads) >= limit:
                break
            heads += await records.store.journal.threads(session.id)
        return heads[:limit]


async def _show(thread_id: str) -> dict[str, Any]:
    async with stored_records(load_config()) as records:
        return await thread_document(records, thread_id)


async def thread_document(records: Records, thread_id: str) -> dict[str, Any]:
    """What `show` prints: the record, the state, and what the thread waits for, with the schema of its answers."""
    head = await records.thread(thread_id)
    document = {**head_document(head), "state": plain(await records.state(thread_id))}
    pause = head.cursor.pause
    if pause is not None:
        document["pause"] = plain(pause)
        if pause.asks:
            document["pause"]["answer"] = await records.answer_schema(thread_id)
    return document


async def _family(root: str) -> list[Head]:
    async with stored_records(load_config()) as records:
        is_session = ":" not in root or await records.store.sessions.find_by_id(root) is not None
        if is_session:
            await records.session(root)
            return await records.store.journal.threads(root)
        await records.thread(root)
        heads = await records.store.journal.threads(session_of(root))
        return [head for head in heads if head.thread.id == root or head.thread.id.startswith((f"{root}.", f"{root}~"))]


async def _events(thread_id: str, follow: bool, after: int, printer: EventPrinter) -> None:
    async with stored_records(load_config()) as records:
        if follow and not await _is_over(records, thread_id):
            turn = (await records.thread(thread_id)).cursor.turn
            async for event in records.events(thread_id, turn=max(1, turn), after=after):
                printer.show(event)
        else:
            for event in await records.past(thread_id, after=after):
                printer.show(event)
        printer.end_line()


async def _is_over(records: Records, thread_id: str) -> bool:
    return (await records.thread(thread_id)).cursor.status.finished
