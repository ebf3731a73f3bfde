"""Reading what is stored: sessions, threads, their state, events and results. Needs the store alone, no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from actors.catalog import Catalog
from actors.ports import Head, LiveEvent, NodeRunning, Store, TokenChunk
from actors.protocol import TurnDone
from actors.replay import replay, turn_outcome
from actors.values import Values
from graphs.errors import BusinessRuleViolation, GreenroomError, NotFoundError
from graphs.journal import EntryKind, JournalEntry, PauseKind
from graphs.sessions import Session
from graphs.state.schema import StateSchema
from graphs.threads import MAIN, ThreadState, child_thread_id, path_of, session_of
from graphs.workflow.answers import answer_schema
from graphs.workflow.approvals import APPROVAL_SCHEMA
from runtime import events as facts
from runtime.results import StateDict, ThreadResult

PAST_TTL_S = 600.0
"""How long a past state that somebody has read is remembered."""


class Records:
    """Reads a store.

    Args:
        store: The store.
        catalog: The workflows in it.
    """

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self.store = store
        self.values = Values(store.values)
        self._catalog = catalog

    async def schema(self, ref: str) -> StateSchema:
        """State schema of a workflow. Raises `NotFoundError`."""
        return await self._catalog.schema(ref)

    async def encoded(self, thread_id: str, schema: StateSchema, write: Mapping[str, Any]) -> bytes:
        """The delta of a write to a thread, of which the large values are stored."""
        return (await self.values.of(thread_id, schema).spill(write))[1]

    async def loaded(self, thread_id: str, schema: StateSchema, state: Mapping[str, Any]) -> StateDict:
        """A state as drivers see it, with the large values in it. Raises `ValueMissing`, `CorruptRecord`."""
        return StateDict(await self.values.of(thread_id, schema).load(state))

    async def session(self, session_id: str) -> Session:
        """A session's record. Raises `NotFoundError`."""
        session = await self.store.sessions.find_by_id(session_id)
        if session is None:
            raise NotFoundError(
                f"no session {session_id!r}; `greenroom sessions ls` lists them", kind="session", key=session_id
            )
        return session

    async def thread(self, thread_id: str) -> Head:
        """A thread's record. Raises `NotFoundError`."""
        head = await self.store.journal.head(thread_id)
        if head is None:
            raise NotFoundError(
                f"no thread {thread_id!r}; `greenroom threads ls` lists them", kind="thread", key=thread_id
            )
        return head

    async def head(self, thread_id: str) -> Head | None:
        """A thread's record; None for the main thread of a session that has not begun. Raises `NotFoundError`."""
        head = await self.store.journal.head(thread_id)
        if head is None and not (
            path_of(thread_id) == MAIN and await self.store.sessions.find_by_id(session_of(thread_id))
        ):
            return await self.thread(thread_id)
        return head

    async def nodes(self, thread_id: str) -> list[str]:
        """Ids of the nodes of the graph a thread runs, as they stand there. Raises `NotFoundError`."""
        return list((await self._catalog.plan((await self.thread(thread_id)).thread.workflow)).nodes)

    async def answer_schema(self, thread_id: str) -> dict[str, Any]:
        """JSON schema of the answers that the question of a paused thread takes.

        Raises:
            BusinessRuleViolation: The thread asks nothing.
        """
        head = await self.thread(thread_id)
        pause = head.cursor.pause
        if pause is None or not pause.asks:
            raise BusinessRuleViolation(
                f"thread {thread_id} asks nothing: it is {head.cursor.status}", thread_id=thread_id
            )
        if pause.kind is PauseKind.APPROVAL:
            return APPROVAL_SCHEMA
        return answer_schema(await self._catalog.plan(head.thread.workflow), pause.node)

    async def state(self, thread_id: str, *, at: int | None = None) -> StateDict:
        """State of a thread after seq `at` (None: now). Raises `NotFoundError`, `CorruptRecord`."""
        head = await self.head(thread_id)
        if head is None and at:
            raise NotFoundError(f"thread {thread_id} has no seq {at}; it has not begun", kind="seq", key=at)
        if head is None:
            session = await self.session(session_of(thread_id))
            return StateDict((await self.schema(session.workflow_id)).initial())
        schema = await self.schema(head.thread.workflow)
        return await self.loaded(thread_id, schema, await self.replayed(head, schema, at))

    async def replayed(self, head: Head, schema: StateSchema, at: int | None) -> dict[str, Any]:
        """State of a thread after seq `at`. Past ones never change: they are remembered for some minutes."""
        if at is None:
            return (await replay(self.store.journal, head.thread, self.schema)).state
        # A session that was deleted may begin anew with the same id, at another time.
        key = f"state:{head.thread.id}@{at}:{head.thread.created_at!r}"
        known = await self.store.cache.get(key)
        if known is not None:
            return schema.decode_state(known)
        state = (await replay(self.store.journal, head.thread, self.schema, at=at)).state
        await self.store.cache.set(key, schema.encode_state(state), ttl_s=PAST_TTL_S)
        return state

    async def result(self, thread_id: str, turn: int) -> ThreadResult:
        """The result of a turn, waiting until it is over or paused for somebody."""
        head = await self.thread(thread_id)
        seq = head.seq
        while (done := await turn_outcome(self.store.journal, head.thread, turn, self.schema)) is None:
            seq = await self.news(thread_id, after=seq, at_rest=True)
        schema = await self.schema(head.thread.workflow)
        return await self.to_result(done, schema, schema.decode_state(done.state))

    async def news(self, thread_id: str, *, after: int, at_rest: bool = False) -> int:
        """Wait for an entry of a thread after seq `after`, one that leaves it at rest if so asked; returns its seq."""
        async with aclosing(self.store.journal.follow(thread_id, after=after)) as followed:
            async for record in followed:
                if not isinstance(record, JournalEntry):
                    continue
                if not (at_rest and record.cursor.status is ThreadState.RUNNING):
                    return record.seq
        raise AssertionError("unreachable: who follows is never told of an end")

    async def to_result(self, done: TurnDone, schema: StateSchema, state: Mapping[str, Any]) -> ThreadResult:
        """`done`, with the state that it stands for, as drivers see it."""
        return ThreadResult(
            thread_id=done.thread_id,
            turn=done.turn,
            status=done.status,
            state=await self.loaded(done.thread_id, schema, state),
            usage=done.usage,
            seq=done.seq,
            error=None if done.error is None else GreenroomError.from_info(done.error),
            pause=done.pause,
        )

    async def events(
        self, thread_id: str, *, turn: int, after: int = 0, children: bool = False
    ) -> AsyncGenerator[facts.Event, None]:
        """What happens in a thread after seq `after`, until turn `turn` is over.

        Args:
            thread_id: The thread.
            turn: The turn whose end ends the facts.
            after: Last seq that is already known.
            children: Also what happens in its parallel threads, theirs included, each in its own order, and all of it
                before they are joined.
        """
        watch = _Watch(self, children)
        watch.follow(thread_id, turn, after)
        try:
            while True:
                event = await watch.next()
                yield event
                if event.thread_id == thread_id and _is_last(event, turn):
                    return
        finally:
            await watch.close()

    async def past(self, thread_id: str, *, after: int = 0) -> list[facts.Event]:
        """What is recorded of a thread after seq `after`, all its turns, without waiting for more.

        Raises:
            NotFoundError: No such thread.
            CorruptRecord: An entry cannot be read.
        """
        schema = await self.schema((await self.thread(thread_id)).thread.workflow)
        entries = await self.store.journal.read(thread_id, after=after)
        return [event for entry in entries for event in _events(thread_id, entry, schema)]

    def _follow(self, thread_id: str, after: int) -> AsyncGenerator[JournalEntry | LiveEvent, None]:
        return self.store.journal.follow(thread_id, after=after)


