"""The session actor: one user's turns, one at a time and in order, on the session's main thread or on a branch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from actors.answers import answer, resume_tree, was_answered
from actors.errors import ActiveElsewhere, Fenced, SeqConflict
from actors.patience import patiently
from actors.pauses import cannot_pause, cannot_resume, check_here, is_asked_to_pause, not_paused, turn_waits
from actors.protocol import (
    Answer,
    BranchThread,
    PauseThread,
    RestoreThread,
    ResumeThread,
    StartTurn,
    TurnAccepted,
    TurnDone,
)
from actors.session_worker import SessionWorker
from actors.thread import ThreadActor
from actors.turns import Asked, interaction_of
from actors.waiters import is_over
from actors.whatif import begin_branch, check_at_rest, restore
from graphs.errors import NotFoundError
from graphs.journal import Cursor, PauseKind
from graphs.sessions import Session
from graphs.threads import ThreadState

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class SessionActor(SessionWorker):
    """Answers what is asked of a session's root thread."""

    async def start_turn(self, request: StartTurn) -> TurnAccepted | TurnDone:
        """Record the interaction; it runs when those before it are done.

        Raises:
            Overloaded: Too many turns are waiting in this session.
            ActiveElsewhere: The session's turn is running on another host: ask there.
        """
        self._turns.check(len(self._accepting))
        self._admission.check()
        interaction = interaction_of(request, self._services.clock.now())
        self._priority = request.priority
        loop = asyncio.get_running_loop()
        done: asyncio.Future[TurnDone] = loop.create_future()
        asked = Asked(interaction, done if request.wait else None, request.known_seq, loop.create_future())
        if self._is_free() and self._admission.reserve():
            self._asked = asked
            self.wake()
            turn = await asyncio.shield(asked.turn)
        else:
            turn = await self._uncut(self._accept(asked))
        if not request.wait:
            return TurnAccepted(thread_id=self.root, turn=turn)
        return await self._over(turn, done)

    def _is_free(self) -> bool:
        """Whether a turn would begin right now, if there is a place: then one trip to the store is enough."""
        free = self._worker is None and not self._accepting and not self._loading.locked()
        return free and self._branch is None and self.session.budget is None

    async def outcome(self, turn: int) -> TurnDone:
        """How a turn ends, going on with whatever is unfinished."""
        done: asyncio.Future[TurnDone] = asyncio.get_running_loop().create_future()
        self._waiters.add(turn, done)
        self._turns.may_be_more = True
        self.wake()
        return await self._over(turn, done)

    async def cancel(self, turn: int, reason: str) -> None:
        """Cancel a turn; returns when that is recorded. One that is over, or nobody has asked for, is left alone.

        Raises:
            BusinessRuleViolation: It waits for another one, which is paused.
        """
        if self._accepting:
            await asyncio.wait(self._accepting)
        self._turns.may_be_more = True
        if not self._running and await patiently(self._services.clock, self._cancel_at_rest, turn, reason):
            return
        self.wake()
        thread = await asyncio.shield(self._loaded)
        if turn > thread.cursor.turn and not await self._turns.exists(turn):
            return
        thread = self._thread or thread
        if not is_over(thread.cursor, turn):
            self._stops.cancel(turn, reason)
            if thread.cursor.turn == turn:
                thread.cancel(reason)
            if not (await self.outcome(turn)).status.finished:
                raise turn_waits(self.root, turn)

    async def _cancel_at_rest(self, turn: int, reason: str) -> bool:
        """Cancel a turn that needs no place for it: it is next, or paused. False if it has to wait for others."""
        async with self._loaded_at_rest() as thread:
            if not is_over(thread.cursor, turn):
                if turn > thread.cursor.turn + 1 or (turn > thread.cursor.turn and thread.cursor.is_open):
                    return False
                if turn == thread.cursor.turn:
                    thread.cancel(reason)
                    await thread.run()
                elif not await self._turns.exists(turn):
                    return True
                else:
                    await thread.skip_turn(turn, reason)
            await self._waiters.tell(thread)
        self.wake()
        return True

    async def answer(self, request: Answer) -> None:
        """Record the answer to a question of its thread or one below, and go on. The same request answers once.

        Raises:
            BusinessRuleViolation: The thread does not ask that.
            StateInvalid: The answer does not fit; the thread waits for another one.
        """
        await self._uncut(self._answer(request))

    async def _answer(self, request: Answer) -> None:
        if await was_answered(self._services.journal, request):
            self._let_go_on(request.thread_id)
        else:
            async with self._paused(request.thread_id) as thread:
                await answer(thread, request)

    async def pause(self, request: PauseThread) -> None:
        """Pause the turn that runs, or is next; returns when that is recorded.

        Raises:
            BusinessRuleViolation: No turn runs, or it was over before it could be paused.
        """
        head = await self._services.journal.head(self.root)
        turn = 1 if head is None else head.cursor.turn + (0 if head.cursor.is_open else 1)
        if head is not None and is_asked_to_pause(head.cursor):
            return  # perhaps by this very request, whose answer was lost
        if head is not None and head.cursor.status is ThreadState.PAUSED:
            raise cannot_pause(self.root, head.cursor)
        if (head is None or not head.cursor.is_open) and not await self._turns.exists(turn):
            raise cannot_pause(self.root, Cursor() if head is None else head.cursor)
        self._stops.asked = request.pause
        if self._thread is not None and self._thread.cursor.turn == turn:
            await self._thread.pause(request.pause)
        done = await self.outcome(turn)
        if done.pause is None:
            raise cannot_pause(self.root, Cursor(status=done.status))

    async def halt(self, session: Session) -> None:
        """Its session is paused or aborted: returns when its turns are, too."""
        head = await self._services.journal.head(self.root)
        cursor = Cursor() if head is None else head.cursor
        self._stops.halted = session
        if self._thread is not None:
            await self._stop(self._thread)
        if self._stops.rests:
            if cursor.status is ThreadState.RUNNING:
                await self.outcome(cursor.turn)
            return
        turn = cursor.turn if cursor.is_open else cursor.turn + 1
        while turn == cursor.turn or await self._turns.exists(turn):
            await self.cancel(turn, session.reason)
            turn += 1

    async def go_on(self) -> None:
        """Its session is active: returns when that is recorded of a turn which was paused with it."""
        if self._thread is None or self._thread.cursor.pause is not None:
            with suppress(ActiveElsewhere):  # then it goes on already
                async with self._loaded_at_rest() as thread:
                    pause = thread.cursor.pause
                    if pause is not None and pause.kind is PauseKind.SESSION and thread.halted is None:
                        await thread.resume()
        self.adopt()

    async def resume(self, request: ResumeThread) -> None:
        """Let a thread go on, its own or one below, that somebody has paused; one that runs does so already.

        Raises:
            BusinessRuleViolation: Nobody has paused it.
        """
        head = await self._services.journal.head(request.thread_id)
        if head is not None and head.cursor.status is ThreadState.RUNNING:
            self._let_go_on(request.thread_id)
            return
        await self._uncut(self._resume(request))

    async def _resume(self, request: ResumeThread) -> None:
        async with self._paused(request.thread_id) as thread:
            if not is_asked_to_pause(thread.cursor):
                raise cannot_resume(request.thread_id, thread.cursor)
            await resume_tree(thread)

    def adopt(self) -> None:
        """Go on with what another host has left, with a pause whose time has come, and with threads below."""
        self._turns.may_be_more = True
        self._let_go_on("")

    def _let_go_on(self, thread_id: str) -> None:
        """Have its thread look at one below it, which was paused (empty: at all)."""
        if thread_id != self.root and (self._thread is None or not self._thread.may_go_on(thread_id)):
            self._look_below = True
        self.wake()

    async def begin_branch(self, request: BranchThread) -> TurnAccepted:
        """Record the branch; it runs when there is a place.

        Raises:
            NotFoundError: What it is to begin with is not there.
            StateInvalid: The state does not take the update.
        """
        self._admission.check()
        return TurnAccepted(thread_id=self.root, turn=await self._uncut(self._begin_branch(request)))

    async def restore(self, request: RestoreThread) -> None:
        """Give its thread the state of another seq; returns when that is recorded.

        Raises:
            BusinessRuleViolation: A turn is running, or the state is of another session or workflow.
            NotFoundError: There is no such seq.
        """
        if self._thread is not None:
            check_at_rest(self._thread.thread, self._thread.cursor.status)
        await self._uncut(self._restore(request))

    @asynccontextmanager
    async def _paused(self, thread_id: str) -> AsyncIterator[ThreadActor]:
        """A paused thread, its own or one below, that the block lets go on.

        Raises:
            BusinessRuleViolation: It is not paused.
            ActiveElsewhere: Its own thread runs on another host.
        """
        if thread_id == self.root:
            if self._thread is not None and self._thread.cursor.pause is None:
                raise not_paused(self.root, self._thread.cursor)
            async with self._loaded_at_rest() as thread:
                yield thread
            self._let_go_on(thread_id)
            return
        if not self._running:
            check_here(await self._services.journal.head(self.root), self._services.host, self.lost)
        head = await self._services.journal.head(thread_id)
        if head is None:
            raise NotFoundError(f"no thread {thread_id!r}", kind="thread", key=thread_id)
        if head.cursor.pause is None:
            raise not_paused(thread_id, head.cursor)
        # Its own thread must not pause without knowing of it: then nobody would look any more.
        async with self._pausing:
            try:
                yield await ThreadActor.activate(head.thread, self._services)
            except Fenced as error:  # the thread above looks at it just now
                text = f"thread {thread_id} was activated once more meanwhile"
                raise SeqConflict(text, thread_id=thread_id, seq=head.seq, head=head.seq) from error
            told = self._thread is not None and self._thread.may_go_on(thread_id)
        if not told and not self._running:
            async with self._loaded_at_rest() as thread:
                pause = thread.cursor.pause
                if pause is not None and pause.kind is PauseKind.BRANCHES and thread.halted is None:
                    await thread.resume()
        elif not told:
            self._look_below = True
        self.wake()

    async def _accept(self, asked: Asked) -> int:
        turn = await self._sessions.accept(self.session, asked.interaction, host=self._services.host)
        self._is_accepted(asked, turn, begun=False)
        self.wake()
        return turn

    async def _begin_branch(self, request: BranchThread) -> int:
        async with self._loading:
            turn = await patiently(self._services.clock, begin_branch, request, self._services, self._sessions)
        self.wake()
        return turn

    async def _restore(self, request: RestoreThread) -> None:
        async with self._loaded_at_rest() as thread:
            await restore(thread, request, self._services.journal, self._services.catalog.schema)
        self._turns.may_be_more = True
        self.wake()

    async def _uncut(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` returns. It is not cut off with its asker: what is accepted must run."""
        working = asyncio.create_task(work)
        self._accepting.add(working)
        working.add_done_callback(self._was_accepted)
        return await asyncio.shield(working)

    def _was_accepted(self, accepting: asyncio.Task[Any]) -> None:
        self._accepting.discard(accepting)
        if not accepting.cancelled():
            accepting.exception()  # retrieved: perhaps nobody waits for it
        self._on_rest(self.root)

    async def _over(self, turn: int, done: asyncio.Future[TurnDone]) -> TurnDone:
        if self._thread is not None:
            await self._waiters.tell(self._thread)  # it may be over, and a later one running
        elif self._admission.is_full and await self._is_over(turn):
            async with self._loaded_at_rest() as thread:  # which needs no place
                await self._waiters.tell(thread)
        try:
            return await done
        finally:
            self._waiters.remove(turn, done)

    async def _is_over(self, turn: int) -> bool:
        head = await self._services.journal.head(self.root)
        return head is not None and is_over(head.cursor, turn)
