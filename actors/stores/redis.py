"""The store in Redis or Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.ports import ValueRepository
from actors.stores import keys
from actors.stores.cache import RedisCacheAdapter
from actors.stores.history import History
from actors.stores.journal import RedisJournal
from actors.stores.limits import RedisLimits
from actors.stores.link import RedisLink
from actors.stores.live import RedisLiveFeed
from actors.stores.redis_history import RedisRows
from actors.stores.sessions import RedisSessions
from actors.stores.shared import SharedValues
from actors.stores.snapshots import RedisSnapshots
from actors.stores.upkeep import RedisUpkeep
from actors.stores.values import RedisValues
from actors.stores.workflows import RedisWorkflows
from actors.stores.writer import ScriptWriter


class RedisStore:
    """All repositories over one server (port `Store`). Made by `connect`; belongs to one event loop."""

    def __init__(self, link: RedisLink, shared: Path | None = None) -> None:
        self._link = link
        self._writer = ScriptWriter(link)
        self.journal = RedisJournal(link, self._writer)
        self.live = RedisLiveFeed(self._writer)
        self.sessions = RedisSessions(link, self._writer)
        values = RedisValues(link)
        self.values: ValueRepository = values if shared is None else SharedValues(values, link.server, shared)
        self.snapshots = RedisSnapshots(link)
        self.upkeep = RedisUpkeep(link)
        self.cache = RedisCacheAdapter(link)
        self.workflows = RedisWorkflows(link, self._writer)
        self.history = History(RedisRows(link))
        self.limits = RedisLimits(link)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        deadline_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        max_connections: int = 16,
        shared: Path | None = None,
    ) -> RedisStore:
        """Connect to the server at `url` and check it.

        Args:
            url: `redis://[user:password@]host:port/db`, `rediss://...` or `unix:///path`.
            deadline_s: How long an operation is retried while the server is away.
            connect_timeout_s: How long to wait for a connection, and for the first answer.
            max_connections: Connections for commands; appends and follows have one more each.
            shared: Directory in which processes of this machine share large values; None: each reads its own.

        Raises:
            StoreUnavailable: It cannot be reached, refuses user or password, or is too old.
            ValidationError: The URL cannot be read.
        """
        link = RedisLink(
            url, deadline_s=deadline_s, connect_timeout_s=connect_timeout_s, max_connections=max_connections
        )
        store = cls(link, shared)
        try:
            await link.check()
        except BaseException:
            await store.close()
            raise
        return store

    async def next_incarnation(self) -> int:
        """A number that nobody has got before: 1, 2, 3, ..., with gaps where an answer was lost."""
        return int(await self._link.run(lambda: self._link.client.incr(keys.INCARNATIONS)))

    async def ping(self) -> Mapping[str, Any]:
        """Facts about the server, from one attempt. Raises `StoreUnavailable`.

        Returns:
            `server` (redis or valkey), `version`, `url` (without password), `append_only` (whether it keeps a log
            on disk), `eviction` (its maxmemory policy) and `used_memory_bytes`.
        """
        facts = await self._link.check()
        return {
            "server": facts.get("server_name", "redis"),
            "version": str(facts.get("valkey_version", facts["redis_version"])),
            "url": self._link.server,
            "append_only": bool(facts.get("aof_enabled", 0)),
            "eviction": facts.get("maxmemory_policy", "noeviction"),
            "used_memory_bytes": int(facts.get("used_memory", 0)),
        }

    async def close(self) -> None:
        """Give back connections. Operations and follows under way end with `StoreUnavailable`."""
        await self._link.close()  # first: what the journal ends must not connect again
        await self.journal.close()
        await self._writer.close()
