"""The session actor: one user's turns, one at a time and in order, on the session's main thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from actors.admission import Admission
from actors.errors import DestinationDied, Fenced, Overloaded
from actors.ports import SessionRepository
from actors.protocol import StartTurn, TurnAccepted, TurnDone
from actors.replay import turn_outcome
from actors.thread import ThreadActor, ThreadServices
from graphs.errors import NotFoundError
from graphs.sessions import InteractionType, Session, UserInteraction
from graphs.threads import Thread, ThreadMetadata, ThreadPriority, ThreadType, main_thread_id

MAX_WAITING_TURNS = 1_000


class SessionActor:
    """One activation of a session: it works while turns are waiting.

    Args:
        session: Its record.
        sessions: Where interactions are recorded.
        services: What its thread needs of the host.
        admission: The places of the host; it takes one while it works.
        on_rest: Called each time there is nothing more to do, so that the host can unload it.
    """

    def __init__(
        self,
        session: Session,
        sessions: SessionRepository,
        services: ThreadServices,
        admission: Admission,
        on_rest: Callable[[SessionActor], None],
    ) -> None:
        self.session = session
        self.users = 0
        """Requests the host has under way in it."""
        self._sessions = sessions
        self._services = services
        self._admission = admission
        self._on_rest = on_rest
        self._priority = ThreadPriority.NORMAL
        self._waiting: dict[int, list[asyncio.Future[TurnDone]]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._woken = False
        self._accepted: dict[int, UserInteraction] = {}
        """Turn -> interaction, of those accepted here that have not begun."""
        self._may_be_more = False
        """Whether interactions that were accepted elsewhere may wait in the store."""
        self._loaded: asyncio.Future[ThreadActor] = asyncio.get_running_loop().create_future()

    @property
    def resting(self) -> bool:
        """Whether nothing is under way in it."""
        return self._worker is None and self.users == 0

    async def start_turn(self, request: StartTurn) -> TurnAccepted | TurnDone:
        """Record the interaction; it runs when those before it are done.

        Raises:
            Overloaded: Too many turns are waiting in this session.
            Fenced: The session has been activated elsewhere: ask there.
        """
        if len(self._waiting) >= MAX_WAITING_TURNS:
            raise Overloaded(
                f"session {self.session.id} has {MAX_WAITING_TURNS} turns waiting; wait for some of them",
                destination=self.session.id,
                retry_after_s=1.0,
            )
        self._admission.check()
        interaction = UserInteraction(
            interaction_id=request.interaction_id,
            session_id=self.session.id,
            interaction_type=InteractionType.USER_REQUEST,
            content=request.content,
            timestamp=self._services.clock.now(),
        )
        self._priority = request.priority
        turn = await self._sessions.accept(self.session, interaction)
        self._accepted[turn] = interaction
        if not request.wait:
            self.wake()
            return TurnAccepted(thread_id=main_thread_id(self.session.id), turn=turn)
        done: asyncio.Future[TurnDone] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(turn, []).append(done)
        self.wake()
        return await done

    async def resume(self) -> ThreadActor:
        """Go on with whatever is unfinished; returns the main thread when it is loaded."""
        self._may_be_more = True
        self.wake()
        return await asyncio.shield(self._loaded)

    async def cancel(self, reason: str) -> None:
        """Cancel the turn that runs now; returns when that is recorded."""
        turn_over = asyncio.get_running_loop().create_future()
        thread = await self.resume()
        if not thread.cursor.status.finished:
            self._waiting.setdefault(thread.cursor.turn, []).append(turn_over)
            thread.cancel(reason)
            await turn_over

    def wake(self) -> None:
        """Go on with whatever is unfinished."""
        self._woken = True
        if self._worker is None:
            self._loaded = asyncio.get_running_loop().create_future()
            self._worker = asyncio.create_task(self._work(), name=f"session {self.session.id}")

    async def close(self) -> None:
        """Stop where it stands; what is unfinished is taken up by the next activation."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        try:
            async with self._admission.place(main_thread_id(self.session.id), self._priority, self.session.user_id):
                await self._run_turns()
        except asyncio.CancelledError:
            self._fail(DestinationDied("the host is closing; ask again", destination=self._services.host))
            raise
        except Exception as error:  # noqa: BLE001 - handed to everyone who waits, none of whom may be left unanswered
            self._fail(error)
        finally:
            self._worker = None
            self._on_rest(self)

    async def _run_turns(self) -> None:
        thread = await ThreadActor.activate(self._main_thread(), self._services)
        self._loaded.set_result(thread)
        while self._woken:
            self._woken = False
            await thread.run()
            await self._answer(thread)
            while (interaction := await self._next(thread)) is not None:
                await thread.start_turn(thread.cursor.turn + 1, interaction.content)
                await thread.run()
                await self._answer(thread)

    async def _next(self, thread: ThreadActor) -> UserInteraction | None:
        """The interaction that starts the next turn: known here, unless it was accepted before this activation."""
        turn = thread.cursor.turn + 1
        for done in [accepted for accepted in self._accepted if accepted < turn]:
            del self._accepted[done]  # asked twice, and over by now
        known = self._accepted.pop(turn, None)
        if known is not None or not (self._accepted or self._may_be_more):
            return known
        interaction = await self._sessions.interaction(self.session.id, turn)
        self._may_be_more = interaction is not None
        return interaction

    async def _answer(self, thread: ThreadActor) -> None:
        """Answer those who wait for this turn or for one before it."""
        for turn in [turn for turn in self._waiting if turn <= thread.cursor.turn]:
            if turn == thread.cursor.turn:
                done: TurnDone | None = thread.turn_done()
            else:
                schema_of = self._services.catalog.schema
                done = await turn_outcome(self._services.journal, thread.thread, turn, schema_of)
            for future in self._waiting.pop(turn):
                if future.done():
                    continue
                if done is None:
                    key = f"{thread.thread.id} turn {turn}"
                    future.set_exception(NotFoundError(f"{key} is no longer recorded", kind="turn", key=key))
                else:
                    future.set_result(done)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Fenced):
            error = DestinationDied("the session is active elsewhere; ask there", destination=self._services.host)
        if not self._loaded.done():
            self._loaded.set_exception(error)
            self._loaded.exception()  # retrieved: perhaps nobody waits for it
        for future in [future for futures in self._waiting.values() for future in futures]:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    def _main_thread(self) -> Thread:
        now = self._services.clock.now()
        return Thread(
            id=main_thread_id(self.session.id),
            session_id=self.session.id,
            thread_type=ThreadType.MAIN,
            workflow=self.session.workflow_id,
            metadata=ThreadMetadata(priority=self._priority),
            created_at=now,
            updated_at=now,
        )
