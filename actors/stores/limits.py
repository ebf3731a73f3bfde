"""Limits that all processes share: how many requests and tokens a model may be sent in a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from actors.stores import keys
from actors.stores.link import RedisLink

MAX_WAITING = 1_000
"""Tickets that may wait for one model."""
KEPT_S = 2.0
"""How long the place of a ticket is kept beyond the time at which it is to ask again."""
_LEAST_S = 0.01
_MOST_S = 5.0


class RedisLimits:
    """Limits in Redis (port `RateLimits`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._take = link.script("take")

    async def take(
        self,
        name: str,
        ticket: str,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        tokens: int,
        rank: int,
    ) -> float | None:
        """See `RateLimits`. An answer that was lost is asked for again, which may take twice."""
        rates = ("" if rate is None else rate for rate in (requests_per_minute, tokens_per_minute))
        args = [ticket, rank, *rates, tokens, MAX_WAITING, round(KEPT_S * 1_000)]
        wait_ms = int(await self._link.run(lambda: self._take(keys=keys.limits(name), args=args)))
        return None if wait_ms < 0 else wait_ms / 1_000

    async def leave(self, name: str, ticket: str) -> None:
        """Give up the place of a ticket."""
        for key in keys.limits(name)[1:]:
            await self._link.run(lambda key=key: self._link.client.zrem(key, ticket))  # type: ignore[misc]

    async def correct(self, name: str, tokens: int) -> None:
        """Take so many tokens more, or give them back."""
        key = keys.limits(name)[0]
        await self._link.run(lambda: self._link.client.hincrbyfloat(key, "tokens", -tokens))


@dataclass(slots=True)
class _Bucket:
    """The buckets of one model, and who waits."""

    levels: dict[str, float] = field(default_factory=dict)
    """`requests` and `tokens` -> how many there are."""
    at: float = 0.0
    arrivals: int = 0
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Ticket -> (minus its rank, when it has come)."""
    leases: dict[str, float] = field(default_factory=dict)
    """Ticket -> when it loses its place."""

    def forget(self, ticket: str) -> None:
        self.places.pop(ticket, None)
        self.leases.pop(ticket, None)


class MemoryLimits:
    """Limits in memory (port `RateLimits`).

    Args:
        now: Seconds, by a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets: dict[str, _Bucket] = {}

    async def take(
        self,
        name: str,
        ticket: str,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        tokens: int,
        rank: int,
    ) -> float | None:
        """See `RateLimits`; decides as `take.lua` does."""
        now = self._now()
        bucket = self._buckets.setdefault(name, _Bucket(at=now))
        for gone in [each for each, until in bucket.leases.items() if until <= now]:
            bucket.forget(gone)
        need_s = turn_s = 0.0
        wanted: dict[str, float] = {}
        for kind, rate, most in (("requests", requests_per_minute, 1), ("tokens", tokens_per_minute, tokens)):
            if rate is not None:
                wanted[kind] = min(most, rate)
                level = min(rate, bucket.levels.get(kind, rate) + rate * (now - bucket.at) / 60)
                bucket.levels[kind] = level
                need_s = max(need_s, (wanted[kind] - level) * 60 / rate)
                turn_s = max(turn_s, wanted[kind] * 60 / rate)
        bucket.at = now
        place = bucket.places.get(ticket, (-rank, bucket.arrivals + 1))
        ahead = sum(other < place for other in bucket.places.values())
        if not ahead and need_s <= 0:
            bucket.forget(ticket)
            for kind, amount in wanted.items():
                bucket.levels[kind] -= amount
            return 0.0
        if ticket not in bucket.places:
            if len(bucket.places) >= MAX_WAITING:
                return None
            bucket.arrivals += 1
            bucket.places[ticket] = place
        wait_s = (max(0.0, need_s) + ahead * turn_s) / 2 if ahead else need_s
        wait_s = math.ceil(min(_MOST_S, max(_LEAST_S, wait_s)) * 1_000) / 1_000
        bucket.leases[ticket] = now + wait_s + KEPT_S
        return wait_s

    async def leave(self, name: str, ticket: str) -> None:
        """Give up the place of a ticket."""
        if name in self._buckets:
            self._buckets[name].forget(ticket)

    async def correct(self, name: str, tokens: int) -> None:
        """Take so many tokens more, or give them back."""
        levels = self._buckets[name].levels if name in self._buckets else {}
        if "tokens" in levels:
            levels["tokens"] -= tokens
