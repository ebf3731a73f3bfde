"""The journal in Redis: one script call per append, group-committed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from actors.ports import Head, LiveEvent
from actors.stores import keys
from actors.stores.checks import (
    active_elsewhere,
    ahead,
    check_activate,
    check_append,
    check_create,
    check_keep,
    conflict,
    fenced,
    open_next,
    session_changed,
    unknown,
)
from actors.stores.index import index_change
from actors.stores.link import RedisLink
from actors.stores.records import CURSOR, THREAD, open_session
from actors.stores.rows import packed_rows
from actors.stores.tail import Tail, seq_of
from actors.stores.writer import ScriptWriter
from graphs.journal import CorruptRecord, Cursor, JournalEntry, ReplaySize, Snapshot, open_snapshot, seal
from graphs.threads import Thread, is_root, path_of, root_of, session_of

_PAGE = 1_000
"""Entries or records fetched in one round trip."""
_FIELDS = ("thread", "seq", "epoch", "host", "cursor", "updated_at", "fenced")


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

    async def activate(self, thread_id: str, host: str, *, create: Thread | None = None, lost: str = "") -> Head:
        """Take the next epoch for `host`; `create` is recorded first if it is not there.

        Done twice it takes two epochs, of which only the second is told: that is as good.

        Raises:
            NotFoundError: No such thread, and none to create.
            ActiveElsewhere: Its turn is running on another host, which is not `lost`.
        """
        check_activate(thread_id, create)
        args: list[Any] = [thread_id, host, lost]
        if create is not None:
            cursor = Cursor(status=create.state)
            args += [THREAD.encode(create), path_of(thread_id), CURSOR.encode(cursor), repr(create.updated_at)]
        session_id = session_of(thread_id)
        script_keys = [keys.record(thread_id), keys.threads(session_id), keys.session(session_id)]
        if is_root(thread_id):
            script_keys.append(keys.OPEN)
        fields = await self._writer.script("activate", script_keys, args)
        if fields is None:
            raise unknown(thread_id)
        taken, *fields, session = fields
        head = _head(thread_id, fields)
        if not taken:
            raise active_elsewhere(thread_id, head.host)
        return head if session is None else msgspec.structs.replace(head, halted=open_session(session_id, session))

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
        first, last = entries[0].seq, entries[-1]
        script_keys = [keys.record(thread_id), keys.journal(thread_id)]
        args: list[Any] = [
            epoch,
            first,
            op_id,
            repr(last.at),
            CURSOR.encode(last.cursor),
            packed_rows(thread_id, entries),
            *map(seal, entries),
        ]
        change = index_change(thread_id, entries)
        if change is not None:
            session_id = session_of(thread_id)
            script_keys += [
                keys.OPEN,
                keys.TIMERS,
                keys.interactions(session_id),
                keys.inputs(session_id),
                keys.ACTIVE,
                keys.session(session_id),
            ]
            due = "" if change.due is None else repr(change.due)
            turns = ("" if turn is None else turn for turn in (change.over, change.begun))
            args += [change.change, root_of(thread_id), session_id, due, *turns]
        answer = await self._writer.script("append", script_keys, args)
        match answer:
            case [int(count), int(size_bytes), int(snapshot_bytes)]:
                return ReplaySize(entries=count, size_bytes=size_bytes, snapshot_bytes=snapshot_bytes)
            case _:
                raise _refusal(answer, thread_id, epoch, first)

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
        fields = await self._link.run(lambda: self._link.client.hmget(keys.record(thread_id), _FIELDS))
        return None if fields[0] is None else _head(thread_id, fields)

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
        found = await self._link.run(lambda: self._threads(keys=[keys.threads(session_id)], args=[root, *_FIELDS]))
        return [_head(f"{session_id}:{path.decode()}", fields) for path, fields in found]

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


def _refusal(answer: list[Any], thread_id: str, epoch: int, first: int) -> Exception:
    match answer:
        case [b"fenced", int(current)]:
            return fenced(thread_id, epoch, current)
        case [b"conflict", int(head)]:
            return conflict(thread_id, first, head)
        case [b"changed", bytes(state)]:
            return session_changed(thread_id, state.decode())
        case _:
            return unknown(thread_id)


def _head(thread_id: str, fields: Sequence[bytes]) -> Head:
    key = keys.record(thread_id)
    try:
        thread, seq, epoch, host, cursor, updated_at, fenced_writes = fields
        numbers = int(seq), int(epoch), float(updated_at), int(fenced_writes or 0)
    except (TypeError, ValueError) as error:
        raise CorruptRecord(f"{key}: {error}", key=key, thread_id=thread_id, seq=0) from error
    position = CURSOR.decode(cursor, key=key, thread_id=thread_id, seq=numbers[0])
    return Head(
        thread=msgspec.structs.replace(
            THREAD.decode(thread, key=key, thread_id=thread_id, seq=numbers[0]),
            state=position.status,
            updated_at=numbers[2],
        ),
        seq=numbers[0],
        epoch=numbers[1],
        cursor=position,
        host=host.decode(),
        fenced=numbers[3],
    )
