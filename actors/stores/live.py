"""Live events in Redis: one bounded stream per thread that expires by itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from redis.exceptions import RedisError

from actors.ports import NodeRunning, TokenChunk
from actors.stores import keys
from actors.stores.faults import is_transient, unavailable
from actors.stores.link import RedisLink
from actors.stores.records import EVENTS

_log = logging.getLogger(__name__)

MAX_ITEMS = 1_000
"""Calls of `publish` kept per thread."""
TTL_S = 600


class RedisLiveFeed:
    """Where running steps publish (port `LiveFeed`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def publish(self, thread_id: str, events: Sequence[NodeRunning | TokenChunk]) -> None:
        """Publish `events` in order, all or none; they are lost, with a warning, while the store is away."""
        if not events:
            return
        key = keys.live(thread_id)
        try:
            await self._link.once(partial(self._add, key, EVENTS.encode(list(events))))
        except RedisError as error:
            # One attempt: a second could show the same tokens twice.
            if not is_transient(error):
                raise unavailable(error, self._link.server) from error
            _log.warning("lost %d live events of %s: %s", len(events), thread_id, error)

    async def _add(self, key: str, blob: bytes) -> None:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            pipeline.xadd(key, {b"e": blob}, maxlen=MAX_ITEMS)
            pipeline.expire(key, TTL_S)
            await pipeline.execute()
