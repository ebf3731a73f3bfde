"""Rebuilding a thread from what is stored: snapshot, then the deltas of the entries after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.ports import Head, Journal
from actors.protocol import TurnDone
from graphs.errors import NotFoundError
from graphs.journal import Cursor, EntryKind, JournalEntry, Snapshot, Usage
from graphs.state.schema import StateSchema
from graphs.threads import Thread

SchemaOf = Callable[[str], Awaitable[StateSchema]]
"""Workflow ref -> its state schema."""

_BEGINNING = frozenset({EntryKind.TURN_STARTED, EntryKind.BRANCHED, EntryKind.RESTORED})
"""Kinds of entries that bring what a turn begins with, not what it writes."""


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
    stretch = await _stretch(journal, thread, schema_of, at, base)
    if at is not None and stretch.seq != at:
        raise NotFoundError(f"thread {thread.id} has no seq {at}; its last is {stretch.seq}", kind="seq", key=at)
    usage = stretch.usage
    turn_deltas: tuple[bytes, ...] = ()
    for entry in stretch.entries:
        usage = usage_after(usage, entry)
        turn_deltas = () if entry.kind in _BEGINNING else (*turn_deltas, *entry.deltas)
    state = await _state_after(journal, stretch, schema_of)
    return Replayed(seq=stretch.seq, cursor=stretch.cursor, state=state, usage=usage, turn_deltas=turn_deltas)


async def base_state(
    journal: Journal, thread: Thread, schema: StateSchema, schema_of: SchemaOf, base: bytes | None
) -> dict[str, Any]:
    """The state `thread` begins with: that of its base, in its own schema."""
    if base is None:
        return await _state_after(journal, _Stretch(schema=schema, origin=thread.base), schema_of)
    # An item of a map is based on the graph around it: same reference up to the `#`.
    return {**schema.initial(), **(await schema_of(thread.workflow.partition("#")[0])).decode_state(base)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Some entries of a thread, and the state they begin with."""

    schema: StateSchema
    entries: Sequence[JournalEntry] = ()
    state: dict[str, Any] | None = None
    """None: it is that of `origin`."""
    origin: tuple[str, int] | None = None
    """(thread id, seq); None: the thread has begun with nothing."""
    seq: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    usage: Usage = field(default_factory=Usage)
    """Tokens of the turn before the entries."""

    def applied(self) -> list[bytes]:
        """The deltas that count: none of those before a restore."""
        deltas: list[bytes] = []
        for entry in self.entries:
            if entry.kind is EntryKind.RESTORED:
                deltas.clear()
            deltas += entry.deltas
        return deltas


async def _stretch(
    journal: Journal, thread: Thread, schema_of: SchemaOf, at: int | None, base: bytes | None = None
) -> _Stretch:
    """What tells the state of a thread after `at`: its last snapshot before, and the entries since."""
    schema = await schema_of(thread.workflow)
    snapshot = await journal.snapshot(thread.id, at=at)
    if snapshot is not None:
        seq, cursor, usage, origin = snapshot.seq, snapshot.cursor, snapshot.usage, None
        state: dict[str, Any] | None = schema.decode_state(snapshot.state)
    else:
        seq, cursor, usage, origin = 0, Cursor(), Usage(), thread.base
        state = None if base is None else await base_state(journal, thread, schema, schema_of, base)
    limit = None if at is None else at - seq
    entries = await journal.read(thread.id, after=seq, limit=limit) if limit != 0 else []
    for entry in entries:
        seq, cursor = entry.seq, entry.cursor
        if entry.kind is EntryKind.RESTORED:
            state, origin = None, entry.origin
    return _Stretch(schema=schema, entries=entries, state=state, origin=origin, seq=seq, cursor=cursor, usage=usage)