class _Watch:
    """Follows threads, and puts what happens in them in one order."""

    def __init__(self, records: Records, children: bool) -> None:
        self._records = records
        self._children = children
        # Bounded: a slow reader holds up the followers, which only read.
        self._events: asyncio.Queue[facts.Event | Exception] = asyncio.Queue(1_000)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, thread_id: str, turn: int, after: int) -> None:
        """Watch one more thread."""
        self._tasks[thread_id] = asyncio.create_task(self._collect(thread_id, turn, after), name=f"watch {thread_id}")

    async def next(self) -> facts.Event:
        """The next event. Raises what went wrong in following."""
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _collect(self, thread_id: str, turn: int, after: int) -> None:
        try:
            async with aclosing(self._records.store.journal.follow(thread_id, after=after)) as followed:
                schema: StateSchema | None = None
                open_branches: tuple[str, ...] = ()
                async for record in followed:
                    if schema is None:
                        schema = await self._records.schema((await self._records.thread(thread_id)).thread.workflow)
                    if isinstance(record, JournalEntry) and not _waits(record):
                        await self._settle(open_branches)
                        open_branches = ()
                    for event in _events(thread_id, record, schema):
                        await self._events.put(event)
                        if isinstance(event, facts.BranchesStarted) and self._children:
                            open_branches = event.threads
                            for child in event.threads:
                                self.follow(child, 1, 0)
                    if isinstance(record, JournalEntry) and _ends(record, turn):
                        return
        except Exception as error:  # noqa: BLE001 - handed to the reader
            await self._events.put(error)

    async def _settle(self, branches: tuple[str, ...]) -> None:
        """Let everything be told that has happened in branches, which are over if they have ever begun."""
        for thread_id in branches:
            task = self._tasks.pop(thread_id)
            head = await self._records.store.journal.head(thread_id)
            if head is None or not head.cursor.status.finished:
                task.cancel()
            await asyncio.wait([task])


