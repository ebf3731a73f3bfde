"""What is deleted by itself."""

from __future__ import annotations

import asyncio

from actors.clock import SystemClock
from actors.retention import SWEEP_EVERY_S, Retention, surplus
from actors.settings import RetentionSettings
from actors.stores.memory import MemoryStore
from graphs.sessions import InteractionType, Session, UserInteraction
from graphs.state.snapshots import KEEP, SnapshotMetadata, StateSnapshot

DAY_S = 86_400.0


class Clock(SystemClock):
    """Time that stands still until a test lets a sleep end."""

    def __init__(self, now: float) -> None:
        self.at = now
        self.asleep = asyncio.Semaphore(0)
        """Free once for each sleep that has begun."""
        self.wake = asyncio.Semaphore(0)

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.asleep.release()
        await self.wake.acquire()
        self.at += seconds


def snapshot(number: int, *, state_id: str = "s:0", expires_at: float | None = None, tags=()) -> StateSnapshot:
    metadata = SnapshotMetadata(tags=tags)
    return StateSnapshot(
        id=f"n{number}", state_id=state_id, seq=1, created_at=float(number), expires_at=expires_at, metadata=metadata
    )


async def session(store: MemoryStore, session_id: str, at: float) -> None:
    await store.sessions.create(Session(id=session_id, user_id="u", workflow_id="w@1", created_at=at))


async def left(store: MemoryStore) -> set[str]:
    return {each.id for each in await store.sessions.list()}


def test_the_newest_snapshots_of_each_thread_stay_and_those_to_be_kept():
    of_main = [snapshot(number) for number in range(5)]
    kept = [snapshot(number, tags=(KEEP,)) for number in (5, 6)]
    of_branch = [snapshot(number, state_id="s:0~1-x") for number in (7, 8)]
    expired = [snapshot(9, tags=(KEEP,), expires_at=50.0)]
    later = [snapshot(10, tags=(KEEP,), expires_at=50.1)]
    every = [*of_main, *kept, *of_branch, *expired, *later]

    assert surplus(every, 50.0, 2) == [*expired, *reversed(of_main[:3])]
    assert surplus(every, 50.0, None) == expired
    assert surplus([], 50.0, 2) == []


async def test_idle_sessions_go_and_those_that_wait_stay():
    store, clock = MemoryStore(), Clock(100 * DAY_S)
    for number in range(250):
        await session(store, f"old{number}", 10.0 + number)
    await session(store, "new", 71 * DAY_S)
    interaction = UserInteraction(
        interaction_id="i", session_id="waits", interaction_type=InteractionType.USER_REQUEST, timestamp=9.0
    )
    waits = Session(id="waits", user_id="u", workflow_id="w@1", created_at=9.0)
    await store.sessions.accept(waits, interaction, host="h")

    await Retention(store, RetentionSettings(), clock).sweep()

    assert await left(store) == {"new", "waits"}


async def test_rules_can_be_turned_off():
    store = MemoryStore()
    await session(store, "old", 1.0)
    for number in range(30):
        await store.snapshots.save(snapshot(number, state_id="old:0"))
    settings = RetentionSettings(sessions_idle_s=None, snapshots_per_thread=None)
    await Retention(store, settings, Clock(100 * DAY_S)).sweep()

    assert await left(store) == {"old"}
    assert len(await store.snapshots.list("old")) == 30


async def test_it_works_at_once_and_every_hour():
    store, clock = MemoryStore(), Clock(31 * DAY_S)
    await session(store, "old", 1.0)
    await session(store, "soon", DAY_S + SWEEP_EVERY_S / 2)
    retention = Retention(store, RetentionSettings(), clock)
    retention.start()
    await asyncio.wait_for(clock.asleep.acquire(), 10)
    first = await left(store)
    clock.wake.release()
    await asyncio.wait_for(clock.asleep.acquire(), 10)
    second = await left(store)
    await retention.close()

    assert first == {"soon"}
    assert second == set()


async def test_damaged_snapshots_do_not_keep_it_from_the_others():
    store = MemoryStore()
    for session_id in ("a", "b"):
        await store.snapshots.save(snapshot(1, state_id=f"{session_id}:0", expires_at=2.0))
    store.snapshots.records["a"]["n1"] = b"damaged"
    await Retention(store, RetentionSettings(), Clock(3.0)).sweep()

    assert store.snapshots.records == {"a": {"n1": b"damaged"}, "b": {}}
