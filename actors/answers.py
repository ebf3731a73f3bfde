"""Letting paused threads go on: the answers to their questions, each recorded once, and those that somebody paused."""

from __future__ import annotations

import msgspec

from actors.pauses import is_asked, is_asked_to_pause, not_asked
from actors.ports import Journal
from actors.protocol import Answer
from actors.thread import ThreadActor
from graphs.journal import PauseKind
from graphs.workflow.answers import check_answer
from graphs.workflow.approvals import check_approval


async def was_answered(journal: Journal, request: Answer) -> bool:
    """Whether this very request has been recorded before."""
    entries = await journal.read(request.thread_id, after=request.seq, limit=1)
    return bool(entries) and entries[0].operation_id == request.operation_id


async def answer(thread: ThreadActor, request: Answer) -> None:
    """Journal the answer.

    Raises:
        BusinessRuleViolation: The thread does not ask that.
        StateInvalid: The answer does not fit; the thread waits for another one.
    """
    node, pause = thread.cursor.node, thread.cursor.pause
    if thread.seq != request.seq or not is_asked(thread.cursor) or node is None or pause is None:
        raise not_asked(thread.thread.id, thread.cursor)
    value = msgspec.json.decode(request.value)
    if pause.kind is PauseKind.APPROVAL:
        await thread.resume(operation_id=request.operation_id, refusal=check_approval(pause, value))
    else:
        await thread.resume(check_answer(thread.plan, node, value), request.operation_id)


async def resume_tree(thread: ThreadActor) -> None:
    """Let a thread go on that somebody has paused, and first those below it: it may find them paused else."""
    services, fork = thread.services, thread.cursor.fork
    if fork is not None:
        below = f"{thread.thread.id}.{fork.seq}."
        for head in await services.journal.threads(thread.thread.session_id):
            if head.thread.id.startswith(below) and is_asked_to_pause(head.cursor):
                await (await ThreadActor.activate(head.thread, services)).resume()
    await thread.resume()
