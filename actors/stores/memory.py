"""The store in memory, for tests and for runs that keep nothing: same answers, same stored bytes, no server."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from actors.stores.cache import MemoryCache
from actors.stores.history import History
from actors.stores.limits import MemoryLimits
from actors.stores.memory_history import MemoryHistory
from actors.stores.memory_journal import MemoryIndex, MemoryJournal, MemoryLiveFeed
from actors.stores.memory_records import MemorySessions, MemoryWorkflows
from actors.stores.memory_rows import MemoryRows
from actors.stores.memory_upkeep import MemoryUpkeep
from actors.stores.snapshots import MemorySnapshots
from actors.stores.values import MemoryValues


class MemoryStore:
    """All repositories in plain dicts (port `Store`)."""

    def __init__(self) -> None:
        index, rows = MemoryIndex(), MemoryRows()
        self.journal = MemoryJournal(index, rows)
        self.live = MemoryLiveFeed(self.journal)
        self.workflows = MemoryWorkflows()
        self.sessions = MemorySessions(self.journal, index, rows, self.workflows)
        self.values = MemoryValues()
        self.snapshots = MemorySnapshots()
        self.upkeep = MemoryUpkeep(self.journal, self.sessions, self.values, self.snapshots, index, rows)
        self.cache = MemoryCache()
        self.history = History(MemoryHistory(rows, self.journal))
        self.limits = MemoryLimits()
        self._incarnations = itertools.count(1)

    async def next_incarnation(self) -> int:
        """A number that nobody has got before."""
        return next(self._incarnations)

    async def ping(self) -> Mapping[str, Any]:
        """Facts, as `RedisStore.ping` gives them as far as they apply."""
        return {"server": "memory", "version": "", "url": "memory://", "append_only": False}

    async def close(self) -> None:
        """Nothing to give back."""