def _waits(entry: JournalEntry) -> bool:
    """Whether the thread is still where it was: at a fork it has opened before."""
    fork = entry.cursor.fork
    return fork is not None and fork.seq != entry.seq


def _ends(entry: JournalEntry, turn: int) -> bool:
    return entry.cursor.status.finished and entry.cursor.turn >= turn


def _is_last(event: facts.Event, turn: int) -> bool:
    if not isinstance(event, facts.ThreadFinished | facts.Branched | facts.Restored):
        return False
    return event.status.finished and event.turn >= turn


def _events(thread_id: str, record: JournalEntry | LiveEvent, schema: StateSchema) -> Iterator[facts.Event]:
    base: dict[str, Any] = {"thread_id": thread_id, "seq": record.seq, "at": record.at}
    match record:
        case NodeRunning():
            yield facts.NodeStarted(**base, node=record.node, attempt=record.attempt, by=record.by)
        case TokenChunk():
            yield facts.Token(**base, node=record.node, text=record.text)
        case JournalEntry():
            yield from _entry_events(base, thread_id, record, schema)


def _entry_events(
    base: dict[str, Any], thread_id: str, entry: JournalEntry, schema: StateSchema
) -> Iterator[facts.Event]:
    match entry.kind:
        case EntryKind.TURN_STARTED:
            yield facts.TurnStarted(**base, turn=entry.cursor.turn)
        case EntryKind.STEP_FINISHED:
            yield facts.NodeFinished(
                **base,
                node=entry.node or "",
                delta=_delta(entry, schema),
                attempt=entry.attempt,
                started_at=entry.started_at or entry.at,
                by=entry.by,
                usage=entry.usage,
            )
        case EntryKind.STEP_FAILED:
            assert entry.error is not None
            error = GreenroomError.from_info(entry.error)
            yield facts.NodeFailed(**base, node=entry.node or "", error=error, attempt=entry.attempt, by=entry.by)
        case EntryKind.JOINED:
            delta = _delta(entry, schema)
            yield facts.BranchesJoined(**base, node=entry.node or "", delta=delta, usage=entry.usage)
        case EntryKind.PAUSED:
            assert entry.cursor.pause is not None
            yield facts.Paused(**base, pause=entry.cursor.pause)
        case EntryKind.RESUMED:
            refusal = None if entry.error is None else GreenroomError.from_info(entry.error)
            yield facts.Resumed(**base, node=entry.node or "", delta=_delta(entry, schema), refusal=refusal)
        case EntryKind.BRANCHED | EntryKind.RESTORED:
            yield _return(base, entry, schema)
        case EntryKind.TURN_FINISHED:
            yield facts.ThreadFinished(
                **base,
                turn=entry.cursor.turn,
                status=entry.cursor.status,
                usage=entry.usage,
                error=None if entry.error is None else GreenroomError.from_info(entry.error),
            )
    fork = entry.cursor.fork
    if fork is not None and fork.seq == entry.seq:
        children = tuple(child_thread_id(thread_id, fork.seq, index) for index in range(fork.size))
        yield facts.BranchesStarted(**base, node=fork.node, threads=children)


def _return(base: dict[str, Any], entry: JournalEntry, schema: StateSchema) -> facts.Branched | facts.Restored:
    """The event of an entry that goes back."""
    assert entry.origin is not None
    at: dict[str, Any] = {"turn": entry.cursor.turn, "status": entry.cursor.status, "delta": _delta(entry, schema)}
    if entry.kind is EntryKind.RESTORED:
        return facts.Restored(**base, **at, origin=entry.origin)
    return facts.Branched(**base, **at, base=entry.origin)


def _delta(entry: JournalEntry, schema: StateSchema) -> dict[str, Any]:
    """What an entry wrote; where several writes cannot be made one, the last write of each channel."""
    merged: dict[str, Any] = {}
    for write in schema.combine([schema.decode_delta(delta) for delta in entry.deltas]):
        merged.update(write)
    return merged
