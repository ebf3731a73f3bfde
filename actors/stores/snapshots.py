"""Snapshots that somebody has named: in Redis one hash of them for each session; and in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.stores import keys
from actors.stores.link import RedisLink
from actors.stores.records import SNAPSHOT
from graphs.journal import CorruptRecord
from graphs.state.snapshots import StateSnapshot
from graphs.threads import main_thread_id, session_of


class RedisSnapshots:
    """Named snapshots (port `SnapshotRepository`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def save(self, snapshot: StateSnapshot) -> None:
        """Create or replace."""
        session_id = session_of(snapshot.state_id)
        blob = SNAPSHOT.encode(snapshot)
        # The index first: it may name a session without any, but forgets none.
        await self._link.run(lambda: self._link.client.sadd(keys.SNAPSHOT_SESSIONS, session_id))
        await self._link.run(lambda: self._link.client.hset(keys.named_snapshots(session_id), snapshot.id, blob))

    async def get(self, session_id: str, snapshot_id: str) -> StateSnapshot | None:
        """The snapshot, if there is one. Raises `CorruptRecord`."""
        key = keys.named_snapshots(session_id)
        blob = await self._link.run(lambda: self._link.client.hget(key, snapshot_id))
        return None if blob is None else _open(session_id, snapshot_id, blob)

    async def list(self, session_id: str, *, thread_id: str | None = None) -> list[StateSnapshot]:
        """Those of a session, or of one of its threads, oldest first. Raises `CorruptRecord`."""
        key = keys.named_snapshots(session_id)
        found = await self._link.run(lambda: self._link.client.hgetall(key))
        return _ordered((_open(session_id, field.decode(), blob) for field, blob in found.items()), thread_id)

    async def delete(self, session_id: str, snapshot_id: str) -> None:
        """Remove it, if it is there. What it points to stays."""
        key = keys.named_snapshots(session_id)
        await self._link.run(lambda: self._link.client.hdel(key, snapshot_id))

    async def sessions(self) -> Sequence[str]:
        """Ids of sessions that have had any."""
        found = await self._link.run(lambda: self._link.client.smembers(keys.SNAPSHOT_SESSIONS))
        return sorted(member.decode() for member in found)


class MemorySnapshots:
    """Named snapshots in a dict (port `SnapshotRepository`)."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, bytes]] = {}
        """Session id -> id -> sealed snapshot."""

    async def save(self, snapshot: StateSnapshot) -> None:
        """Create or replace."""
        self.records.setdefault(session_of(snapshot.state_id), {})[snapshot.id] = SNAPSHOT.encode(snapshot)

    async def get(self, session_id: str, snapshot_id: str) -> StateSnapshot | None:
        """The snapshot, if there is one. Raises `CorruptRecord`."""
        blob = self.records.get(session_id, {}).get(snapshot_id)
        return None if blob is None else _open(session_id, snapshot_id, blob)

    async def list(self, session_id: str, *, thread_id: str | None = None) -> list[StateSnapshot]:
        """Those of a session, or of one of its threads, oldest first. Raises `CorruptRecord`."""
        found = self.records.get(session_id, {}).items()
        return _ordered((_open(session_id, snapshot_id, blob) for snapshot_id, blob in found), thread_id)

    async def delete(self, session_id: str, snapshot_id: str) -> None:
        """Remove it, if it is there. What it points to stays."""
        self.records.get(session_id, {}).pop(snapshot_id, None)

    async def sessions(self) -> Sequence[str]:
        """Ids of sessions that have had any."""
        return sorted(self.records)


def _open(session_id: str, snapshot_id: str, blob: bytes) -> StateSnapshot:
    key = keys.named_snapshots(session_id)
    try:
        return SNAPSHOT.decode(blob, key=key, thread_id=main_thread_id(session_id))
    except CorruptRecord as error:
        raise CorruptRecord(f"{error.message} (snapshot {snapshot_id})", **error.fields) from error


def _ordered(snapshots: Iterable[StateSnapshot], thread_id: str | None) -> list[StateSnapshot]:
    wanted = (each for each in snapshots if thread_id is None or thread_id in each.snapshot_data)
    return sorted(wanted, key=lambda each: (each.created_at, each.id))
