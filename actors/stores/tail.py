"""The ends of all followed streams of this process, read over one blocking connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from uuid import uuid4

from actors.errors import StoreUnavailable
from actors.ports import LiveEvent
from actors.stores import keys
from actors.stores.checks import open_next
from actors.stores.faults import closed
from actors.stores.feed import Feed
from actors.stores.link import BLOCK_S, RedisLink
from actors.stores.records import EVENTS
from graphs.journal import CorruptRecord, JournalEntry

_log = logging.getLogger(__name__)

_PAGE = 100
"""Items of one stream in one read."""
_BUFFER = 256
"""Items a watcher may leave untaken before its streams are no longer read."""
_BELL_TTL_S = 60

_Stream = list[tuple[bytes, dict[bytes, bytes]]]
_LiveId = tuple[int, int]


def seq_of(stream_id: bytes) -> int:
    """Seq of the journal entry with this stream id."""
    return int(stream_id.partition(b"-")[0])


def _live_id(stream_id: bytes) -> _LiveId:
    milliseconds, _, number = stream_id.partition(b"-")
    return int(milliseconds), int(number)


class Watch:
    """One follower of a thread: its positions, and what was read for it and not taken yet."""

    def __init__(self, tail: Tail, thread_id: str, after: int) -> None:
        self._tail = tail
        self._thread_id = thread_id
        self._feed = Feed(after)
        self._blobs: list[tuple[int, bytes]] = []
        self._events: list[LiveEvent] = []
        self._arrived = asyncio.Event()
        self._failure: StoreUnavailable | None = None
        self.journal_key = keys.journal(thread_id)
        self.live_key = keys.live(thread_id)
        self.seq = after
        """Seq of the last entry read."""
        self.live_id: _LiveId = (0, 0)
        """Id of the last item of the live stream read."""

    @property
    def hungry(self) -> bool:
        """Whether its streams should be read."""
        return len(self._blobs) + len(self._events) < _BUFFER

    async def next(self) -> list[JournalEntry | LiveEvent]:
        """Wait for news. Raises `CorruptRecord` and `StoreUnavailable`."""
        while True:
            while not self._blobs and not self._events:
                if self._failure is not None:
                    raise self._failure
                self._arrived.clear()
                self._tail.include(self)
                await self._arrived.wait()
            entries = self._open()
            events, self._events = self._events, []
            if news := self._feed.merge(entries, events):
                return news

    def _open(self) -> list[JournalEntry]:
        """The entries read, up to the first bad one, which is left to be met when those before it were taken."""
        blobs, self._blobs = self._blobs, []
        entries: list[JournalEntry] = []
        seen = self._feed.seen
        for index, (seq, blob) in enumerate(blobs):
            try:
                entry = open_next(seen, seq, blob, key=self.journal_key, thread_id=self._thread_id)
            except CorruptRecord:
                if not entries:
                    raise
                self._blobs = blobs[index:]
                break
            entries.append(entry)
            seen = seq
        return entries

    def take_entries(self, items: _Stream) -> None:
        """Keep what is new in `items` of the journal stream."""
        for stream_id, fields in items:
            seq = seq_of(stream_id)
            if seq > self.seq:
                self.seq = seq
                self._blobs += [(seq, blob) for blob in fields.values()]
        self._arrived.set()

    def take_events(self, items: _Stream) -> None:
        """Keep what is new in `items` of the live stream."""
        for stream_id, fields in items:
            position = _live_id(stream_id)
            if position <= self.live_id:
                continue
            self.live_id = position
            for blob in fields.values():
                try:
                    self._events += EVENTS.decode(blob, key=self.live_key, thread_id=self._thread_id)
                except CorruptRecord as error:
                    # Live events may be missed: not worth ending the watch, which would meet this one again.
                    _log.warning("left out live events: %s", error)
        self._arrived.set()

    def fail(self, error: StoreUnavailable) -> None:
        """Nothing more will come; say so once what is here has been taken."""
        self._failure = error
        self._arrived.set()


class Tail:
    """One task that reads the streams of all watches, as long as there are any.

    It waits in one XREAD over all of them and over a stream of its own, the bell: a watch that is not part of
    the read under way rings it, so that the next read begins at once.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._watches: set[Watch] = set()
        self._reader: asyncio.Task[None] | None = None
        self._reading: frozenset[Watch] | None = None
        """Watches of the read under way; None between reads."""
        self._bell_key = f"gr:bell:{uuid4().hex}"
        self._bell_id = b"0-0"
        self._rung = False
        """Whether the read under way will be ended by the bell."""
        self._ringing: set[asyncio.Task[None]] = set()

    @contextmanager
    def watch(self, thread_id: str, after: int) -> Iterator[Watch]:
        """Watch a thread from the entry after `after` on."""
        watch = Watch(self, thread_id, after)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            if not self._watches:
                self._ring()

    def include(self, watch: Watch) -> None:
        """See to it that the streams of `watch` are being read."""
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read(), name="tail")
        elif self._reading is not None and watch not in self._reading:
            self._ring()

    async def close(self) -> None:
        """End all watches with `StoreUnavailable`."""
        tasks = [*self._ringing, *([self._reader] if self._reader else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(self) -> None:
        error = closed(self._link.server)
        try:
            while self._watches:
                await self._read_once()
                # Watches that can take their news at once do so before the next read is put together.
                await asyncio.sleep(0)
        except StoreUnavailable as failure:
            error = failure
        finally:
            self._reader = None
            for watch in self._watches:
                watch.fail(error)

    async def _read_once(self) -> None:
        reading = frozenset(watch for watch in self._watches if watch.hungry)
        positions: dict[str, str | bytes] = {self._bell_key: self._bell_id}
        # Several watches of one thread: from the position of the one furthest behind.
        for watch in sorted(reading, key=lambda watch: watch.seq, reverse=True):
            positions[watch.journal_key] = f"{watch.seq}-0"
        for watch in sorted(reading, key=lambda watch: watch.live_id, reverse=True):
            positions[watch.live_key] = "{}-{}".format(*watch.live_id)
        self._rung = False
        self._reading = reading
        try:
            answer = await self._link.wait_for_news(
                partial(self._link.blocking.xread, positions, count=_PAGE, block=int(BLOCK_S * 1000))
            )
        finally:
            self._reading = None
        news = {key.decode(): items for key, items in answer or ()}
        if bell := news.pop(self._bell_key, None):
            self._bell_id = bell[-1][0]
        for watch in reading:
            if items := news.get(watch.journal_key):
                watch.take_entries(items)
            if items := news.get(watch.live_key):
                watch.take_events(items)

    def _ring(self) -> None:
        if self._reading is None or self._rung:
            return
        self._rung = True
        task = asyncio.get_running_loop().create_task(self._ring_bell())
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)

    async def _ring_bell(self) -> None:
        with suppress(StoreUnavailable):  # the reader meets the same failure and reports it
            await self._link.run(self._add_to_bell)

    async def _add_to_bell(self) -> None:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            pipeline.xadd(self._bell_key, {b"e": b""}, maxlen=1, approximate=False)
            pipeline.expire(self._bell_key, _BELL_TTL_S)
            await pipeline.execute()
