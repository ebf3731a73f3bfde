"""The host actor: a process that carries many activations of sessions and threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from actors.admission import Admission
from actors.errors import DestinationDied, Fenced
from actors.facts import ProcessFacts
from actors.halts import Halts
from actors.machine import rss_bytes
from actors.openings import TurnStart
from actors.patience import patiently
from actors.pauses import cannot_pause, check_here, goes_on, is_asked_to_pause
from actors.ports import SessionRepository
from actors.protocol import (
    Adopt,
    Answer,
    AwaitTurn,
    BranchDone,
    BranchThread,
    CancelThread,
    ChangeSession,
    DescribeProcess,
    Done,
    HaltThread,
    Message,
    PauseThread,
    PoolChanged,
    ProcessDescribed,
    Redeployed,
    RestoreThread,
    ResumeThread,
    RunBranch,
    StartTurn,
    Stopped,
    TurnAccepted,
    TurnDone,
    decode_request,
    encode,
)
from actors.roots import Roots
from actors.session import SessionActor
from actors.thread import ThreadActor
from actors.thread_services import ThreadServices
from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.journal import Cursor, EntryKind, Pause, Usage
from graphs.sessions import Session
from graphs.threads import Thread, ThreadState, is_root, main_thread_id, path_of, root_of, session_of

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Branch:
    """A parallel thread that runs here."""

    task: asyncio.Task[BranchDone] | None = None
    actor: ThreadActor | None = None
    cancelled: CancelThread | None = field(default=None)
    """How it is to be cancelled, if that was asked before it was loaded."""
    paused: Pause | None = field(default=None)
    """How it is to be paused, likewise."""


class Host:
    """Answers requests about sessions and threads, loading them when they are needed.

    Args:
        services: What threads need.
        sessions: Where sessions are recorded.
        capacity: Turns of main threads that run at once.
    """

    def __init__(self, services: ThreadServices, sessions: SessionRepository, capacity: int) -> None:
        self._services = services
        self._repository = sessions
        self._admission = Admission(services.host, capacity, services.clock)
        self._roots = Roots(services.host, services.journal, services.network, services.clock)
        self._halts = Halts(services, self._roots, sessions, self._go_on)
        self._sessions: dict[str, SessionActor] = {}
        """Id of a root thread -> who runs it."""
        self._branches: dict[str, _Branch] = {}
        self._branches_total = 0

    async def handle(self, body: bytes) -> bytes | None:
        """Answer one request."""
        reply = await self._handle(decode_request(body))
        return None if reply is None else encode(reply)

    async def close(self) -> None:
        """Unload everything; running turns stay unfinished in the journal."""
        branches = [branch.task for branch in self._branches.values() if branch.task is not None]
        for task in branches:
            task.cancel()
        await self._halts.close()
        await asyncio.gather(*branches, *(actor.close() for actor in self._sessions.values()), return_exceptions=True)

    async def _handle(self, request: object) -> Message | None:
        match request:
            case StartTurn():
                return await self._start_turn(request)
            case RunBranch():
                return await self._run_branch(request)
            case AwaitTurn():
                return await self._await_turn(request)
            case BranchThread():
                return await self._begin_branch(request)
            case CancelThread():
                return Stopped(usage=await self._cancel(request))
            case DescribeProcess():
                return self._describe()
            case _:
                await self._do(request)
                return Done()

    async def _do(self, request: object) -> None:
        """Carry out a request that is answered by `Done`."""
        match request:
            case Answer() | ResumeThread() | RestoreThread():
                await self._carry_out(request)
            case PauseThread():
                await self._pause(request)
            case HaltThread():
                with self._used(await self._root(request.thread_id), request.lost) as actor:
                    await patiently(self._services.clock, actor.halt, request.session)
            case ChangeSession():
                await self._halts.change(request)
            case Adopt():
                await self._adopt(request.threads, request.lost)
            case Redeployed(refs=refs):
                self._services.catalog.forget(refs)
            case PoolChanged(kind=kind, executors=executors):
                self._services.executors.set(kind, executors)
            case _:
                raise BusinessRuleViolation(f"a host does not handle {type(request).__name__}")

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def _start_turn(self, request: StartTurn) -> TurnAccepted | TurnDone:
        with self._used(self._session(request.session), request.lost) as actor:
            return await actor.start_turn(request)

    async def _await_turn(self, request: AwaitTurn) -> TurnDone:
        with self._used(await self._root(request.thread_id), request.lost) as actor:
            return await actor.outcome(request.turn)

    async def _carry_out(self, request: Answer | ResumeThread | RestoreThread) -> None:
        with self._used(await self._root(root_of(request.thread_id)), request.lost) as actor:
            match request:
                case Answer():
                    await patiently(self._services.clock, actor.answer, request)
                case ResumeThread():
                    await patiently(self._services.clock, actor.resume, request)
                case RestoreThread():
                    await patiently(self._services.clock, actor.restore, request)

    async def _go_on(self, thread_id: str) -> None:
        with self._used(await self._root(thread_id), "") as actor:
            await patiently(self._services.clock, actor.go_on)

    async def _adopt(self, threads: Sequence[str], lost: str = "") -> None:
        await asyncio.gather(*(self._adopt_one(thread_id, lost) for thread_id in threads))

    async def _adopt_one(self, thread_id: str, lost: str) -> None:
        if not path_of(thread_id):
            self._halts.take_up(session_of(thread_id))
            return
        try:
            actor = await self._root(thread_id)
        except NotFoundError:
            logger.info("thread %s was to be adopted, and is gone", thread_id)
            return
        with self._used(actor, lost):
            actor.adopt()

    async def _begin_branch(self, request: BranchThread) -> TurnAccepted:
        session = await self._find_session(request.thread.session_id)
        with self._used(self._session(session, request.thread), request.lost) as actor:
            return await actor.begin_branch(request)

    @contextmanager
    def _used(self, actor: SessionActor, lost: str) -> Iterator[SessionActor]:
        """Keep a session loaded while a request is under way in it."""
        actor.users += 1
        actor.lost = lost or actor.lost
        try:
            yield actor
        finally:
            actor.users -= 1
            self._unload(actor.root)

    def _session(self, session: Session, branch: Thread | None = None) -> SessionActor:
        root = branch.id if branch is not None else main_thread_id(session.id)
        actor = self._sessions.get(root)
        if actor is None:
            actor = SessionActor(session, self._repository, self._services, self._admission, self._unload, branch)
            self._sessions[root] = actor
        return actor

    def _unload(self, root: str) -> None:
        actor = self._sessions.get(root)
        if actor is not None and actor.resting:
            del self._sessions[root]

    async def _root(self, thread_id: str) -> SessionActor:
        """Who runs a root thread. Raises `NotFoundError`."""
        known = self._sessions.get(thread_id)
        if known is not None:
            return known
        session = await self._find_session(session_of(thread_id))
        if thread_id == main_thread_id(session.id):
            return self._session(session)
        head = await self._services.journal.head(thread_id)
        if head is None:
            raise NotFoundError(f"no thread {thread_id!r}", kind="thread", key=thread_id)
        return self._session(session, head.thread)

    async def _find_session(self, session_id: str) -> Session:
        session = await self._repository.find_by_id(session_id)
        if session is None:
            raise NotFoundError(f"no session {session_id!r}", kind="session", key=session_id)
        return session

    # --- parallel threads -------------------------------------------------------------------------------------------

    async def _run_branch(self, request: RunBranch) -> BranchDone:
        thread_id = request.thread.id
        branch = self._branches.get(thread_id)
        if branch is None or branch.task is None:
            branch = self._branches[thread_id] = _Branch()
            self._branches_total += 1
            branch.task = asyncio.create_task(self._branch(request, branch), name=f"branch {thread_id}")
            branch.task.add_done_callback(_retrieve)
        # The parent may go away and ask again: the branch runs on.
        return await asyncio.shield(branch.task)

    async def _branch(self, request: RunBranch, branch: _Branch) -> BranchDone:
        try:
            return await patiently(self._services.clock, self._run_to_end, request, branch)
        except Fenced:
            here = self._services.host
            raise DestinationDied(f"{request.thread.id} is active elsewhere; ask there", destination=here) from None
        finally:
            del self._branches[request.thread.id]

    async def _run_to_end(self, request: RunBranch, branch: _Branch) -> BranchDone:
        thread, services = request.thread, self._services
        start = TurnStart(
            request.content,
            at=request.at,
            stop_at=request.stop_at,
            steps=request.steps,
            durability=request.durability,
            budget=request.budget,
        )
        actor = branch.actor = await ThreadActor.activate(
            thread, services, base=request.state, lost=request.lost, start=start
        )
        if actor.cursor.status is ThreadState.PENDING:
            await actor.start_turn(1, start)
        elif actor.cursor.status is ThreadState.PAUSED and branch.cancelled is None:
            if not goes_on(actor.cursor, services.clock.now()):
                return actor.branch_done()
            await actor.resume()
        if branch.cancelled is not None:
            actor.cancel(branch.cancelled.reason, branch.cancelled.with_thread)
        if branch.paused is not None:
            await actor.pause(branch.paused)
        await actor.run()
        return actor.branch_done()

    def _describe(self) -> ProcessDescribed:
        admission = self._admission
        facts = ProcessFacts(
            rss_bytes=rss_bytes(),
            threads=admission.running + len(self._branches),
            threads_total=admission.admitted_total + self._branches_total,
            waiting=admission.waiting,
        )
        return ProcessDescribed(facts=facts)

    # --- both -------------------------------------------------------------------------------------------------------

    async def _pause(self, request: PauseThread) -> None:
        """Pause a thread; returns when that is recorded."""
        thread_id = request.thread_id
        if is_root(thread_id):
            with self._used(await self._root(thread_id), request.lost) as actor:
                await patiently(self._services.clock, actor.pause, request)
            return
        branch = self._branches.get(thread_id)
        if branch is None or branch.task is None:
            head = await self._services.journal.head(thread_id)
            check_here(head, self._services.host)
            if head is not None and is_asked_to_pause(head.cursor):
                return
            raise cannot_pause(thread_id, Cursor() if head is None else head.cursor)
        branch.paused = request.pause
        if branch.actor is not None:
            await branch.actor.pause(request.pause)
        await asyncio.wait([branch.task])
        if branch.actor is not None and branch.actor.cursor.status.finished:
            raise cannot_pause(thread_id, branch.actor.cursor)

    async def _cancel(self, request: CancelThread) -> Usage:
        """Cancel a turn; the tokens it has used are returned when that is recorded."""
        thread_id = request.thread_id
        if is_root(thread_id):
            with self._used(await self._root(thread_id), request.lost) as actor:
                await actor.cancel(request.turn, request.reason)
            return Usage()
        head = None if thread_id in self._branches else await self._services.journal.head(thread_id)
        branch = self._branches.get(thread_id)
        if branch is not None and branch.task is not None:
            branch.cancelled = request
            if branch.actor is not None:
                branch.actor.cancel(request.reason, request.with_thread)
            await asyncio.wait([branch.task])
            return branch.actor.usage if branch.actor is not None else Usage()
        if head is None:
            return Usage()
        if not head.cursor.status.finished:
            try:
                usage = await patiently(self._services.clock, self._cancel_here, head.thread, request)
            except Fenced:  # those above it have just asked for it
                return await self._cancel(request)
            if head.cursor.pause is not None and not request.with_thread:
                root = root_of(thread_id)  # it may be paused, too, and wait for this one
                await self._roots.ask(root, Adopt(threads=(root,)))
            return usage
        (end,) = await self._services.journal.read(thread_id, after=head.seq - 1)
        return end.usage if end.kind is EntryKind.TURN_FINISHED else Usage()

    async def _cancel_here(self, thread: Thread, request: CancelThread) -> Usage:
        actor = await ThreadActor.activate(thread, self._services, lost=request.lost)
        actor.cancel(request.reason, request.with_thread)
        await actor.run()
        return actor.usage


def _retrieve(task: asyncio.Task[BranchDone]) -> None:
    """Look at how a branch ended: perhaps its parent is gone, and nobody else does."""
    if not task.cancelled():
        task.exception()
