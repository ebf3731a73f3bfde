"""Handles of sessions and threads: light, and as good in any driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from actors.ports import Head
from actors.protocol import Message, TurnAccepted, TurnDone
from actors.replay import settled
from graphs.errors import BusinessRuleViolation
from graphs.journal import Usage
from graphs.policies import OnFailure
from graphs.sessions import Session, SessionState
from graphs.state.snapshots import StateSnapshot
from graphs.threads import Durability, ThreadPriority, ThreadState, is_root, main_thread_id, session_of
from runtime.errors import ResultTimeout
from runtime.events import Event
from runtime.home import Home
from runtime.past import PastClient, ThreadPast
from runtime.queues import Item
from runtime.results import ThreadResult
from runtime.snapshots import SnapshotService

_Reply = TypeVar("_Reply", bound=Message)


class Client(PastClient, Protocol):
    """What handles need."""

    async def start_turn(
        self,
        home: Home,
        content: Mapping[str, Any],
        priority: ThreadPriority | str,
        durability: Durability | str | None,
        budget: Mapping[str, Any] | None,
        wait: bool,
        expected: type[_Reply],
    ) -> _Reply:
        """Have a host run the next turn of a session."""

    async def outcome(self, thread_id: str, turn: int) -> ThreadResult:
        """How a turn of a main thread ends."""

    async def settled(self, home: Home, done: TurnDone) -> ThreadResult:
        """How a turn ends that may not be over."""

    async def change_session(self, session_id: str, state: SessionState, reason: str) -> None:
        """Have a session paused, resumed or aborted."""

    async def answer(self, thread_id: str, value: Any) -> None:
        """Have the question of a paused thread answered."""

    async def pause(self, thread_id: str, reason: str) -> None:
        """Have a running thread paused."""

    async def resume(self, thread_id: str) -> None:
        """Have a thread go on that somebody has paused."""

    async def queue(self, session_id: str, items: Sequence[Item], on_failure: OnFailure | str, name: str) -> str:
        """Have workflows run in a session one after the other."""

    async def cancel(self, thread_id: str, turn: int, reason: str) -> None:
        """Have a turn of a thread cancelled."""


class AsyncSession:
    """One user's conversation with a workflow: turns run one at a time, in order."""

    def __init__(self, client: Client, home: Home) -> None:
        self._client = client
        self._home = home
        self._session = home.session

    @property
    def id(self) -> str:
        """Its id, with which any driver finds it again."""
        return self._session.id

    @property
    def record(self) -> Session:
        """Its record, as it was when this handle was made."""
        return self._session

    @property
    def thread(self) -> str:
        """Id of its main thread."""
        return main_thread_id(self.id)

    async def run(
        self,
        content: Mapping[str, Any],
        *,
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
        durability: Durability | str | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> ThreadResult:
        """Run one turn and wait for its end, or until it is paused for somebody.

        Args:
            content: Channel -> value; what it says is written to the state through the reducers.
            priority: Who goes first when the hosts are full.
            durability: When its steps are stored: `sync`, `async` or `exit`; None: as the workflow says.
            budget: What it may use: some of `tokens`, `cost` (and `currency`), `time_s` and `steps`. A node that would
                ask a model beyond it, or beyond what its workflow and session allow, fails with `BudgetExceeded`.
            timeout_s: How long to wait; a turn that was accepted runs on afterwards.

        Returns:
            How it ended; a failed turn is a result too, and so is a paused one.

        Raises:
            StateInvalid: `content` does not fit the state; all problems are listed.
            ResultTimeout: It was not over in time.
            BusinessRuleViolation: The session has ended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                done = await self._client.start_turn(self._home, content, priority, durability, budget, True, TurnDone)
                return await self._client.settled(self._home, done)
        except TimeoutError:
            # Nobody knows whether a host has accepted it by now, or will.
            raise ResultTimeout(
                f"no result of {self.thread} in {timeout_s} s; if the turn was accepted it runs; look at the thread, "
                "or submit() first and then wait for the result()",
                thread_id=self.thread,
                timeout_s=timeout_s,
            ) from None

    async def submit(
        self,
        content: Mapping[str, Any],
        *,
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
        durability: Durability | str | None = None,
        budget: Mapping[str, Any] | None = None,
    ) -> AsyncThread:
        """Start one turn; returns as soon as it is recorded. See `run` for the arguments.

        Raises:
            StateInvalid: `content` does not fit the state; all problems are listed.
            Overloaded: Too many turns are waiting.
            BusinessRuleViolation: The session has ended.
        """
        accepted = await self._client.start_turn(self._home, content, priority, durability, budget, False, TurnAccepted)
        return AsyncThread(self._client, accepted.thread_id, turn=accepted.turn)

    async def submit_all(
        self,
        contents: Iterable[Mapping[str, Any]],
        *,
        priority: ThreadPriority | str = ThreadPriority.NORMAL,
        durability: Durability | str | None = None,
    ) -> list[AsyncThread]:
        """Start turns that follow each other in this order, each beginning with the state the one before it left.

        They run without anyone waiting for them. None is started unless all inputs fit the state. Turns of other
        drivers may come between them.

        Raises:
            StateInvalid: An input does not fit the state; all problems are listed.
            Overloaded: Too many turns are waiting; those before are started.
        """
        contents = list(contents)
        schema = await self._client.records.schema(self._session.workflow_id)
        for content in contents:
            schema.check_input(content)
        return [await self.submit(content, priority=priority, durability=durability) for content in contents]

    async def queue(
        self, items: Iterable[Item], *, on_failure: OnFailure | str = OnFailure.STOP, name: str = ""
    ) -> AsyncQueue:
        """Run workflows one after the other, beside its turns: each in a thread of its own, from one place in the tree.

        All of them are recorded at once, and run without anyone waiting for them, each once, whoever is killed.

        Args:
            items: Workflow, as `id` or `id@version`, and input of each.
            on_failure: When one has failed or was cancelled: `stop`, or `continue` with the next.
            name: What to call it.

        Raises:
            NotFoundError: No such workflow is deployed.
            StateInvalid: An input does not fit; none is recorded.
            BusinessRuleViolation: The session is paused or has ended.
        """
        return AsyncQueue(self._client, await self._client.queue(self.id, list(items), on_failure, name))

    async def queues(self) -> list[AsyncQueue]:
        """Its queues, oldest first."""
        return [AsyncQueue(self._client, head.thread.id) for head in await self.threads() if head.thread.is_queue]

    async def usage(self) -> Usage:
        """What the models of all its threads have used so far, and what it cost as far as prices are known."""
        return await self._client.records.store.sessions.used(self.id)

    async def snapshot(
        self, *, name: str = "", description: str = "", tags: Collection[str] = (), expires_s: float | None = None
    ) -> StateSnapshot:
        """Name the points where all its threads are now, at one instant, under one id. See `AsyncThread.snapshot`."""
        return await SnapshotService(self._client.records).create_session_snapshot(
            self.id, name=name, description=description, tags=tags, expires_s=expires_s
        )

    async def snapshots(self) -> list[StateSnapshot]:
        """Named snapshots of it and of its threads, oldest first."""
        return await SnapshotService(self._client.records).of_session(self.id)

    async def restore(self, snapshot: StateSnapshot | str) -> None:
        """Take its main thread and its what-if branches back to where they were at a snapshot of it.

        Those that have not changed since, and those that did not exist then, stay as they are.

        Raises:
            NotFoundError: There is no such snapshot.
            BusinessRuleViolation: One of the threads is running; then none is restored.
        """
        await SnapshotService(self._client.records).restore_session(self._client, self.id, snapshot)

    async def state(self) -> SessionState:
        """Where it is in its life now. Raises `NotFoundError`."""
        return (await self._client.records.session(self.id)).state

    async def complete(self) -> None:
        """End it: whichever driver asks for a turn is refused from now on. What it has done can still be read.

        Raises:
            BusinessRuleViolation: A turn runs, is paused or waits.
            IllegalTransition: It has ended before.
            NotFoundError: It is no longer recorded.
        """
        await self._client.records.store.sessions.complete(self.id, at=time.time())

    async def pause(self, reason: str = "asked by the driver") -> None:
        """Pause it; returns when nothing of it runs any more, which is recorded.

        The steps under way are finished, in all of its threads; nothing else begins. Turns are accepted and wait,
        and so do answers and times that come. A session that is paused already stays as it is.

        Raises:
            IllegalTransition: It has ended.
        """
        await self._client.change_session(self.id, SessionState.PAUSED, reason)

    async def resume(self) -> None:
        """Let it go on where it was paused, and then with the turns that wait, in order. One that is active stays so.

        What was paused by itself, with `AsyncThread.pause`, stays paused.

        Raises:
            IllegalTransition: It has ended.
        """
        await self._client.change_session(self.id, SessionState.ACTIVE, "")

    async def abort(self, reason: str = "asked by the driver") -> None:
        """End it now: the turns under way and those that wait are cancelled, with all threads below them.

        Returns when that is recorded. It takes no more turns or branches; what it has done can still be read.

        Raises:
            IllegalTransition: It has been completed.
        """
        await self._client.change_session(self.id, SessionState.ABORTED, reason)

    async def threads(self) -> list[Head]:
        """Records of all its threads, oldest first."""
        return await self._client.records.store.journal.threads(self.id)


class AsyncThread(ThreadPast):
    """A turn of a thread: of the main thread of a session, or of a thread below it."""

    _client: Client

    def __init__(self, client: Client, thread_id: str, *, turn: int) -> None:
        self._client = client
        self.id = thread_id
        self.turn = turn

    def _of(self, thread_id: str, turn: int) -> Self:
        return type(self)(self._client, thread_id, turn=turn)

    async def result(self, *, timeout_s: float | None = None) -> ThreadResult:
        """How the turn ended, waiting until it has, or until it is paused for somebody: then `pause` says for what.

        Raises:
            ResultTimeout: It was not over in time; it goes on.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if is_root(self.id) and not await self._is_over():
                    return await self._client.outcome(self.id, self.turn)
                return await self._client.records.result(self.id, self.turn)
        except TimeoutError:
            raise _too_late(self.id, timeout_s) from None

    async def status(self) -> ThreadState:
        """Where the thread is now: pending until its turn has begun."""
        head = await self._client.records.head(self.id)
        return head.cursor.status if head is not None and head.cursor.turn >= self.turn else ThreadState.PENDING

    async def _is_over(self) -> bool:
        head = await self._client.records.head(self.id)
        if head is None or head.cursor.turn < self.turn:
            return False
        return head.cursor.turn > self.turn or settled(head.cursor, self.turn)

    def events(self, *, after: int = 0, children: bool = False) -> AsyncGenerator[Event, None]:
        """What happens in it, from after seq `after` until its turn is over.

        Args:
            after: Seq of the last event that is known already; 0 begins at the beginning.
            children: Also what happens in the parallel threads below it.
        """
        return self._client.records.events(self.id, turn=self.turn, after=after, children=children)

    async def answer(self, value: Any) -> None:
        """Answer the question it is paused at, and let it go on; returns when that is recorded.

        Args:
            value: The answer: JSON-able, a model or a dataclass.

        Raises:
            StateInvalid: It does not fit; all problems are listed, and the thread waits for another answer.
            BusinessRuleViolation: The thread asks nothing.
        """
        await self._client.answer(self.id, value)

    async def answer_schema(self) -> dict[str, Any]:
        """JSON schema of the answers that its question takes, for the forms of user interfaces.

        Raises:
            BusinessRuleViolation: The thread asks nothing.
        """
        return await self._client.records.answer_schema(self.id)

    async def pause(self, reason: str = "asked by the driver") -> None:
        """Pause it: what runs is finished and recorded, in the threads below it too, and nothing else begins.

        Raises:
            BusinessRuleViolation: It does not run, or was over before it could be paused.
        """
        await self._client.pause(self.id, reason)

    async def resume(self) -> None:
        """Let it go on where somebody has paused it, and the threads below it.

        Raises:
            BusinessRuleViolation: It waits for something else, or is over.
        """
        await self._client.resume(self.id)

    async def cancel(self, reason: str = "asked by the driver") -> None:
        """Cancel the turn, and the threads below it; returns when that is recorded.

        A turn that is over stays as it is. One that has not begun is cancelled when those before it are over, and its
        input is not written.

        Raises:
            BusinessRuleViolation: It waits for a turn that is paused, or behind others in a paused session.
        """
        await self._client.cancel(self.id, self.turn, reason)


class AsyncQueue:
    """A queue of threads that follow each other; `id` is that of the thread that runs it."""

    def __init__(self, client: Client, thread_id: str) -> None:
        self._client = client
        self.id = thread_id

    @property
    def thread(self) -> AsyncThread:
        """The thread that runs it: to wait for its end, to pause, resume or cancel all of it, to follow its events."""
        return AsyncThread(self._client, self.id, turn=1)

    async def threads(self) -> list[AsyncThread | None]:
        """The thread of each item, in order; None for one that has not begun."""
        records = self._client.records
        heads = await records.store.journal.threads(session_of(self.id))
        begun = {head.thread.metadata.name: head for head in heads if head.thread.metadata.parent_thread_id == self.id}
        found = [begun.get(node) for node in await records.nodes(self.id)]
        return [None if head is None else AsyncThread(self._client, head.thread.id, turn=1) for head in found]

    async def result(self, number: int, *, timeout_s: float | None = None) -> ThreadResult:
        """How item `number`, from 1 on, ended, waiting until it has, or until it is paused for somebody.

        Raises:
            BusinessRuleViolation: It never began: one before it has failed, or the queue was cancelled.
            ResultTimeout: It was not over in time; it goes on.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while (thread := (await self.threads())[number - 1]) is None:
                    head = await self._client.records.thread(self.id)
                    if head.cursor.status.finished and (await self.threads())[number - 1] is None:
                        raise BusinessRuleViolation(
                            f"item {number} of queue {self.id} never began: the queue is {head.cursor.status}",
                            thread_id=self.id,
                            number=number,
                        )
                    if not head.cursor.status.finished:
                        await self._client.records.news(self.id, after=head.seq)
                return await thread.result()
        except TimeoutError:
            raise _too_late(self.id, timeout_s) from None

    async def results(self, *, timeout_s: float | None = None) -> list[ThreadResult]:
        """How its items ended, in order, those that never began excepted. Waits until the queue is over, or paused."""
        await self.thread.result(timeout_s=timeout_s)
        return [await thread.result() for thread in await self.threads() if thread is not None]


def _too_late(thread_id: str, timeout_s: float | None) -> ResultTimeout:
    return ResultTimeout(
        f"thread {thread_id} was not over after {timeout_s} s; it goes on: ask again, or cancel it",
        thread_id=thread_id,
        timeout_s=timeout_s,
    )
