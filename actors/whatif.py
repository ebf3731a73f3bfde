"""Going back: what-if branches from any seq of a thread, and threads that get the state of another seq."""

from __future__ import annotations

import msgspec

from actors.errors import DestinationDied, Fenced
from actors.openings import TurnStart, branch
from actors.ports import Journal, SessionRepository
from actors.protocol import BranchThread, RestoreThread
from actors.replay import Replayed, SchemaOf, replay
from actors.thread import ThreadActor
from actors.thread_services import ThreadServices
from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.journal import EntryKind, JournalEntry
from graphs.sessions import Session, SessionState
from graphs.threads import Thread, ThreadState, ThreadType, session_of

RETRIES_WITHIN = 64
"""Entries among which a restore is looked for that was asked for already."""


async def begin_branch(request: BranchThread, services: ThreadServices, sessions: SessionRepository) -> int:
    """Record a branch and its first entry, unless that is done already; the number of its turn is returned.

    Raises:
        BusinessRuleViolation: The session is paused or aborted.
        NotFoundError: What it is to begin with is not there.
        StateInvalid: The state does not take the update.
    """
    thread, journal, schema_of = request.thread, services.journal, services.catalog.schema
    known = await journal.head(thread.id)
    if known is not None and known.seq > 0:
        return known.cursor.turn
    session = await sessions.find_by_id(thread.session_id)
    if session is not None and (session.state.halted or (thread.base is None and session.state.ended)):
        raise _no_threads(session)
    if thread.base is None:
        return await _begin_queue(request, services)
    was = await _past(journal, thread.base, schema_of)
    entry, inner = await _entry(journal, thread.base)
    deltas = () if request.update is None else (request.update,)
    opening = await branch(thread, services, was, entry, deltas, inner=inner)
    head = await journal.activate(thread.id, services.host, create=thread, lost=request.lost, opening=opening)
    if head.seq == 0 and not head.opened:  # somebody has looked for it before it was there
        try:
            await journal.append(thread.id, head.epoch, opening.entries, op_id=opening.op_id)
        except Fenced:
            raise DestinationDied(f"{thread.id} is active elsewhere; ask there", destination=services.host) from None
    return head.cursor.turn if head.seq else opening.entries[0].cursor.turn


async def restore(actor: ThreadActor, request: RestoreThread, journal: Journal, schema_of: SchemaOf) -> None:
    """Give a thread that does not run the state of another seq, or an update, unless this request has done so already.

    Raises:
        BusinessRuleViolation: It runs, or is to be updated and is not over, or the other thread is of another session
            or workflow.
        NotFoundError: There is no such seq.
        StateInvalid: The state does not take the update.
    """
    thread, origin = actor.thread, request.origin or (actor.thread.id, actor.seq)
    if request.thread_id != thread.id:
        raise BusinessRuleViolation(
            f"{request.thread_id} is run by a thread above it; restore that one, {thread.id}, or branch this one",
            thread_id=request.thread_id,
        )
    recent = await journal.read(thread.id, after=max(0, actor.seq - RETRIES_WITHIN))
    if any(entry.operation_id == request.operation_id for entry in recent):
        return
    deltas = () if request.update is None else (request.update,)
    if recent and recent[-1].kind is EntryKind.RESTORED and (recent[-1].origin, recent[-1].deltas) == (origin, deltas):
        return
    check_at_rest(thread, actor.cursor.status)
    if deltas and not actor.cursor.status.finished:
        raise BusinessRuleViolation(
            f"thread {thread.id} is {actor.cursor.status}; update it when its turn is over, or branch it",
            thread_id=thread.id,
        )
    if session_of(origin[0]) != thread.session_id:
        raise BusinessRuleViolation(
            f"{origin[0]} is of another session than {thread.id}; branch it and read its state instead",
            thread_id=thread.id,
        )
    source = await journal.head(origin[0])
    if source is not None and source.thread.workflow != thread.workflow:
        raise BusinessRuleViolation(
            f"{origin[0]} runs {source.thread.workflow}; {thread.id} cannot take its state: it runs {thread.workflow}",
            thread_id=thread.id,
        )
    past = await _past(journal, origin, schema_of)
    await actor.restore(past, origin, deltas, operation_id=request.operation_id, user_id=request.user_id)


def check_at_rest(thread: Thread, status: ThreadState) -> None:
    """Raise `BusinessRuleViolation` if a thread is running."""
    if status is ThreadState.RUNNING:
        raise BusinessRuleViolation(
            f"thread {thread.id} is running; wait for its result, or cancel or pause it", thread_id=thread.id
        )


async def _begin_queue(request: BranchThread, services: ThreadServices) -> int:
    """Record the whole queue, in the one entry that begins it."""
    start = TurnStart(request.update)
    await services.catalog.plan(request.thread.workflow)  # else it would be recorded before it can begin
    actor = await ThreadActor.activate(request.thread, services, lost=request.lost, start=start)
    if actor.seq == 0:
        await actor.start_turn(1, start)
    return actor.cursor.turn


def _no_threads(session: Session) -> BusinessRuleViolation:
    remedy = "resume it first" if session.state is SessionState.PAUSED else "begin a new session"
    return BusinessRuleViolation(
        f"no thread can begin in session {session.id}, which is {session.state}; {remedy}",
        session_id=session.id,
        state=session.state.value,
    )


async def _past(journal: Journal, origin: tuple[str, int], schema_of: SchemaOf) -> Replayed:
    thread_id, seq = origin
    head = await journal.head(thread_id)
    if head is None or not 0 < seq <= head.seq:
        last = f"; its last is {head.seq}" if head is not None else ""
        raise NotFoundError(f"thread {thread_id} has no seq {seq}{last}", kind="seq", key=f"{thread_id}@{seq}")
    return await replay(journal, head.thread, schema_of, at=seq)


async def _entry(journal: Journal, origin: tuple[str, int]) -> tuple[JournalEntry, bool]:
    """The entry a branch continues (of a branch that has just begun, what that one has continued).

    And whether it is one of a branch of a fork, which begins in the middle of the graph.
    """
    thread_id, seq = origin
    (entry,) = await journal.read(thread_id, after=seq - 1, limit=1)
    cursor = entry.cursor
    thread = await _thread(journal, thread_id)
    while entry.kind is EntryKind.BRANCHED:
        assert thread.base is not None
        thread_id, seq = thread.base
        (entry,) = await journal.read(thread_id, after=seq - 1, limit=1)
        thread = await _thread(journal, thread_id)
    inner = thread.thread_type is ThreadType.PARALLEL and not thread.is_item
    return msgspec.structs.replace(entry, cursor=cursor), inner


async def _thread(journal: Journal, thread_id: str) -> Thread:
    head = await journal.head(thread_id)
    assert head is not None
    return head.thread
