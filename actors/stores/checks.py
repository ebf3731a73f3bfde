"""What both stores refuse, in the same words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.errors import ActiveElsewhere, Fenced, SeqConflict, SessionChanged
from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.journal import CorruptRecord, JournalEntry, Snapshot, open_entry
from graphs.sessions import Session, SessionState, check_transition
from graphs.threads import Thread, session_of


def check_create(thread: Thread, base: Snapshot | None) -> None:
    """Raise `ValueError` unless the thread is in the session its id names, and `base` is at seq 0."""
    if session_of(thread.id) != thread.session_id:
        raise ValueError(f"thread {thread.id!r} is not of session {thread.session_id!r}")
    if base is not None and base.seq != 0:
        raise ValueError(f"the base snapshot of {thread.id!r} must have seq 0, not {base.seq}")


def check_activate(thread_id: str, create: Thread | None) -> None:
    """Raise `ValueError` unless `create` is the thread to be activated."""
    if create is not None:
        check_create(create, None)
        if create.id != thread_id:
            raise ValueError(f"thread {thread_id!r} cannot be recorded as {create.id!r}")


def check_append(entries: Sequence[JournalEntry]) -> None:
    """Raise `ValueError` unless seqs are consecutive."""
    if not entries:
        raise ValueError("an append needs at least one entry")
    first = entries[0].seq
    seqs = [entry.seq for entry in entries]
    if first < 1 or seqs != list(range(first, first + len(seqs))):
        raise ValueError(f"the seqs of an append must be consecutive and start at 1 or later, not {seqs}")


def open_next(before: int, seq: int, blob: bytes, *, key: str, thread_id: str) -> JournalEntry:
    """The entry stored as `seq`, which must follow `before`. Raises `CorruptRecord`, also for one that is missing."""
    if seq != before + 1:
        missing = before + 1
        raise CorruptRecord(f"{key}: entry {missing} is missing", key=key, thread_id=thread_id, seq=missing)
    return open_entry(blob, key=key, thread_id=thread_id, seq=seq)


def unknown(thread_id: str) -> NotFoundError:
    """There is no such thread."""
    return NotFoundError(f"no thread {thread_id!r}; create it first", kind="thread", key=thread_id)


def fenced(thread_id: str, epoch: int, current: int) -> Fenced:
    """A writer has lost the thread."""
    return Fenced(
        f"thread {thread_id} has epoch {current}, not {epoch}; drop this activation of it",
        thread_id=thread_id,
        epoch=epoch,
        current=current,
    )


def at_work(thread_id: str, status: str) -> BusinessRuleViolation:
    """A session is not to be deleted now."""
    return BusinessRuleViolation(
        f"thread {thread_id} is {status}; wait for it, cancel it, or delete its session by force",
        thread_id=thread_id,
        status=status,
    )


def active_elsewhere(thread_id: str, host: str) -> ActiveElsewhere:
    """Another host runs the thread's turn."""
    return ActiveElsewhere(f"thread {thread_id} is running on {host}; ask there", thread_id=thread_id, host=host)


def check_keep(thread_id: str, snapshot: Snapshot) -> None:
    """Raise `ValueError` for a snapshot of no entry."""
    if snapshot.seq < 1:
        raise ValueError(f"a snapshot of {thread_id!r} needs a seq >= 1, not {snapshot.seq}")


def ahead(thread_id: str, seq: int, head: int) -> SeqConflict:
    """A snapshot is of an entry that is not there."""
    return SeqConflict(
        f"thread {thread_id} is at seq {head}, so there is no snapshot of {seq}; append its entries first",
        thread_id=thread_id,
        seq=seq,
        head=head,
    )


def conflict(thread_id: str, seq: int, head: int) -> SeqConflict:
    """An append is not the next one."""
    return SeqConflict(
        f"thread {thread_id} is at seq {head}, so {seq} cannot be next; read its journal again",
        thread_id=thread_id,
        seq=seq,
        head=head,
    )


def completed(session: Session, at: float) -> Session:
    """The record of a session once it is completed. Raises `IllegalTransition`."""
    check_transition(session.state, SessionState.COMPLETED)
    return msgspec.structs.replace(session, state=SessionState.COMPLETED, updated_at=at)


def changed(session: Session, state: SessionState, reason: str, at: float) -> Session:
    """The record of a session once it is in another state. Raises `IllegalTransition`."""
    if session.state is state:
        return session
    check_transition(session.state, state)
    return msgspec.structs.replace(session, state=state, reason=reason, updated_at=at)


def session_changed(thread_id: str, state: str) -> SessionChanged:
    """A thread is to go on or to pause with its session, which is in another state now."""
    session_id = session_of(thread_id)
    return SessionChanged(f"session {session_id} is {state} now; look at it again", session_id=session_id, state=state)


def no_session(session_id: str) -> NotFoundError:
    """There is no such session."""
    return NotFoundError(f"no session {session_id!r}", kind="session", key=session_id)


def not_over(session_id: str) -> BusinessRuleViolation:
    """A session is to be completed, and turns of it are not over."""
    return BusinessRuleViolation(
        f"session {session_id} cannot be completed: a turn of it runs, is paused or waits; let it end, or cancel it",
        session_id=session_id,
    )


def takes_no_turns(session_id: str, state: str) -> BusinessRuleViolation:
    """A session that has ended is asked for another turn."""
    return BusinessRuleViolation(
        f"session {session_id} is {state} and takes no more turns; begin a new session",
        session_id=session_id,
        state=state,
    )
