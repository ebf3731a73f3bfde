"""The worker of a session: it has the root thread loaded while turns are waiting, and runs them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actors.admission import Admission
from actors.errors import DestinationDied, Fenced
from actors.network import SUPERVISOR
from actors.openings import Prepared, TurnStart, prepare
from actors.patience import patiently
from actors.pauses import is_due
from actors.ports import Head, Opening, SessionRepository
from actors.protocol import TimerSet
from actors.stops import Stops
from actors.thread import ThreadActor
from actors.thread_services import ThreadServices
from actors.turns import Asked, WaitingTurns
from actors.waiters import Waiters
from graphs.errors import GreenroomError
from graphs.journal import PauseKind
from graphs.sessions import Session
from graphs.threads import Thread, ThreadFactory, ThreadPriority, ThreadState, main_thread_id

logger = logging.getLogger(__name__)


class SessionWorker:
    """One activation of a session's root thread: it works while turns are waiting.

    Args:
        session: Record of the session.
        sessions: Where interactions are recorded.
        services: What its thread needs of the host.
        admission: The places of the host; it takes one while it works.
        on_rest: Called with the id of its thread each time there is nothing more to do, so that the host can unload it.
        branch: Record of the what-if branch that it runs, which has one turn; None: it runs the main thread.
    """

    def __init__(
        self,
        session: Session,
        sessions: SessionRepository,
        services: ThreadServices,
        admission: Admission,
        on_rest: Callable[[str], None],
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
        self._asked: Asked | None = None
        """A turn that the worker is to accept, and for which it has a place."""
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

    @asynccontextmanager
    async def _loaded_at_rest(self) -> AsyncIterator[ThreadActor]:
        """Its thread, which no turn runs in."""
        async with self._loading:
            try:
                yield await ThreadActor.activate(self._root_thread(), self._services, lost=self.lost)
            except Fenced:
                raise self._moved() from None

    async def _work(self) -> None:
        try:
            reserved = self._asked is not None
            place = self._admission.place(self.root, self._priority, self.session.user_id, reserved=reserved)
            async with place, self._loading:
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
            self._on_rest(self.root)

    async def _run_turns(self) -> None:
        """Activate the main thread, and run turns while there are any."""
        again, self._stops.halted = self._thread is not None, None
        if (thread := await self._activate()) is None:
            return
        self._thread = thread
        self._turns.may_be_more = self._turns.may_be_more or again
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
                    start = TurnStart(interaction.content, durability=interaction.durability, budget=budget)
                    await thread.start_turn(turn, start)
                await self._run_turn(thread)
            if not self._goes_on(thread):
                await self._rest(thread)
        thread.remember()

    async def _activate(self) -> ThreadActor | None:
        """Take its thread, and begin the turn that somebody asks for; None if that is refused, and all there was."""
        root, services, asked, self._woken = self._root_thread(), self._services, self._asked, False
        prepared, head = Prepared(), None
        if asked is not None:
            start = TurnStart(
                asked.interaction.content, durability=asked.interaction.durability, budget=asked.interaction.budget
            )
            prepared = await prepare(root, services, start)
            try:
                turn, head = await self._accept_and_begin(asked, root, prepared.opening)
            except GreenroomError as error:
                self._refuse(error)
                if not self._woken:
                    return None
            else:
                self._is_accepted(asked, turn, begun=head is not None and head.opened)
                self._asked = None
                asked.turn.set_result(turn)
        if head is not None:
            thread = await ThreadActor.at(head, services, prepared)
        else:
            thread = await ThreadActor.activate(root, services, lost=self.lost)
        if thread.cursor.status is ThreadState.RUNNING and not (head is not None and head.opened):
            self._turns.may_be_more = True  # whoever has left it there may have left interactions too
        return thread

    async def _accept_and_begin(self, asked: Asked, root: Thread, opening: Opening | None) -> tuple[int, Head | None]:
        session, interaction, host = self.session, asked.interaction, self._services.host
        if opening is None:
            return await self._sessions.accept(session, interaction, host=host), None
        return await self._sessions.begin_turn(session, interaction, root, opening, host=host, lost=self.lost)

    def _is_accepted(self, asked: Asked, turn: int, *, begun: bool) -> None:
        if not begun:
            self._turns.add(turn, asked.interaction)
        if asked.done is not None:
            self._waiters.add(turn, asked.done, asked.known_seq)

    def _refuse(self, error: Exception) -> None:
        """Answer whoever asks for a turn that is not accepted yet."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.turn.set_exception(error)
            asked.turn.exception()  # retrieved: perhaps nobody waits for it

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
        if thread.turn_waits:
            self._turns.waits(thread.cursor.turn + 1)
        await self._waiters.tell(thread)

    async def _stop(self, thread: ThreadActor) -> None:
        """Have a turn end or pause that is to, after what it is at or in the middle of it."""
        if (reason := self._stops.why_cancelled(thread.cursor.turn)) is not None:
            if thread.cursor.is_open:
                thread.cancel(reason)
        elif thread.cursor.status is ThreadState.RUNNING and (pause := self._stops.pause) is not None:
            await thread.pause(pause)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Fenced):
            error = self._moved()
        self._refuse(error)
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
