"""`greenroom sessions`: what is recorded of sessions, and getting rid of it. Needs the store alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from actors.ports import Store
from graphs.errors import BusinessRuleViolation
from graphs.journal import CorruptRecord
from graphs.sessions import Session
from graphs.threads import ThreadState, is_root
from runtime.cli.inputs import duration_s
from runtime.cli.output import JsonFlag, Output
from runtime.cli.stored import stored_records
from runtime.cli.threads import LimitOption, UserOption
from runtime.cli.trees import clock, drawn, head_document, nested, thread_label
from runtime.config import Config, load_config
from runtime.documents import as_yaml, plain

app = typer.Typer(help="Look at sessions.", no_args_is_help=True)

COLUMNS = ("session_id", "user_id", "workflow", "state", "created")
PRUNED = ("session_id", "user_id", "workflow", "last_active", "size", "kept_because")

_BUSY = (ThreadState.RUNNING, ThreadState.PAUSED)


@app.command("ls")
def list_sessions(
    user: UserOption = None,
    limit: LimitOption = 100,
    sizes: Annotated[bool, typer.Option("--sizes", help="Say what each takes in the store.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List sessions, the newest first."""
    out = Output(as_json=as_json)
    rows = asyncio.run(_list(user, limit, sizes))
    if as_json:
        out.data(rows)
        return
    shown = [{**row, "created": clock(row["created_at"]), "size": _size(row)} for row in rows]
    out.table((*COLUMNS, "size") if sizes else COLUMNS, shown)


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
    document["size"] = {kind: size_text(size_bytes) for kind, size_bytes in document.pop("size_bytes").items()}
    typer.echo(as_yaml({key: value for key, value in document.items() if value not in ("", {})}), nl=False)
    out.show(drawn(nested(threads), "threads", thread_label))


@app.command()
def prune(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Idle for so long: 7d, 12h, 30m. Without it: as retention is configured."),
    ] = None,
    user: UserOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete sessions that have been idle, with all their threads. Those that run or are paused stay."""
    out = Output(as_json=as_json)
    config = load_config()
    idle_s = _idle_s(older_than, config)
    with out.progress("looking for idle sessions"):
        rows = asyncio.run(_prune(config, time.time() - idle_s, user, dry_run=dry_run))
    if as_json:
        out.data(rows)
        return
    shown = [{**row, "last_active": clock(row["last_active_at"]), "size": _size(row)} for row in rows]
    out.table(PRUNED, shown)
    gone = [row for row in rows if row["pruned"] or (dry_run and not row["kept_because"])]
    total = size_text(sum(sum(row["size_bytes"].values()) for row in gone))
    out.line(f"{len(gone)} session{'s' if len(gone) != 1 else ''}, {total}: {'would go' if dry_run else 'deleted'}")


async def _list(user_id: str | None, limit: int, sizes: bool) -> list[dict[str, Any]]:
    async with stored_records(load_config()) as records:
        rows = [_document(session) for session in await records.store.sessions.list(user_id=user_id, limit=limit)]
        if sizes:
            for row in rows:
                row["size_bytes"] = await records.store.upkeep.size(row["session_id"])
        return rows


async def _prune(config: Config, before: float, user_id: str | None, *, dry_run: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with stored_records(config) as records:
        store, skip = records.store, 0
        while page := await store.upkeep.idle(before, skip=skip):
            for session_id, last_active_at in page:
                skip += 1
                try:
                    session = await store.sessions.find_by_id(session_id)
                except CorruptRecord as error:
                    kept = {"size_bytes": {}, "pruned": False, "kept_because": error.message}
                    rows.append({"session_id": session_id, "last_active_at": last_active_at, **kept})
                    continue
                if session is None or user_id not in (None, session.user_id):
                    continue
                row = {**_document(session), "last_active_at": last_active_at}
                row["size_bytes"] = await store.upkeep.size(session_id)
                row["pruned"], row["kept_because"] = await _pruned(store, session_id, before, dry_run=dry_run)
                skip -= row["pruned"]
                rows.append(row)
    return rows


async def _pruned(store: Store, session_id: str, before: float, *, dry_run: bool) -> tuple[bool, str]:
    """Whether a session is gone now, and what keeps it."""
    if dry_run:
        heads = await store.journal.threads(session_id)
        busy = next((head.thread for head in heads if is_root(head.thread.id) and head.thread.state in _BUSY), None)
        return False, "" if busy is None else f"thread {busy.id} is {busy.state}"
    try:
        return await store.upkeep.prune(session_id, idle_since=before), ""
    except BusinessRuleViolation as error:
        return False, error.message.partition(";")[0]


def _idle_s(text: str | None, config: Config) -> float:
    """Seconds that `--older-than` means."""
    if text is None:
        if config.retention.session_days is None:
            raise typer.BadParameter("retention is off; say how long sessions must have been idle: --older-than 30d")
        return config.retention.session_days * 86_400.0
    return duration_s(text, "a number and d, h, m or s: --older-than 7d")


def size_text(size_bytes: int) -> str:
    """A size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"


def _size(row: Mapping[str, Any]) -> str:
    return size_text(sum(row.get("size_bytes", {}).values()))


async def _show(session_id: str) -> dict[str, Any]:
    async with stored_records(load_config()) as records:
        session = await records.session(session_id)
        heads = await records.store.journal.threads(session_id)
        size_bytes = await records.store.upkeep.size(session_id)
        return {**_document(session), "size_bytes": size_bytes, "threads": [head_document(head) for head in heads]}


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