async def _state_after(journal: Journal, stretch: _Stretch, schema_of: SchemaOf) -> dict[str, Any]:
    """The state after a stretch, read from as far back as it comes from: a branch of a branch, a restored restore."""
    stretches = [stretch]
    while stretches[-1].state is None and stretches[-1].origin is not None:
        thread_id, seq = stretches[-1].origin
        head = await journal.head(thread_id)
        if head is None:
            raise NotFoundError(f"thread {thread_id}, on which others are based, is gone", kind="thread", key=thread_id)
        stretches.append(await _stretch(journal, head.thread, schema_of, seq))
        if stretches[-1].seq != seq:
            raise NotFoundError(f"thread {thread_id} has no seq {seq}", kind="seq", key=seq)
    first = stretches[-1]
    schema, state = first.schema, first.state if first.state is not None else first.schema.initial()
    for each in reversed(stretches):
        if each.schema is not schema:  # the item of a map has channels of its own
            schema, state = each.schema, {**each.schema.initial(), **state}
        state = apply(schema, state, each.applied())
    return state


async def turn_outcome(journal: Journal, thread: Thread, turn: int, schema_of: SchemaOf) -> TurnDone | None:
    """How turn `turn` of `thread` ended, or why it does not go on by itself; None if it runs, or waits for a time."""
    head = await journal.head(thread.id)
    if head is None or head.cursor.turn < turn:
        return None
    if head.cursor.turn > turn:
        at = await _end_of(turn, journal, head, await _last_of(turn, journal, head))
    elif head.cursor.status.finished:
        at = await _end_of(turn, journal, head, head.seq)
    else:
        at = head.seq if settled(head.cursor, turn) else None
    if at is None:
        return None
    return outcome(thread, await schema_of(thread.workflow), await replay(journal, thread, schema_of, at=at))


def settled(cursor: Cursor, turn: int) -> bool:
    """Whether turn `turn`, where the thread is at `cursor`, is over or waits for somebody."""
    return cursor.turn == turn and (cursor.status.finished or (cursor.pause is not None and not cursor.pause.passes))


async def _last_of(turn: int, journal: Journal, head: Head) -> int:
    """Seq of the last entry before those of the turns after `turn`."""
    before, after = 0, head.seq
    while after - before > 1:
        middle = (before + after) // 2
        if (await _entry(journal, head, middle)).cursor.turn > turn:
            after = middle
        else:
            before = middle
    return before


async def _end_of(turn: int, journal: Journal, head: Head, last: int) -> int | None:
    """Seq of the entry that ended a turn, of which that at `last` is the last one; None if there was no such turn.

    What a restore has made of a turn that was over is not how it ended; one that was paused, it has ended.
    """
    end: int | None = None
    for seq in range(last, 0, -1):
        entry = await _entry(journal, head, seq)
        if entry.cursor.turn != turn or not entry.cursor.status.finished:
            break
        end = seq
        if entry.kind is EntryKind.TURN_FINISHED:
            break
    return end


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


def apply(schema: StateSchema, state: dict[str, Any], deltas: Sequence[bytes]) -> dict[str, Any]:
    """`state` after the encoded writes."""
    for delta in deltas:
        state = schema.apply(state, schema.decode_delta(delta))
    return state


async def keep_snapshot(
    journal: Journal, thread: Thread, schema: StateSchema, entry: JournalEntry, state: dict[str, Any], usage: Usage
) -> None:
    """Keep the state of a thread after `entry`, so that nothing before that is replayed any more."""
    encoded = schema.encode_state(state)
    snapshot = Snapshot(seq=entry.seq, cursor=entry.cursor, state=encoded, created_at=entry.at, usage=usage)
    await journal.keep_snapshot(thread.id, snapshot)


def usage_after(usage: Usage, entry: JournalEntry) -> Usage:
    """Tokens of the turn after `entry`, when they were `usage` before it."""
    match entry.kind:
        case EntryKind.TURN_STARTED:
            return Usage()
        case EntryKind.TURN_FINISHED | EntryKind.BRANCHED:
            return entry.usage  # the sum: with what was cancelled; of the turn it has branched from
        case _:
            return usage + entry.usage
