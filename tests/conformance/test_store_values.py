"""Large values, in both stores: there once, whole, and never taken for another one."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

import pytest
from redis.asyncio import Redis

from actors.errors import ValueMissing
from actors.ports import Store
from actors.stores import keys
from actors.stores.redis import RedisStore
from actors.stores.values import CHUNK_BYTES
from graphs.journal import CorruptRecord
from graphs.state.refs import ValueRef, ref_of

THREAD = "s1:0.3.1"
BLOB = random.Random(7).randbytes(2 * CHUNK_BYTES + 12_345)
REF = ref_of(BLOB)
KEY = keys.value("s1", REF.digest)


class Damage(Protocol):
    """Does harm to what a store keeps."""

    async def value(self, thread_id: str, ref: ValueRef) -> None:
        """Flip a byte of a value."""

    async def lose_value(self, thread_id: str, ref: ValueRef) -> None:
        """Take away a part of a value."""


async def test_what_is_put_is_got(store: Store) -> None:
    """Of one chunk, of several, and empty; from any thread of the session, and from no other session."""
    for blob in (BLOB, b"small", b"", BLOB[:CHUNK_BYTES]):
        ref = await store.values.put(THREAD, memoryview(blob))
        assert ref == ref_of(blob)
        assert bytes(await store.values.get("s1:0", ref)) == blob
    with pytest.raises(ValueMissing) as failure:
        await store.values.get("s2:0", REF)
    key = keys.value("s2", REF.digest)
    assert failure.value.fields == {"thread_id": "s2:0", "key": key, "digest": REF.digest}


async def test_the_same_value_at_the_same_time(store: Store) -> None:
    """Whoever puts it, and how often: it is there."""
    await asyncio.gather(*(store.values.put(THREAD, memoryview(BLOB)) for _ in range(3)))
    assert bytes(await store.values.get(THREAD, REF)) == BLOB


async def test_a_damaged_value(store: Store, damage: Damage) -> None:
    """The error names thread, key and digest."""
    await store.values.put(THREAD, memoryview(BLOB))
    await damage.value(THREAD, REF)
    with pytest.raises(CorruptRecord, match="the value is damaged") as failure:
        await store.values.get(THREAD, REF)
    assert failure.value.fields == {"thread_id": THREAD, "key": KEY, "seq": 0, "digest": REF.digest}


async def test_a_part_that_is_missing(store: Store, damage: Damage) -> None:
    """It is never taken for a shorter value."""
    await store.values.put(THREAD, memoryview(BLOB))
    await damage.lose_value(THREAD, REF)
    with pytest.raises(ValueMissing, match="is missing, which thread s1") as failure:
        await store.values.get(THREAD, REF)
    assert (failure.value.key, failure.value.digest) == (KEY, REF.digest)


@pytest.mark.integration
async def test_keys_of_a_value(redis_store: RedisStore, client: Redis) -> None:
    """Chunks of at most 4 MB, named in an index, which says first that there will be something and then how much."""
    await redis_store.values.put(THREAD, memoryview(BLOB))

    assert sorted(await client.keys("*")) == [KEY.encode(), keys.values("s1").encode()]
    sizes = [await client.hstrlen(KEY, str(number)) for number in range(await client.hlen(KEY))]
    assert sizes == [CHUNK_BYTES, CHUNK_BYTES, 12_345]
    assert await client.hgetall(keys.values("s1")) == {REF.digest.encode(): str(len(BLOB)).encode()}


@pytest.mark.integration
async def test_a_value_is_sent_once(redis_store: RedisStore, client: Redis) -> None:
    """What is there is not written again; what a crash has left unfinished is."""
    await redis_store.values.put(THREAD, memoryview(BLOB))
    await client.hset(KEY, "0", b"mark")
    await redis_store.values.put(THREAD, memoryview(BLOB))
    assert await client.hget(KEY, "0") == b"mark"

    await client.hset(keys.values("s1"), REF.digest, 0)
    await redis_store.values.put(THREAD, memoryview(BLOB))
    assert bytes(await redis_store.values.get(THREAD, REF)) == BLOB
