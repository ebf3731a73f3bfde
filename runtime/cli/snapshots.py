"""`greenroom snapshots`: points of threads and sessions to go back to."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from graphs.state.snapshots import StateSnapshot, ThreadSnapshot
from graphs.threads import main_thread_id
from runtime.cli.output import JsonFlag, Output
from runtime.cli.past import acting
from runtime.cli.stored import stored_records
from runtime.cli.trees import clock
from runtime.config import load_config
from runtime.documents import plain
from runtime.records import Records
from runtime.snapshots import SnapshotService

app = typer.Typer(help="Points of threads and sessions to go back to.", no_args_is_help=True)

COLUMNS = ("id", "type", "thread_id", "seq", "name", "tags", "size_bytes", "created", "expires")

OwnerArgument = Annotated[str, typer.Argument(metavar="SESSION|THREAD", help="Id of a session, or of a thread.")]


@app.command("ls")
def list_snapshots(owner: OwnerArgument, as_json: JsonFlag = False) -> None:
    """List the named snapshots of a session, or all points of a thread to go back to."""
    out = Output(as_json=as_json)
    rows = asyncio.run(_list(owner))
    out.table(COLUMNS, rows)


@app.command()
def create(
    owner: OwnerArgument,
    name: Annotated[str, typer.Option("--name", help="What to call it.")] = "",
    description: Annotated[str, typer.Option("--description", help="A sentence about it.")] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A word to find it by; may be repeated.")] = None,
    expires_s: Annotated[
        float | None, typer.Option("--expires-s", min=0, metavar="S", help="Seconds after which it is gone.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Name the point where a thread, or all threads of a session, are now."""
    out = Output(as_json=as_json)
    made = asyncio.run(_create(owner, name, description, tuple(tags or ()), expires_s))
    out.line(f"snapshot {made.id} of {owner} at seq {made.seq}")
    if as_json:
        out.data(plain(made))


@app.command()
def restore(
    owner: OwnerArgument,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Id of a snapshot, or a seq of the thread.")],
    as_json: JsonFlag = False,
) -> None:
    """Take a thread, or the threads of a session, back to where they were."""
    out = Output(as_json=as_json)
    asyncio.run(_restore(owner, snapshot))
    out.line(f"restored {owner} to {snapshot}")
    if as_json:
        out.data({"restored": owner, "snapshot": snapshot})


async def _list(owner: str) -> list[dict[str, Any]]:
    async with stored_records(load_config()) as records:
        service = SnapshotService(records)
        if await _is_session(records, owner):
            return [_document(each) for each in await service.of_session(owner)]
        return [_point_document(each) for each in await service.of_thread(owner)]


async def _create(
    owner: str, name: str, description: str, tags: tuple[str, ...], expires_s: float | None
) -> StateSnapshot:
    async with stored_records(load_config()) as records:
        service = SnapshotService(records)
        make = service.create_session_snapshot if await _is_session(records, owner) else service.create_snapshot
        return await make(owner, name=name, description=description, tags=tags, expires_s=expires_s)


async def _restore(owner: str, snapshot: str) -> None:
    async with stored_records(load_config()) as records:
        session = await _is_session(records, owner)
    async with acting(main_thread_id(owner) if session else owner) as runtime:
        if session:
            await (await runtime.session(id=owner)).restore(snapshot)
        else:
            await (await runtime.thread(owner)).restore(int(snapshot) if snapshot.isdecimal() else snapshot)


async def _is_session(records: Records, owner: str) -> bool:
    """Whether it is the id of a session, which must be there. Raises `NotFoundError`."""
    if ":" in owner and await records.store.sessions.find_by_id(owner) is None:
        await records.thread(owner)
        return False
    await records.session(owner)
    return True


def _document(snapshot: StateSnapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "type": "session" if snapshot.threads else snapshot.checkpoint_type.value,
        "thread_id": snapshot.state_id,
        "seq": snapshot.seq,
        "name": snapshot.metadata.name,
        "description": snapshot.metadata.description,
        "tags": list(snapshot.metadata.tags),
        "size_bytes": snapshot.metadata.size_bytes,
        "created": clock(snapshot.created_at),
        "created_at": snapshot.created_at,
        "expires": None if snapshot.expires_at is None else clock(snapshot.expires_at),
        "expires_at": snapshot.expires_at,
        "threads": snapshot.threads,
    }


def _point_document(point: ThreadSnapshot) -> dict[str, Any]:
    base = {
        "id": point.id,
        "type": point.checkpoint_type.value,
        "thread_id": point.thread_id,
        "seq": point.seq,
        "created": clock(point.created_at),
        "created_at": point.created_at,
    }
    return base if point.named is None else {**_document(point.named), **base}
