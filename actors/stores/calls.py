"""What the scripts of the journal and of sessions are called with, and what their answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from actors.ports import Head, Opening
from actors.stores import keys
from actors.stores.checks import active_elsewhere, conflict, fenced, session_changed, takes_no_turns, unknown
from actors.stores.index import index_change
from actors.stores.records import CURSOR, INTERACTION, SESSION, THREAD, open_session, seal_bytes
from actors.stores.rows import packed_rows
from graphs.journal import CorruptRecord, Cursor, JournalEntry, ReplaySize, seal
from graphs.sessions import Session, UserInteraction
from graphs.threads import Thread, is_root, main_thread_id, path_of, root_of, session_of

Part = str | bytes | int

HEAD_FIELDS = ("thread", "seq", "epoch", "host", "cursor", "updated_at", "fenced")
"""Of the record of a thread."""


class Call(NamedTuple):
    """One call of a script."""

    keys: Sequence[str]
    args: Sequence[Part]


NO_CALL = Call((), ())


def accept_call(session: Session, interaction: UserInteraction, host: str) -> Call:
    """A call of `accept`."""
    main = main_thread_id(session.id)
    return Call(
        [
            keys.session(session.id),
            keys.interactions(session.id),
            keys.turns(session.id),
            keys.inputs(session.id),
            keys.record(main),
            keys.OPEN,
            keys.ACTIVE,
            keys.SESSIONS,
            keys.user_sessions(session.user_id),
        ],
        [
            SESSION.encode(session),
            interaction.interaction_id,
            INTERACTION.encode(msgspec.structs.replace(interaction, content=b"")),
            seal_bytes(interaction.content),
            session.id,
            main,
            host,
            repr(interaction.timestamp),
            repr(session.created_at),
        ],
    )


def accepted(answer: Sequence[Any], session_id: str) -> int:
    """The turn that `accept` has given. Raises `BusinessRuleViolation`."""
    match answer:
        case [0, bytes(state)]:
            raise takes_no_turns(session_id, state.decode())
        case [int(turn)]:
            return turn
        case _:
            raise ValueError(f"accept has answered {answer!r}")


def activate_call(thread_id: str, host: str, create: Thread | None, lost: str) -> Call:
    """A call of `activate`."""
    session_id = session_of(thread_id)
    script_keys = [keys.record(thread_id), keys.threads(session_id), keys.session(session_id)]
    if is_root(thread_id):
        script_keys.append(keys.OPEN)
    args: list[Part] = [thread_id, host, lost]
    if create is not None:
        cursor = Cursor(status=create.state)
        args += [THREAD.encode(create), path_of(thread_id), CURSOR.encode(cursor), repr(create.updated_at)]
    return Call(script_keys, args)


def activated(answer: Sequence[Any] | None, thread_id: str) -> Head:
    """The record of a thread that `activate` has taken. Raises as `Journal.activate`, and `CorruptRecord`."""
    if answer is None:
        raise unknown(thread_id)
    taken, *fields, session = answer
    head = head_of(thread_id, fields)
    if not taken:
        raise active_elsewhere(thread_id, head.host)
    if session is None:
        return head
    return msgspec.structs.replace(head, halted=open_session(session_of(thread_id), session))


def append_call(thread_id: str, epoch: int, entries: Sequence[JournalEntry], op_id: str) -> Call:
    """A call of `append`."""
    last = entries[-1]
    script_keys = [keys.record(thread_id), keys.journal(thread_id)]
    args: list[Part] = [
        epoch,
        entries[0].seq,
        op_id,
        repr(last.at),
        CURSOR.encode(last.cursor),
        packed_rows(thread_id, entries),
        *map(seal, entries),
    ]
    change = index_change(thread_id, entries)
    if change is not None:
        session_id = session_of(thread_id)
        script_keys += [
            keys.OPEN,
            keys.TIMERS,
            keys.interactions(session_id),
            keys.inputs(session_id),
            keys.ACTIVE,
            keys.session(session_id),
        ]
        due = "" if change.due is None else repr(change.due)
        turns = ("" if turn is None else turn for turn in (change.over, change.begun))
        args += [change.change, root_of(thread_id), session_id, due, *turns]
    return Call(script_keys, args)


def appended(answer: Sequence[Any], thread_id: str, epoch: int, first: int) -> ReplaySize:
    """What is to be replayed after an `append`. Raises as `Journal.append`."""
    match answer:
        case [int(count), int(size_bytes), int(snapshot_bytes), *waits]:
            return ReplaySize(
                entries=count, size_bytes=size_bytes, snapshot_bytes=snapshot_bytes, turn_waits=bool(waits)
            )
        case [b"fenced", int(current)]:
            raise fenced(thread_id, epoch, current)
        case [b"conflict", int(head)]:
            raise conflict(thread_id, first, head)
        case [b"changed", bytes(state)]:
            raise session_changed(thread_id, state.decode())
        case _:
            raise unknown(thread_id)


def open_call(activate: Call, thread_id: str, opening: Opening, accept: Call = NO_CALL) -> Call:
    """A call of `open`: `accept`, if it is given, then `activate`, then the append of `opening`."""
    append = append_call(thread_id, opening.epoch, opening.entries, opening.op_id)
    turn = opening.entries[0].cursor.turn
    counts = len(accept.keys), len(accept.args), len(activate.keys), len(activate.args)
    return Call(
        [*accept.keys, *activate.keys, *append.keys], [*counts, turn, *accept.args, *activate.args, *append.args]
    )


def opened(answer: Sequence[Any], thread_id: str, opening: Opening) -> Head:
    """The record of a thread that `open` has taken. Raises as `activated`, and `SessionChanged`."""
    _, activation, *appends = answer
    match activation:
        case [b"changed", bytes(state)]:
            raise session_changed(thread_id, state.decode())
    head = activated(activation, thread_id)
    if not appends:
        return head
    appended(appends[0], thread_id, opening.epoch, opening.entries[0].seq)
    return msgspec.structs.replace(head, opened=True)


def head_of(thread_id: str, fields: Sequence[Any]) -> Head:
    """A thread's record from its `HEAD_FIELDS`. Raises `CorruptRecord`."""
    key = keys.record(thread_id)
    try:
        thread, seq, epoch, host, cursor, updated_at, fenced_writes = fields
        numbers = int(seq), int(epoch), float(updated_at), int(fenced_writes or 0)
    except (TypeError, ValueError) as error:
        raise CorruptRecord(f"{key}: {error}", key=key, thread_id=thread_id, seq=0) from error
    position = CURSOR.decode(cursor, key=key, thread_id=thread_id, seq=numbers[0])
    return Head(
        thread=msgspec.structs.replace(
            THREAD.decode(thread, key=key, thread_id=thread_id, seq=numbers[0]),
            state=position.status,
            updated_at=numbers[2],
        ),
        seq=numbers[0],
        epoch=numbers[1],
        cursor=position,
        host=host.decode(),
        fenced=numbers[3],
    )
