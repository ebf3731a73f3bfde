"""The session actor: one user's turns, one at a time and in order, on the session's main thread or on a branch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from actors.admission import Admission
from actors.answers import answer, resume_tree, was_answered
from actors.errors import ActiveElsewhere, DestinationDied, Fenced, SeqConflict
from actors.network import SUPERVISOR
from actors.patience import patiently
from actors.pauses import cannot_pause, cannot_resume, check_here, is_asked_to_pause, is_due, not_paused, turn_waits
from actors.ports import SessionRepository
from actors.protocol import (
    Answer,
    BranchThread,
    PauseThread,
    RestoreThread,
    ResumeThread,
    StartTurn,
    TimerSet,
    TurnAccepted,
    TurnDone,
)
from actors.stops import Stops
from actors.thread import ThreadActor
from actors.thread_services import ThreadServices
from actors.turns import WaitingTurns, interaction_of
from actors.waiters import Waiters, is_over
from actors.whatif import begin_branch, check_at_rest, restore
from graphs.errors import NotFoundError
from graphs.journal import Cursor, PauseKind
from graphs.sessions import Session, UserInteraction
from graphs.threads import Thread, ThreadFactory, ThreadPriority, ThreadState, main_thread_id

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class SessionActor:
    """One activation of a session's root thread: it works while turns are waiting.

    Args:
        session: Record of the session.
        sessions: Where interactions are recorded.
        services: What its thread needs of the host.
        admission: The places of the host; it takes one while it works.
        on_rest: Called each time there is nothing more to do, so that the host can unload it.
        branch: Record of the what-if branch that it runs, which has one turn; None: it runs the main thread.
    """

    def __init__(
        self,
        session: Session,
        sessions: SessionRepository,
        services: ThreadServices,
        admission: Admission,
        on_rest: Callable[[SessionActor], None],
        branch: Thread | None = None,
    ) -> None:
        self.session = session
        self.root = branch.id if branch is not None else main_thread_id(session.id)
        """Id of its thread."""
        self.users = 0
        """Requests the host has under way in it."""
        self.lost = ""
        """A host known to be dead, from which the session may be taken."""
        self._sessions = sessions
        self._services = services
        self._admission = admission
        self._on_rest = on_rest
        self._branch = branch
        self._priority = branch.metadata.priority if branch is not None else ThreadPriority.NORMAL
        self._waiters = Waiters(services.journal, services.catalog.schema)
        self._stops = Stops()
        self._worker: asyncio.Task[None] | None = None
        self._woken = False
        self._accepting: set[asyncio.Task[Any]] = set()
        self._turns = WaitingTurns(session.id, None if branch is not None else sessions)
        self._loading = asyncio.Lock()
        """Held by whoever has its thread loaded: only one may."""
        self._running = False
        """Whether that is the worker."""
        self._thread: ThreadActor | None = None
        """Its thread, while the worker has it loaded."""
        self._pausing = asyncio.Lock()
        """Held while its thread pauses for those below it, and while one of them is let go on."""
        self._look_below = False
        """Whether threads below it may go on which were paused."""
        self._loaded: asyncio.Future[ThreadActor] = asyncio.get_running_loop().create_future()

    @property
    def resting(self) -> bool:
        """Whether nothing is under way in it."""
        return self._worker is None and self.users == 0 and not self._accepting

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
        done: asyncio.Future[TurnDone] = asyncio.get_running_loop().create_future()
        turn = await self._uncut(self._accept(interaction, done if request.wait else None, request.known_seq))
        if not request.wait:
            return TurnAccepted(thread_id=self.root, turn=turn)
        return await self._over(turn, done)

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

    async def _stop(self, thread: ThreadActor) -> None:
        """Have a turn end or pause that is to, after what it is at or in the middle of it."""
        if (reason := self._stops.why_cancelled(thread.cursor.turn)) is not None:
            if thread.cursor.is_open:
                thread.cancel(reason)
        elif thread.cursor.status is ThreadState.RUNNING and (pause := self._stops.pause) is not None:
            await thread.pause(pause)

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

    @asynccontextmanager
    async def _loaded_at_rest(self) -> AsyncIterator[ThreadActor]:
        """Its thread, which no turn runs in."""
        async with self._loading:
            try:
                yield await ThreadActor.activate(self._root_thread(), self._services, lost=self.lost)
            except Fenced:
                raise self._moved() from None

    def wake(self) -> None:
        """Go on with whatever is unfinished."""
        self._woken = True
        if self._worker is None:
            self._loaded = asyncio.get_running_loop().create_future()
            self._worker = asyncio.create_task(self._work(), name=f"session of {self.root}")

    async def close(self) -> None:
        """Stop where it stands; what is unfinished is taken up by the next activation."""
        tasks = [*self._accepting, *([self._worker] if self._worker is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(
        self, interaction: UserInteraction, done: asyncio.Future[TurnDone] | None, known_seq: int | None
    ) -> int:
        turn = await self._sessions.accept(self.session, interaction, host=self._services.host)
        self._turns.add(turn, interaction)
        if done is not None:
            self._waiters.add(turn, done, known_seq)
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
        self._on_rest(self)

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

    async def _work(self) -> None:
        try:
            async with self._admission.place(self.root, self._priority, self.session.user_id), self._loading:
                self._running = True
                await patiently(self._services.clock, self._run_turns)
        except asyncio.CancelledError:
            self._fail(DestinationDied("the host is closing; ask again", destination=self._services.host))
            raise
        except Exception as error:  # noqa: BLE001 - handed to everyone who waits, none of whom may be left unanswered
            self._fail(error)
        finally:
            self._worker = self._thread = None
            self._running = False
            self._on_rest(self)

    async def _run_turns(self) -> None:
        """Activate the main thread, and run turns while there are any."""
        again, self._stops.halted = self._thread is not None, None
        thread = self._thread = await ThreadActor.activate(self._root_thread(), self._services, lost=self.lost)
        if again or thread.cursor.status is ThreadState.RUNNING:
            self._turns.may_be_more = True  # whoever has left it there may have left interactions too
        thread.pausing = self._pausing
        self._stops.halted = self._stops.halted or thread.halted  # that it is may have been said meanwhile
        if not self._loaded.done():
            self._loaded.set_result(thread)
        await self._waiters.tell(thread)
        self._woken = True
        while self._woken:
            self._woken = False
            await self._go_on(thread)
            await self._run_turn(thread)
            while self._goes_on(thread) and (interaction := await self._turns.take(thread.cursor.turn + 1)) is not None:
                turn = thread.cursor.turn + 1
                if (reason := self._stops.why_cancelled(turn)) is not None:
                    await thread.skip_turn(turn, reason)
                else:
                    budget = await self._turns.budget(interaction, self.session.budget)
                    await thread.start_turn(turn, interaction.content, durability=interaction.durability, budget=budget)
                await self._run_turn(thread)
            if not self._goes_on(thread):
                await self._rest(thread)
        thread.remember()

    def _goes_on(self, thread: ThreadActor) -> bool:
        """Whether the next turn may begin."""
        return thread.cursor.pause is None and not self._stops.rests

    async def _go_on(self, thread: ThreadActor) -> None:
        """End a pause whose time has come, or that was one of its session."""
        look_below, self._look_below = self._look_below, False
        pause = thread.cursor.pause
        if pause is None or self._stops.rests or self._stops.why_cancelled(thread.cursor.turn) is not None:
            return
        is_over = pause.kind is PauseKind.SESSION or is_due(pause, self._services.clock.now())
        if is_over or (look_below and pause.kind is PauseKind.BRANCHES):
            await thread.resume()

    async def _rest(self, thread: ThreadActor) -> None:
        """The thread, or its session, is paused: let those know who wait for its turns, and who wakes it."""
        pause = thread.cursor.pause
        if pause is not None and pause.until is not None and not self._stops.rests:
            try:
                await self._services.network.tell(SUPERVISOR, TimerSet(until=pause.until))
            except DestinationDied:
                logger.info("no supervisor; the next one reads the timer of %s in the store", self.root)
        self._waiters.tell_pause(thread)

    async def _run_turn(self, thread: ThreadActor) -> None:
        await self._stop(thread)
        runs = thread.cursor.status is ThreadState.RUNNING
        await thread.run()
        if runs:
            self._stops.asked = None
        if thread.cursor.status.finished:
            self._stops.over(thread.cursor.turn)
        await self._waiters.tell(thread)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Fenced):
            error = self._moved()
        if not self._loaded.done():
            self._loaded.set_exception(error)
            self._loaded.exception()  # retrieved: perhaps nobody waits for it
        self._waiters.fail(error)
        self._turns.forget()
        self._stops.clear()

    def _moved(self) -> DestinationDied:
        return DestinationDied("the session is active elsewhere; ask there", destination=self._services.host)

    def _root_thread(self) -> Thread:
        if self._branch is not None:
            return self._branch
        factory = ThreadFactory(self._services.clock.now())
        return factory.main(self.session.id, self.session.workflow_id, self._priority)
