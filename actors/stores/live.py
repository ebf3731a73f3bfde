"""Live events in Redis: one bounded stream per thread that expires by itself."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Sequence

from actors.errors import StoreUnavailable
from actors.ports import NodeRunning, TokenChunk
from actors.stores import keys
from actors.stores.records import EVENTS
from actors.stores.writer import ScriptWriter

_log = logging.getLogger(__name__)

MAX_ITEMS = 1_000
"""About how many calls of `publish` are kept per thread."""
TTL_S = 600


class RedisLiveFeed:
    """Where running steps publish (port `LiveFeed`)."""

    def __init__(self, writer: ScriptWriter) -> None:
        self._writer = writer
        self._name = secrets.token_hex(4)
        self._calls_count = itertools.count()

    async def publish(self, thread_id: str, events: Sequence[NodeRunning | TokenChunk]) -> None:
        """Publish `events` in order, all or none; they are lost, with a warning, if the store is away for long."""
        if not events:
            return
        args = f"{self._name}{next(self._calls_count)}", EVENTS.encode(list(events)), MAX_ITEMS, TTL_S
        try:
            await self._writer.script("tell", [keys.live(thread_id)], args)
        except StoreUnavailable as error:
            _log.warning("lost %d live events of %s: %s", len(events), thread_id, error)
