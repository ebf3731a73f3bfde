"""What every store lets pass of requests and tokens, and whom first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.ports import RateLimits, Store
from actors.stores import limits as limits_module
from actors.stores.limits import MemoryLimits


async def take(
    limits: RateLimits,
    ticket: str,
    *,
    rpm: int | None = None,
    tpm: int | None = None,
    tokens: int = 0,
    rank: int = 1,
    name: str = "m",
) -> float | None:
    return await limits.take(name, ticket, requests_per_minute=rpm, tokens_per_minute=tpm, tokens=tokens, rank=rank)


async def until_taken(limits: RateLimits, *tickets: tuple[str, int], **options: Any) -> list[str]:
    """Ask for all of these (ticket, rank) in turn; the order in which they get what they want."""
    order: list[str] = []
    async with asyncio.timeout(10):
        while len(order) < len(tickets):
            for ticket, rank in tickets:
                if ticket not in order and await take(limits, ticket, rank=rank, **options) == 0:
                    order.append(ticket)
            await asyncio.sleep(0.005)
    return order


async def test_a_minute_s_worth_is_there_at_once_and_then_one_after_the_other(store: Store):
    taken = [await take(store.limits, str(number), rpm=15) for number in range(17)]

    assert taken[:15] == [0] * 15
    assert taken[15] is not None
    assert 2.0 < taken[15] <= 4.0
    assert taken[16] is not None
    assert 2.0 < taken[16] <= 4.0  # half of eight seconds: somebody ahead may give up


async def test_tokens_count_as_requests_do(store: Store):
    first = await take(store.limits, "a", rpm=1_000, tpm=150, tokens=140)
    second = await take(store.limits, "b", rpm=1_000, tpm=150, tokens=20)

    assert first == 0
    assert second is not None
    assert 2.0 < second <= 4.0


async def test_who_wants_more_than_a_minute_s_worth_gets_it_when_all_is_there(store: Store):
    assert await take(store.limits, "a", tpm=600, tokens=5_000) == 0
    wait_s = await take(store.limits, "b", tpm=600, tokens=5_000)
    assert wait_s == 5.0  # at most: it is asked again


async def test_what_was_used_less_is_given_back_and_what_was_used_more_is_owed(store: Store):
    assert await take(store.limits, "a", tpm=600, tokens=600) == 0
    await store.limits.correct("m", -500)
    assert await take(store.limits, "b", tpm=600, tokens=450) == 0
    await store.limits.correct("m", 600)
    wait_s = await take(store.limits, "c", tpm=600, tokens=1)
    assert wait_s == 5.0


async def test_models_do_not_share(store: Store):
    assert await take(store.limits, "a", rpm=1) == 0
    assert await take(store.limits, "b", rpm=1) != 0
    assert await take(store.limits, "b", rpm=1, name="other") == 0
    assert await take(store.limits, "c", name="free") == 0


async def test_a_higher_rank_comes_first_and_the_others_in_their_order(store: Store):
    rate = 60
    await store.limits.take("m", "all", requests_per_minute=None, tokens_per_minute=rate, tokens=rate, rank=1)
    tickets = [("first", 1), ("second", 1), ("urgent", 3), ("third", 1)]
    waits = [await take(store.limits, ticket, tpm=rate, tokens=1, rank=rank) for ticket, rank in tickets]
    assert 0 not in waits

    order = await until_taken(store.limits, *tickets, tpm=rate, tokens=1)

    assert order == ["urgent", "first", "second", "third"]


async def test_who_leaves_or_does_not_ask_again_stands_in_nobody_s_way(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits_module, "KEPT_S", 0.05)
    rate = 6_000
    await store.limits.take("m", "all", requests_per_minute=None, tokens_per_minute=rate, tokens=rate, rank=1)
    await take(store.limits, "leaves", tpm=rate, tokens=10, rank=3)
    await take(store.limits, "dies", tpm=rate, tokens=10, rank=2)
    await store.limits.leave("m", "leaves")
    await store.limits.leave("m", "nobody")
    await store.limits.leave("other", "nobody")

    assert await until_taken(store.limits, ("waits", 1), tpm=rate, tokens=10) == ["waits"]


async def test_so_many_may_wait(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits_module, "MAX_WAITING", 2)
    await take(store.limits, "all", rpm=1)

    waits = [await take(store.limits, ticket, rpm=1) for ticket in ("a", "b", "c", "a")]

    assert waits[2] is None
    assert None not in (waits[0], waits[1], waits[3])


async def test_two_stores_share_what_there_is(request: pytest.FixtureRequest, store: Store):
    if isinstance(store.limits, MemoryLimits):
        other: RateLimits = store.limits  # one process, one memory
    else:
        from actors.stores.redis import RedisStore

        connected = await RedisStore.connect(request.getfixturevalue("valkey").connection_url)
        other = connected.limits
    assert await take(store.limits, "a", rpm=2) == 0
    assert await take(other, "b", rpm=2) == 0
    assert await take(store.limits, "c", rpm=2) != 0
    assert await take(other, "d", rpm=2) != 0
    if not isinstance(store.limits, MemoryLimits):
        await connected.close()


async def test_nobody_ever_gets_more_than_there_is() -> None:
    now = 0.0
    limits = MemoryLimits(lambda: now)
    taken: list[float] = []
    for step in range(4_000):
        now = step * 0.05
        if await take(limits, str(len(taken)), rpm=30) == 0:
            taken.append(now)

    assert len(taken) == 30 + 99  # a full minute's worth, and what came in until just before the 200 s
    assert all(sum(start <= at < start + 60 for at in taken) <= 60 for start in taken)
