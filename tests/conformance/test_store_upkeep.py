"""What every store does to tell how large sessions are, which are idle, and to get rid of them."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from actors.ports import Store, TokenChunk
from actors.stores import keys
from actors.stores.redis import RedisStore
from graphs.errors import BusinessRuleViolation
from graphs.journal import Cursor, EntryKind, JournalEntry, Pause, PauseKind, Snapshot
from graphs.sessions import InteractionType, Session, UserInteraction
from graphs.state.snapshots import StateSnapshot
from graphs.threads import Thread, ThreadState, ThreadType

KINDS = {"journal", "snapshots", "values", "live", "records"}


async def accept(store: Store, session_id: str, *, at: float, interaction_id: str = "i") -> None:
    interaction = UserInteraction(
        interaction_id=interaction_id,
        session_id=session_id,
        interaction_type=InteractionType.USER_REQUEST,
        content=b"input",
        timestamp=at,
    )
    session = Session(id=session_id, user_id="u", workflow_id="w@1", created_at=1.0)
    await store.sessions.accept(session, interaction, host="h")


async def append(store: Store, thread_id: str, kind: EntryKind, cursor: Cursor, *, at: float) -> None:
    session_id = thread_id.rpartition(":")[0]
    made = Thread(id=thread_id, session_id=session_id, thread_type=ThreadType.MAIN, workflow="w@1", updated_at=1.0)
    head = await store.journal.activate(thread_id, "h", create=made)
    entry = JournalEntry(seq=head.seq + 1, kind=kind, cursor=cursor, at=at, deltas=(b"delta",))
    await store.journal.append(thread_id, head.epoch, [entry], op_id=f"op{entry.seq}")


async def turn(store: Store, session_id: str, *, at: float, status: ThreadState = ThreadState.COMPLETED) -> None:
    """A whole turn, or one that is left at `status`."""
    await accept(store, session_id, at=at)
    main = f"{session_id}:0"
    await append(store, main, EntryKind.TURN_STARTED, Cursor(turn=1, status=ThreadState.RUNNING), at=at)
    if status is ThreadState.PAUSED:
        pause = Pause(kind=PauseKind.TIMER, until=500.0)
        await append(store, main, EntryKind.PAUSED, Cursor(turn=1, status=status, pause=pause), at=at)
    elif status.finished:
        await append(store, main, EntryKind.TURN_FINISHED, Cursor(turn=1, status=status), at=at)


async def furnish(store: Store, session_id: str) -> None:
    """A session with something of every kind."""
    await turn(store, session_id, at=10.0)
    main = f"{session_id}:0"
    for path in ("0.1.0", "0~1-x", "0~1-x.2.0"):
        done = Cursor(turn=1, status=ThreadState.COMPLETED)
        await append(store, f"{session_id}:{path}", EntryKind.TURN_FINISHED, done, at=10.0)
    await store.journal.keep_snapshot(main, Snapshot(seq=1, cursor=Cursor(), state=b"state" * 50, created_at=1.0))
    await store.live.publish(main, [TokenChunk(seq=1, node="n", at=1.0, text="x")])
    await store.values.put(main, memoryview(b"value" * 100))
    await store.snapshots.save(StateSnapshot(id="x", state_id=main, seq=1, created_at=1.0))


class TestSize:
    async def test_by_kind(self, store: Store):
        await furnish(store, "s")
        await turn(store, "t", at=1.0)
        sizes = await store.upkeep.size("s")

        assert set(sizes) == KINDS
        assert all(size_bytes > 0 for size_bytes in sizes.values())
        assert sizes["values"] >= 500
        assert (await store.upkeep.size("t"))["values"] == 0

    async def test_of_what_is_not_there(self, store: Store):
        assert await store.upkeep.size("nobody") == dict.fromkeys(KINDS, 0)


class TestIdle:
    async def test_the_longest_idle_first(self, store: Store):
        for session_id, at in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
            await turn(store, session_id, at=at)
        await store.sessions.create(Session(id="d", user_id="u", workflow_id="w@1", created_at=5.0))

        assert await store.upkeep.idle(25.0) == [("d", 5.0), ("b", 10.0), ("c", 20.0)]
        assert await store.upkeep.idle(20.0, skip=1, limit=1) == [("b", 10.0)]
        assert await store.upkeep.idle(5.0) == []

    async def test_what_begins_and_what_ends_in_it_counts(self, store: Store):
        await turn(store, "a", at=10.0)
        await accept(store, "a", at=15.0, interaction_id="j")
        accepted = await store.upkeep.idle(100.0)
        second = Cursor(turn=2, status=ThreadState.RUNNING)
        await append(store, "a:0", EntryKind.TURN_STARTED, second, at=15.0)
        await append(store, "a:0", EntryKind.STEP_FINISHED, second, at=16.0)
        await append(store, "a:0", EntryKind.TURN_FINISHED, Cursor(turn=2, status=ThreadState.FAILED), at=17.0)

        assert accepted == [("a", 15.0)]
        assert await store.upkeep.idle(100.0) == [("a", 17.0)]

    @pytest.mark.integration
    async def test_sessions_from_before_there_was_an_index(self, redis_store: RedisStore, client: Redis):
        await turn(redis_store, "a", at=10.0)
        await redis_store.sessions.create(Session(id="b", user_id="u", workflow_id="w@1", created_at=5.0))
        await client.delete(keys.ACTIVE)
        await turn(redis_store, "c", at=20.0)

        assert await redis_store.upkeep.idle(100.0) == [("b", 5.0), ("a", 10.0), ("c", 20.0)]


class TestPrune:
    async def test_nothing_is_left(self, store: Store):
        await furnish(store, "s")
        await turn(store, "t", at=1.0)
        pruned = await store.upkeep.prune("s")

        assert pruned
        assert await store.sessions.find_by_id("s") is None
        assert [session.id for session in await store.sessions.list()] == ["t"]
        assert [session.id for session in await store.sessions.list(user_id="u")] == ["t"]
        assert await store.journal.threads("s") == []
        assert await store.journal.read("s:0") == []
        assert await store.journal.snapshot("s:0") is None
        assert await store.snapshots.list("s") == []
        assert await store.sessions.interaction("s", 1) is None
        assert await store.upkeep.size("s") == dict.fromkeys(KINDS, 0)
        assert await store.upkeep.idle(100.0) == [("t", 1.0)]

    @pytest.mark.integration
    async def test_no_key_is_left(self, redis_store: RedisStore, client: Redis):
        await furnish(redis_store, "s}:{x")
        before = await client.keys()
        assert await redis_store.upkeep.prune("s}:{x")

        assert len(before) >= 20
        assert {key.decode().rpartition(":0:w")[0] or key.decode() for key in await client.keys()} == {
            "gr:history:day",
            "gr:history:hour",
            "gr:history:users",
            "gr:history:days:w",
            "gr:history:series",
            "gr:history:s:1",
            "gr:history:last",
        }
        assert await client.xlen("gr:history:s:1") == 0

    async def test_it_may_begin_anew(self, store: Store):
        await turn(store, "s", at=1.0)
        await store.upkeep.prune("s")
        await turn(store, "s", at=2.0)

        head = await store.journal.head("s:0")
        assert head is not None
        assert (head.seq, head.cursor.turn) == (2, 1)

    @pytest.mark.parametrize("status", [ThreadState.RUNNING, ThreadState.PAUSED])
    async def test_what_is_not_at_rest_is_left_alone_unless_forced(self, store: Store, status: ThreadState):
        await turn(store, "s", at=1.0, status=status)
        with pytest.raises(BusinessRuleViolation, match=f"thread s:0 is {status}; wait for it") as caught:
            await store.upkeep.prune("s")
        before = await store.journal.threads("s")
        forced = await store.upkeep.prune("s", force=True)

        assert caught.value.fields == {"thread_id": "s:0", "status": status}
        assert len(before) == 1
        assert forced
        assert await store.journal.threads("s") == []
        assert await store.journal.open_threads() == {}
        assert await store.journal.timers() == []

    async def test_an_interaction_that_waits_and_a_branch_that_runs_count(self, store: Store):
        await accept(store, "s", at=1.0)
        await turn(store, "t", at=1.0)
        await append(store, "t:0~1-x", EntryKind.BRANCHED, Cursor(turn=1, status=ThreadState.RUNNING), at=2.0)
        for session_id, thread_id in (("s", "s:0"), ("t", "t:0~1-x")):
            with pytest.raises(BusinessRuleViolation, match=f"thread {thread_id} is running"):
                await store.upkeep.prune(session_id)

    async def test_one_that_was_used_meanwhile_stays(self, store: Store):
        await turn(store, "s", at=10.0)

        assert [await store.upkeep.prune("s", idle_since=at) for at in (9.0, 10.0, 10.5)] == [False, False, True]

    async def test_one_that_is_not_there(self, store: Store):
        assert await store.upkeep.prune("nobody")
