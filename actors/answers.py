"""Letting paused threads go on: the answers to their questions, each recorded once, and those that somebody paused."""

from __future__ import annotations

import msgspec

from actors.pauses import is_asked, is_asked_to_pause, not_asked
from actors.ports import Journal
from actors.protocol import Answer
from actors.thread import ThreadActor
from graphs.workflow.answers import check_answer


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
    if thread.seq != request.seq or not is_asked(thread.cursor) or thread.cursor.node is None:
        raise not_asked(thread.thread.id, thread.cursor)
    write = check_answer(thread.plan, thread.cursor.node, msgspec.json.decode(request.value))
    await thread.resume(write, request.operation_id)


async def resume_tree(thread: ThreadActor) -> None:
    """Let a thread go on that somebody has paused, and first those below it: it may find them paused else."""
    services, fork = thread.services, thread.cursor.fork
    if fork is not None:
        below = f"{thread.thread.id}.{fork.seq}."
        for head in await services.journal.threads(thread.thread.session_id):
            if head.thread.id.startswith(below) and is_asked_to_pause(head.cursor):
                await (await ThreadActor.activate(head.thread, services)).resume()
    await thread.resume()
