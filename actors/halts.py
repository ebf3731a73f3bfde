"""Pausing, resuming and aborting sessions: what their state means is carried out for all of their root threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from actors.network import SUPERVISOR
from actors.patience import patiently
from actors.ports import Head, SessionRepository
from actors.protocol import ChangeSession, HaltThread, TimerSet
from actors.roots import Roots
from actors.thread_services import ThreadServices
from graphs.journal import PauseKind
from graphs.sessions import Session, SessionState
from graphs.threads import ThreadState, is_root, main_thread_id

_GO_ON = (PauseKind.SESSION, PauseKind.BRANCHES)

logger = logging.getLogger(__name__)


class Halts:
    """Carries out the states of sessions for a host. That one is open stands in the store: so it outlives the host.

    Args:
        services: What threads need of the host.
        roots: The way to root threads.
        sessions: Where sessions are recorded.
        go_on: Has this host go on with a root thread; returns when a pause of its session is recorded to be over.
    """

    def __init__(
        self,
        services: ThreadServices,
        roots: Roots,
        sessions: SessionRepository,
        go_on: Callable[[str], Awaitable[None]],
    ) -> None:
        self._services = services
        self._roots = roots
        self._sessions = sessions
        self._go_on = go_on
        self._under_way: set[asyncio.Task[None]] = set()

    async def change(self, request: ChangeSession) -> None:
        """Pause, resume or abort a session; returns when that is recorded for all of its threads.

        Raises:
            NotFoundError: There is no such session.
            IllegalTransition: It has ended.
        """
        await asyncio.shield(self._begin(self._change(request)))

    def take_up(self, session_id: str) -> None:
        """Carry out the state of a session that another host has left."""
        self._begin(self._take_up(session_id))

    async def close(self) -> None:
        """Stop where it stands; another host takes it up."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """It is not cut off with its asker: what is recorded must be carried out."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("the state of a session is not carried out: %s", error)  # whoever asks again is told

    async def _change(self, request: ChangeSession) -> None:
        session = await patiently(self._services.clock, self._record, request)
        await patiently(self._services.clock, self._carry_out, session)

    async def _record(self, request: ChangeSession) -> Session:
        services = self._services
        return await self._sessions.change(
            request.session_id, request.state, reason=request.reason, at=services.clock.now(), host=services.host
        )

    async def _take_up(self, session_id: str) -> None:
        clock = self._services.clock
        session = await patiently(clock, self._sessions.find_by_id, session_id)
        if session is not None:
            await patiently(clock, self._carry_out, session)

    async def _carry_out(self, session: Session) -> None:
        main = main_thread_id(session.id)
        heads = [head for head in await self._services.journal.threads(session.id) if is_root(head.thread.id)]
        match session.state:
            case SessionState.PAUSED:
                halted = [head.thread.id for head in heads if head.cursor.status is ThreadState.RUNNING]
            case SessionState.ABORTED:
                others = [head for head in heads if head.thread.id != main]
                halted = [main, *(head.thread.id for head in others if head.cursor.is_open)]
            case _:
                halted = []
        requests = (HaltThread(thread_id=thread_id, session=session) for thread_id in halted)
        await asyncio.gather(*(self._roots.ask(request.thread_id, request) for request in requests))
        if session.state is SessionState.ACTIVE:
            await self._wake(main, heads)
        await self._sessions.settle(session)

    async def _wake(self, main: str, heads: Sequence[Head]) -> None:
        """Have this host go on with all that may; the store says what is open, should it die meanwhile."""
        paused = {head.thread.id: head.cursor.pause for head in heads if head.cursor.pause is not None}
        waiting = [thread_id for thread_id, pause in paused.items() if pause.kind in _GO_ON and thread_id != main]
        await asyncio.gather(*map(self._go_on, (main, *waiting)))
        if times := [pause.until for pause in paused.values() if pause.until is not None]:
            await self._services.network.tell(SUPERVISOR, TimerSet(until=min(times)))
