"""Rebuilding a thread from what is stored: snapshot, then the deltas of the entries after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from actors.ports import Head, Journal
from actors.protocol import TurnDone
from graphs.errors import NotFoundError
from graphs.journal import Cursor, EntryKind, JournalEntry, Usage
from graphs.state.schema import StateSchema
from graphs.threads import Thread

SchemaOf = Callable[[str], Awaitable[StateSchema]]
"""Workflow ref -> its state schema."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A thread as it was after `seq`."""

    seq: int
    cursor: Cursor
    state: dict[str, Any]
    usage: Usage
    """Tokens of the turn so far."""
    turn_deltas: tuple[bytes, ...]
    """Encoded writes of the turn since the last snapshot, its input not included. Parallel threads have no snapshot."""


async def replay(
    journal: Journal, thread: Thread, schema_of: SchemaOf, *, at: int | None = None, base: bytes | None = None
) -> Replayed:
    """Rebuild `thread` as it was after seq `at` (None: as it is).

    Args:
        journal: Where it is stored.
        thread: Its record.
        schema_of: Finds state schemas.
        at: Last seq to apply.
        base: The encoded state of `thread.base`, if the caller has it.

    Raises:
        NotFoundError: `at` is after the end, or something the thread is based on is gone.
        CorruptRecord: A record cannot be read.
    """
    schema = await schema_of(thread.workflow)
    snapshot = await journal.snapshot(thread.id, at=at)
    if snapshot is not None:
        seq, cursor, usage = snapshot.seq, snapshot.cursor, snapshot.usage
        state = schema.decode_state(snapshot.state)
    else:
        seq, cursor, usage = 0, Cursor(), Usage()
        state = await base_state(journal, thread, schema, schema_of, base)
    turn_deltas: tuple[bytes, ...] = ()
    limit = None if at is None else at - seq
    for entry in await journal.read(thread.id, after=seq, limit=limit) if limit != 0 else ():
        seq, cursor = entry.seq, entry.cursor
        state = apply(schema, state, entry.deltas)
        usage = usage_after(usage, entry)
        turn_deltas = () if entry.kind is EntryKind.TURN_STARTED else (*turn_deltas, *entry.deltas)
    if at is not None and seq != at:
        raise NotFoundError(f"thread {thread.id} has no seq {at}; its last is {seq}", kind="seq", key=at)
    return Replayed(seq=seq, cursor=cursor, state=state, usage=usage, turn_deltas=turn_deltas)


async def base_state(
    journal: Journal, thread: Thread, schema: StateSchema, schema_of: SchemaOf, base: bytes | None
) -> dict[str, Any]:
    """The state `thread` begins with: that of its base, in its own schema."""
    if thread.base is None:
        return schema.initial()
    parent_id, seq = thread.base
    if base is not None:
        # An item of a map is based on the graph around it: same reference up to the `#`.
        state = (await schema_of(thread.workflow.partition("#")[0])).decode_state(base)
    else:
        head = await journal.head(parent_id)
        if head is None:
            raise NotFoundError(
                f"thread {parent_id}, which {thread.id} is based on, is gone", kind="thread", key=parent_id
            )
        state = (await replay(journal, head.thread, schema_of, at=seq)).state
    return {**schema.initial(), **state}


async def turn_outcome(journal: Journal, thread: Thread, turn: int, schema_of: SchemaOf) -> TurnDone | None:
    """How turn `turn` of `thread` ended, or why it does not go on by itself; None if it runs, or waits for a time."""
    head = await journal.head(thread.id)
    if head is None or head.cursor.turn < turn:
        return None
    if head.cursor.turn == turn:
        at = head.seq if settled(head.cursor, turn) else None
    else:
        at = await _end_of(turn, journal, head)
    if at is None:
        return None
    return outcome(thread, await schema_of(thread.workflow), await replay(journal, thread, schema_of, at=at))


def settled(cursor: Cursor, turn: int) -> bool:
    """Whether turn `turn`, where the thread is at `cursor`, is over or waits for somebody."""
    return cursor.turn == turn and (cursor.status.finished or (cursor.pause is not None and not cursor.pause.passes))


async def _end_of(turn: int, journal: Journal, head: Head) -> int | None:
    """Seq of the entry that ended a turn which another one has followed; None if there was no such turn."""
    before, after = 0, head.seq
    while after - before > 1:
        middle = (before + after) // 2
        if (await _entry(journal, head, middle)).cursor.turn > turn:
            after = middle
        else:
            before = middle
    for seq in range(before, 0, -1):  # behind the end of a turn stand at most restorations
        entry = await _entry(journal, head, seq)
        if entry.cursor.turn != turn:
            return None
        if entry.kind is EntryKind.TURN_FINISHED:
            return seq
    return None


async def _entry(journal: Journal, head: Head, seq: int) -> JournalEntry:
    (entry,) = await journal.read(head.thread.id, after=seq - 1, limit=1)
    return entry


def outcome(thread: Thread, schema: StateSchema, replayed: Replayed) -> TurnDone:
    """The outcome of a turn that ended where `replayed` stands."""
    return TurnDone(
        thread_id=thread.id,
        turn=replayed.cursor.turn,
        status=replayed.cursor.status,
        seq=replayed.seq,
        state=schema.encode_state(replayed.state),
        usage=replayed.usage,
        error=replayed.cursor.error,
        pause=replayed.cursor.pause,
    )


def apply(schema: StateSchema, state: dict[str, Any], deltas: tuple[bytes, ...]) -> dict[str, Any]:
    """`state` after the encoded writes."""
    for delta in deltas:
        state = schema.apply(state, schema.decode_delta(delta))
    return state


def usage_after(usage: Usage, entry: JournalEntry) -> Usage:
    """Tokens of the turn after `entry`, when they were `usage` before it."""
    match entry.kind:
        case EntryKind.TURN_STARTED:
            return Usage()
        case EntryKind.TURN_FINISHED:
            return entry.usage  # the sum, with what was cancelled
        case _:
            return usage + entry.usage
