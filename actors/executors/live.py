"""Telling watchers what runs now: node starts and tokens, gathered and published a few times a second at most."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from actors.errors import Overloaded, StoreUnavailable
from actors.ports import Clock, LiveFeed, NodeRunning, TokenChunk

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 0.03
QUIET_S = 0.1
"""A function node is announced when it has run this long: most are over before, and nobody would see them begin."""
MAX_UNPUBLISHED = 10_000


class Step(Protocol):
    """The step that is running."""

    @property
    def thread_id(self) -> str:
        """Its thread."""

    @property
    def node(self) -> str:
        """Its node."""

    @property
    def seq(self) -> int:
        """The seq it will have."""

    @property
    def attempt(self) -> int:
        """Number of this run."""


class LiveReporter:
    """Publishes what the steps of one process do, gathered, and drops what is too much.

    A step that was announced waits before it is recorded until all about it is published; quick functions are not.

    Args:
        feed: Where to publish.
        clock: Time.
    """

    def __init__(self, feed: LiveFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._waiting: dict[str, list[NodeRunning | TokenChunk]] = {}
        self._count = 0
        self._sending: Mapping[str, list[NodeRunning | TokenChunk]] = {}
        self._sent = asyncio.Event()
        """Set when nothing of `_sending` is under way."""
        self._publisher: asyncio.Task[None] | None = None

    def announce(self, step: Step, by: str, at: float | None = None) -> None:
        """Tell that `step` runs, since `at` in Unix seconds (None: from now on)."""
        at = self._clock.now() if at is None else at
        self._add(step.thread_id, NodeRunning(seq=step.seq, node=step.node, at=at, attempt=step.attempt, by=by))

    def announce_later(self, step: Step, by: str) -> asyncio.TimerHandle:
        """Tell it when it has run for a while, unless the timer is cancelled by then."""
        return asyncio.get_running_loop().call_later(QUIET_S, self.announce, step, by, self._clock.now())

    def token(self, step: Step, text: str) -> None:
        """Announce text a model has produced in `step`."""
        self._add(step.thread_id, TokenChunk(seq=step.seq, node=step.node, at=self._clock.now(), text=text))

    def holds(self, thread_id: str) -> bool:
        """Whether something of a thread is not published yet."""
        return thread_id in self._waiting or thread_id in self._sending

    async def flush(self, thread_id: str) -> None:
        """Publish what is left of a thread now: once its step is recorded, it would come too late."""
        if thread_id in self._sending:
            await self._sent.wait()
        events = self._waiting.pop(thread_id, [])
        self._count -= len(events)
        if events:
            await self._send({thread_id: events})

    async def close(self) -> None:
        """Publish what is left."""
        if self._publisher is not None:
            self._publisher.cancel()
            await asyncio.wait([self._publisher])
        await self._publish_waiting()

    def _add(self, thread_id: str, event: NodeRunning | TokenChunk) -> None:
        if self._count >= MAX_UNPUBLISHED:
            return
        self._count += 1
        self._waiting.setdefault(thread_id, []).append(event)
        if self._publisher is None:
            self._publisher = asyncio.create_task(self._publish(), name="live events")

    async def _publish(self) -> None:
        try:
            while self._waiting:
                await self._publish_waiting()
                await self._clock.sleep(PUBLISH_EVERY_S)
        finally:
            self._publisher = None

    async def _publish_waiting(self) -> None:
        self._sending, self._waiting, self._count = self._waiting, {}, 0
        self._sent.clear()
        try:
            await self._send(self._sending)
        finally:
            self._sending = {}
            self._sent.set()

    async def _send(self, waiting: Mapping[str, list[NodeRunning | TokenChunk]]) -> None:
        try:
            await asyncio.gather(*(self._feed.publish(thread_id, events) for thread_id, events in waiting.items()))
        except (StoreUnavailable, Overloaded):
            logger.info("watchers of %d threads miss some live events; the journal has the truth", len(waiting))
