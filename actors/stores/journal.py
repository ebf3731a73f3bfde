"""The journal in Redis: one script call per append, group-committed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import partial

from actors.ports import Head, LiveEvent, Opening
from actors.stores import keys
from actors.stores.calls import (
    HEAD_FIELDS,
    activate_call,
    activated,
    append_call,
    appended,
    head_of,
    open_call,
    opened,
)
from actors.stores.checks import ahead, check_activate, check_append, check_create, check_keep, open_next, unknown
from actors.stores.link import RedisLink
from actors.stores.records import CURSOR, THREAD
from actors.stores.tail import Tail, seq_of
from actors.stores.writer import ScriptWriter
from graphs.journal import Cursor, JournalEntry, ReplaySize, Snapshot, open_snapshot, seal
from graphs.threads import Thread, path_of

_PAGE = 1_000
"""Entries or records fetched in one round trip."""


class RedisJournal:
    """Threads, their entries and snapshots (port `Journal`)."""

    def __init__(self, link: RedisLink, writer: ScriptWriter) -> None:
        self._link = link
        self._writer = writer
        self._create = link.script("create")
        self._snapshot = link.script("snapshot")
        self._threads = link.script("threads")
        self._keep = link.script("keep")
        self._tail = Tail(link)

    async def create(self, thread: Thread, base: Snapshot | None = None) -> None:
        """Record a new thread with `base` as its snapshot at seq 0; an existing one stays as it is."""
        check_create(thread, base)
        cursor = base.cursor if base else Cursor(status=thread.state)
        await self._link.run(
            lambda: self._create(
                keys=[keys.record(thread.id), keys.threads(thread.session_id), keys.snapshots(thread.id)],
                args=[
                    THREAD.encode(thread),
                    path_of(thread.id),
                    CURSOR.encode(cursor),
                    repr(thread.updated_at),
                    seal(base) if base else b"",
                ],
            )
        )

    async def activate(
        self,
        thread_id: str,
        host: str,
        *,
        create: Thread | None = None,
        lost: str = "",
        opening: Opening | None = None,
    ) -> Head:
        """Take the next epoch for `host`; `create` is recorded first if it is not there, and `opening` appended.

        Done twice it takes two epochs, of which only the second is told: that is as good.

        Raises:
            NotFoundError: No such thread, and none to create.
            ActiveElsewhere: Its turn is running on another host, which is not `lost`.
            SessionChanged: `opening` begins a new what-if branch or queue of a session that is paused or aborted.
        """
        check_activate(thread_id, create)
        call = activate_call(thread_id, host, create, lost)
        if opening is None:
            return activated(await self._writer.script("activate", *call), thread_id)
        check_append(opening.entries)
        return opened(await self._writer.script("open", *open_call(call, thread_id, opening)), thread_id, opening)

    async def append(
        self,
        thread_id: str,
        epoch: int,
        entries: Sequence[JournalEntry],
        *,
        op_id: str,
    ) -> ReplaySize:
        """Append `entries`; durable in the store when it returns what is to be replayed now.

        An append that was cancelled, or failed with `StoreUnavailable`, may have been done.

        Raises:
            Fenced: The epoch is not that of the thread.
            SeqConflict: The first seq is not the next one.
            SessionChanged: The state of the session forbids it.
            NotFoundError: No such thread.
            Overloaded: Too many appends wait for the store.
            StoreUnavailable: The store was away until the deadline.
        """
        check_append(entries)
        answer = await self._writer.script("append", *append_call(thread_id, epoch, entries, op_id))
        return appended(answer, thread_id, epoch, entries[0].seq)

    async def keep_snapshot(self, thread_id: str, snapshot: Snapshot) -> None:
        """Keep `snapshot` as the newest, unless there is a newer one.

        Raises:
            SeqConflict: The journal has not got so far.
            NotFoundError: No such thread.
        """
        check_keep(thread_id, snapshot)
        blob = seal(snapshot)
        answer = await self._link.run(
            lambda: self._keep(keys=[keys.record(thread_id), keys.snapshots(thread_id)], args=[snapshot.seq, blob])
        )
        match answer:
            case 0:
                return
            case [b"conflict", int(head)]:
                raise ahead(thread_id, snapshot.seq, head)
            case _:
                raise unknown(thread_id)

    async def head(self, thread_id: str) -> Head | None:
        """The record of a thread. Raises `CorruptRecord`."""
        fields = await self._link.run(lambda: self._link.client.hmget(keys.record(thread_id), HEAD_FIELDS))
        return None if fields[0] is None else head_of(thread_id, fields)

    async def read(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """Entries with seq > `after`, in order. Raises `CorruptRecord`, also for one that is missing."""
        return [entry async for entry in self._entries(thread_id, after, limit)]

    async def _entries(self, thread_id: str, after: int, limit: int | None = None) -> AsyncIterator[JournalEntry]:
        key = keys.journal(thread_id)
        seq = max(after, 0)
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = await self._link.run(partial(self._link.client.xrange, key, min=f"{seq + 1}-0", count=size))
            for stream_id, fields in page:
                (blob,) = fields.values()
                entry = open_next(seq, seq_of(stream_id), blob, key=key, thread_id=thread_id)
                seq = entry.seq
                yield entry
            if len(page) < size:
                break
            if left is not None:
                left -= len(page)

    async def snapshot(self, thread_id: str, *, at: int | None = None) -> Snapshot | None:
        """The newest snapshot with seq <= `at` (None: the newest). Raises `CorruptRecord`."""
        key = keys.snapshots(thread_id)
        found = await self._link.run(lambda: self._snapshot(keys=[key], args=[b"" if at is None else at]))
        if found is None:
            return None
        seq, blob = found
        return open_snapshot(blob, key=key, thread_id=thread_id, seq=seq)

    async def threads(self, session_id: str) -> list[Head]:
        """Records of all threads of a session at one instant, oldest first. Raises `CorruptRecord`."""
        root = keys.record(f"{session_id}:")
        found = await self._link.run(lambda: self._threads(keys=[keys.threads(session_id)], args=[root, *HEAD_FIELDS]))
        return [head_of(f"{session_id}:{path.decode()}", fields) for path, fields in found]

    async def open_threads(self) -> Mapping[str, str]:
        """Root threads somebody has to work on -> the host that took or accepted them last."""
        found: dict[bytes, bytes] = await self._link.run(lambda: self._link.client.hgetall(keys.OPEN))
        return {thread_id.decode(): host.decode() for thread_id, host in found.items()}

    async def timers(self, *, until: float | None = None, limit: int = 1_000) -> list[tuple[str, float]]:
        """Root threads that are paused until a time, with that time: the earliest first."""
        latest = "+inf" if until is None else repr(until)
        found = await self._link.run(
            lambda: self._link.client.zrangebyscore(
                keys.TIMERS, "-inf", latest, start=0, num=max(limit, 0), withscores=True
            )
        )
        return [(thread_id.decode(), due) for thread_id, due in found]

    async def follow(self, thread_id: str, *, after: int = 0) -> AsyncGenerator[JournalEntry | LiveEvent, None]:
        """Entries with seq > `after` and live events, as they come, without end.

        Entries come once and in order, the live events of a step before the entry that ends it. Live events of
        steps that were over before this began do not come.

        Raises:
            CorruptRecord: An entry cannot be read.
            StoreUnavailable: The store was away until the deadline; go on later with `after` the last seq seen.
        """
        async for entry in self._entries(thread_id, after):
            yield entry
            after = entry.seq
        with self._tail.watch(thread_id, max(after, 0)) as watch:
            while True:
                for item in await watch.next():
                    yield item

    async def close(self) -> None:
        """End follows."""
        await self._tail.close()
