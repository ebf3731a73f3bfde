"""What is deleted by itself, once it is old: sessions nobody uses, and named snapshots there are too many of."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable

from actors.errors import StoreUnavailable
from actors.ports import Clock, Store
from actors.settings import RetentionSettings
from graphs.errors import BusinessRuleViolation
from graphs.journal import CorruptRecord
from graphs.state.snapshots import KEEP, StateSnapshot

SWEEP_EVERY_S = 3_600.0

_PAGE = 100

logger = logging.getLogger(__name__)


def surplus(snapshots: Iterable[StateSnapshot], now: float, per_thread: int | None) -> list[StateSnapshot]:
    """Named snapshots of one session that are to go: expired ones, and all but the newest of each thread."""
    gone: list[StateSnapshot] = []
    kept: defaultdict[str, int] = defaultdict(int)
    for snapshot in sorted(snapshots, key=lambda each: (each.created_at, each.id), reverse=True):
        if snapshot.expired(now):
            gone.append(snapshot)
        elif per_thread is not None and KEEP not in snapshot.metadata.tags:
            kept[snapshot.state_id] += 1
            if kept[snapshot.state_id] > per_thread:
                gone.append(snapshot)
    return gone


class Retention:
    """Carries out the rules, now and every hour.

    Args:
        store: Where everything is.
        settings: The rules.
        clock: Time.
    """

    def __init__(self, store: Store, settings: RetentionSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._work(), name="retention")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def sweep(self) -> None:
        """Delete what is to go now. What is damaged is left for people to look at.

        Raises:
            StoreUnavailable: The store was away until the deadline.
        """
        if self._settings.sessions_idle_s is not None:
            await self._prune_sessions(self._clock.now() - self._settings.sessions_idle_s)
        for session_id in await self._store.snapshots.sessions():
            await self._prune_snapshots(session_id)
        if self._settings.history_s is not None:
            await self._store.history.forget(self._clock.now() - self._settings.history_s)

    async def _work(self) -> None:
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                logger.warning("nothing was deleted, for the next hour: %s", error)
            await self._clock.sleep(SWEEP_EVERY_S)

    async def _prune_sessions(self, before: float) -> None:
        left = 0
        while page := await self._store.upkeep.idle(before, skip=left, limit=_PAGE):
            for session_id, _ in page:
                try:
                    await self._store.upkeep.prune(session_id, idle_since=before)
                except BusinessRuleViolation:
                    left += 1  # it waits for somebody

    async def _prune_snapshots(self, session_id: str) -> None:
        try:
            snapshots = await self._store.snapshots.list(session_id)
        except CorruptRecord as error:
            logger.warning("snapshots of session %s stay: %s", session_id, error)
            return
        for snapshot in surplus(snapshots, self._clock.now(), self._settings.snapshots_per_thread):
            await self._store.snapshots.delete(session_id, snapshot.id)
