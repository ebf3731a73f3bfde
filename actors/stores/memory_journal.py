"""Threads and their journals in memory: same answers and same stored bytes as in Redis, no server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import msgspec

from actors.ports import Head, LiveEvent, NodeRunning, Opening, TokenChunk
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
from actors.stores.feed import Feed
from actors.stores.index import Change, IndexChange, index_change, refused
from actors.stores.memory_rows import MemoryRows
from actors.stores.records import CURSOR, EVENTS, THREAD
from graphs.history import new_rows
from graphs.journal import CorruptRecord, Cursor, JournalEntry, ReplaySize, Snapshot, open_snapshot, seal
from graphs.sessions import Session, SessionState
from graphs.threads import MAIN, Thread, ThreadState, is_root, path_of, root_of, session_of

MAX_ITEMS = 1_000
"""Calls of `publish` kept per thread."""


class MemoryRecord:
    """What is kept of a thread."""

    def __init__(self, thread: Thread, cursor: Cursor) -> None:
        self.thread = THREAD.encode(thread)
        self.cursor = CURSOR.encode(cursor)
        self.updated_at = thread.updated_at
        self.epoch = 0
        self.host = ""
        self.entries: list[bytes] = []
        """Sealed entries; that of `seq` at index `seq - 1`."""
        self.ops: dict[int, tuple[int, str]] = {}
        """First seq of an append -> its epoch and op id."""
        self.snapshots: dict[int, bytes] = {}
        """Seq -> sealed snapshot."""
        self.tail_bytes = 0
        """Of the entries that came after the newest snapshot was kept."""
        self.fenced = 0
        """Appends refused because of their epoch."""

    def head(self, thread_id: str) -> Head:
        """The record as the port gives it out. Raises `CorruptRecord`."""
        key, seq = keys.record(thread_id), len(self.entries)
        cursor = CURSOR.decode(self.cursor, key=key, thread_id=thread_id, seq=seq)
        thread = THREAD.decode(self.thread, key=key, thread_id=thread_id, seq=seq)
        return Head(
            thread=msgspec.structs.replace(thread, state=cursor.status, updated_at=self.updated_at),
            seq=seq,
            epoch=self.epoch,
            cursor=cursor,
            host=self.host,
            fenced=self.fenced,
        )

    def replay_size(self, turn_waits: bool) -> ReplaySize:
        """What is to be replayed, as an append tells it."""
        kept = max(self.snapshots, default=0)
        return ReplaySize(
            entries=len(self.entries) - kept,
            size_bytes=self.tail_bytes,
            snapshot_bytes=len(self.snapshots.get(kept, b"")),
            turn_waits=turn_waits,
        )

    def entries_after(self, thread_id: str, after: int, until: int | None = None) -> Iterator[JournalEntry]:
        """Entries with `after` < seq <= `until`. Raises `CorruptRecord` at the one that cannot be read."""
        key = keys.journal(thread_id)
        for seq, blob in enumerate(self.entries[after:until], start=after + 1):
            yield open_next(seq - 1, seq, blob, key=key, thread_id=thread_id)


class MemoryLive:
    """Live events of one thread, and the sign that it has news."""

    def __init__(self) -> None:
        self.items: deque[tuple[int, bytes]] = deque(maxlen=MAX_ITEMS)
        """Number, from 1 on, and sealed events of each call of `publish`."""
        self.count = 0
        self._news = asyncio.Event()

    def add(self, blob: bytes) -> None:
        """Keep what one call of `publish` brought."""
        self.count += 1
        self.items.append((self.count, blob))
        self.announce()

    def announce(self) -> None:
        """Wake those who wait now."""
        self._news.set()
        self._news.clear()

    async def news(self) -> None:
        """Wait for the next `announce`."""
        await self._news.wait()


class MemoryIndex:
    """Which threads are open, which wait for a time, and when something happened in each session."""

    def __init__(self) -> None:
        self.open: dict[str, str] = {}
        """Root thread somebody has to work on -> host."""
        self.timers: dict[str, float] = {}
        """Paused root thread -> when it goes on."""
        self.active: dict[str, float] = {}
        """Session id -> Unix seconds."""
        self.turns: dict[str, int] = {}
        """Session id -> interactions it has had."""
        self.inputs: dict[tuple[str, int], bytes] = {}
        """(session id, turn that has not begun) -> its sealed input."""
        self.sessions: dict[str, Session] = {}
        """Session id -> record, of those that are not active."""

    def state(self, session_id: str) -> SessionState:
        """Where a session is in its life."""
        session = self.sessions.get(session_id)
        return SessionState.ACTIVE if session is None else session.state

    def halted(self, session_id: str) -> Session | None:
        """A session, if it is paused or aborted."""
        session = self.sessions.get(session_id)
        return session if session is not None and session.state.halted else None

    def touch(self, session_id: str, at: float) -> None:
        """Something happened in a session."""
        self.active[session_id] = max(at, self.active.get(session_id, at))

    def turn_waits(self, thread_id: str, change: IndexChange | None) -> bool:
        """Whether an append ends a turn, and the next one waits."""
        if change is None or change.change is not Change.CLOSE or change.over is None:
            return False
        session_id = session_of(thread_id)
        return self.turns.get(session_id, 0) > change.over and self.state(session_id) is not SessionState.PAUSED

    def change(self, thread_id: str, host: str, change: IndexChange) -> None:
        """Carry out what goes with an append."""
        session_id = session_of(thread_id)
        state = self.state(session_id)
        if change.change is Change.LOOK:
            if not state.halted:
                self.open.setdefault(root_of(thread_id), host)
            return
        if change.change is Change.OPEN or self.turn_waits(thread_id, change):
            self.open[thread_id] = host
        else:
            self.open.pop(thread_id, None)
        if change.begun is not None:
            self.inputs.pop((session_id, change.begun), None)
        if change.due is not None and not state.halted:
            self.timers[thread_id] = change.due
        else:
            self.timers.pop(thread_id, None)


class MemoryJournal:
    """Threads, their entries and snapshots (port `Journal`)."""

    def __init__(self, index: MemoryIndex, rows: MemoryRows) -> None:
        self._index = index
        self._rows = rows
        self.records: dict[str, MemoryRecord] = {}
        """Thread id -> record."""
        self._sessions: dict[str, list[str]] = {}
        """Session id -> ids of its threads, oldest first."""
        self._live: dict[str, MemoryLive] = {}

    def live(self, thread_id: str) -> MemoryLive:
        """Live events of a thread; it need not exist yet."""
        return self._live.setdefault(thread_id, MemoryLive())

    def ids(self, session_id: str) -> list[str]:
        """Ids of a session's threads, oldest first."""
        return self._sessions.get(session_id, [])

    def size(self, session_id: str) -> dict[str, int]:
        """Bytes of what is stored of a session's threads, by kind."""
        sizes = dict.fromkeys(("journal", "snapshots", "values", "live", "records"), 0)
        for thread_id in self.ids(session_id):
            record = self.records[thread_id]
            sizes["journal"] += sum(map(len, record.entries))
            sizes["snapshots"] += sum(map(len, record.snapshots.values()))
            sizes["live"] += sum(len(blob) for _, blob in self.live(thread_id).items)
            sizes["records"] += len(record.thread) + len(record.cursor)
        return sizes

    def forget(self, session_id: str) -> None:
        """Delete a session's threads."""
        for thread_id in self._sessions.pop(session_id, ()):
            del self.records[thread_id]
            self._live.pop(thread_id, None)

    async def create(self, thread: Thread, base: Snapshot | None = None) -> None:
        """Record a new thread with `base` as its snapshot at seq 0; an existing one stays as it is."""
        check_create(thread, base)
        if thread.id in self.records:
            return
        record = MemoryRecord(thread, base.cursor if base else Cursor(status=thread.state))
        if base is not None:
            record.snapshots[0] = seal(base)
        self.records[thread.id] = record
        self._sessions.setdefault(thread.session_id, []).append(thread.id)

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

        Raises:
            NotFoundError: No such thread, and none to create.
            ActiveElsewhere: Its turn is running on another host, which is not `lost`.
            SessionChanged: `opening` begins a new what-if branch or queue of a session that is paused or aborted.
        """
        check_activate(thread_id, create)
        if opening is not None:
            check_append(opening.entries)
            if is_root(thread_id) and path_of(thread_id) != MAIN and thread_id not in self.records:
                halted = self._index.halted(session_of(thread_id))
                if halted is not None:
                    raise session_changed(thread_id, halted.state.value)
        if create is not None:
            await self.create(create)
        record = self._record(thread_id)
        head = record.head(thread_id)
        if head.cursor.status is ThreadState.RUNNING and head.host not in ("", host, lost):
            raise active_elsewhere(thread_id, head.host)
        record.epoch += 1
        record.host = host
        running = head.cursor.status is ThreadState.RUNNING
        if is_root(thread_id) and (running or thread_id in self._index.open):
            self._index.open[thread_id] = host
        halted = self._index.halted(session_of(thread_id))
        head = msgspec.structs.replace(head, epoch=record.epoch, host=host, halted=halted)
        if opening is None or halted is not None:
            return head
        if (head.epoch, head.seq + 1) != (opening.epoch, opening.entries[0].seq):
            return head
        await self.append(thread_id, head.epoch, opening.entries, op_id=opening.op_id)
        return msgspec.structs.replace(head, opened=True)

    async def append(
        self,
        thread_id: str,
        epoch: int,
        entries: Sequence[JournalEntry],
        *,
        op_id: str,
    ) -> ReplaySize:
        """Append `entries`; what is to be replayed now is returned.

        Raises:
            Fenced: The epoch is not that of the thread.
            SeqConflict: The first seq is not the next one.
            SessionChanged: The state of the session forbids it.
            NotFoundError: No such thread.
        """
        check_append(entries)
        record = self._record(thread_id)
        first, last = entries[0].seq, entries[-1]
        change = index_change(thread_id, entries)
        turn_waits = self._index.turn_waits(thread_id, change)
        if epoch != record.epoch or first != len(record.entries) + 1:
            if record.ops.get(first) == (epoch, op_id):
                return record.replay_size(turn_waits)
            if epoch != record.epoch:
                record.fenced += 1
                raise fenced(thread_id, epoch, record.epoch)
            raise conflict(thread_id, first, len(record.entries))
        state = self._index.state(session_of(thread_id))
        if change is not None and refused(change.change, state):
            raise session_changed(thread_id, state.value)
        blobs = [seal(entry) for entry in entries]
        cursor = CURSOR.encode(last.cursor)
        record.entries += blobs
        record.tail_bytes += sum(map(len, blobs))
        record.ops[first] = (epoch, op_id)
        record.cursor = cursor
        record.updated_at = last.at
        if change is not None:
            self._index.change(thread_id, record.host, change)
            self._index.touch(session_of(thread_id), last.at)
        if rows := new_rows(entries):
            self._rows.add(thread_id, record.thread, rows)
        self.live(thread_id).announce()
        return record.replay_size(turn_waits)

    async def keep_snapshot(self, thread_id: str, snapshot: Snapshot) -> None:
        """Keep `snapshot` as the newest, unless there is a newer one.

        Raises:
            SeqConflict: The journal has not got so far.
            NotFoundError: No such thread.
        """
        check_keep(thread_id, snapshot)
        record = self._record(thread_id)
        if snapshot.seq > len(record.entries):
            raise ahead(thread_id, snapshot.seq, len(record.entries))
        if snapshot.seq > max(record.snapshots, default=0):
            base = {seq: blob for seq, blob in record.snapshots.items() if seq == 0}
            record.snapshots = base | {snapshot.seq: seal(snapshot)}
            record.tail_bytes = 0

    def status(self, thread_id: str) -> ThreadState | None:
        """What a thread does; None if it is not there or its cursor cannot be read."""
        cursor = self.cursor(thread_id)
        return None if cursor is None else cursor.status

    def cursor(self, thread_id: str) -> Cursor | None:
        """Where a thread is; None if it is not there or its cursor cannot be read."""
        record = self.records.get(thread_id)
        if record is None:
            return None
        try:
            return CURSOR.decode(record.cursor, key=keys.record(thread_id))
        except CorruptRecord:
            return None

    async def head(self, thread_id: str) -> Head | None:
        """The record of a thread. Raises `CorruptRecord`."""
        record = self.records.get(thread_id)
        return None if record is None else record.head(thread_id)

    async def read(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """Entries with seq > `after`, in order. Raises `CorruptRecord`."""
        record = self.records.get(thread_id)
        if record is None:
            return []
        after = max(after, 0)
        until = None if limit is None else after + max(limit, 0)
        return list(record.entries_after(thread_id, after, until))

    async def snapshot(self, thread_id: str, *, at: int | None = None) -> Snapshot | None:
        """The newest snapshot with seq <= `at` (None: the newest). Raises `CorruptRecord`."""
        record = self.records.get(thread_id)
        seqs = [] if record is None else [seq for seq in record.snapshots if at is None or seq <= at]
        if record is None or not seqs:
            return None
        seq = max(seqs)
        return open_snapshot(record.snapshots[seq], key=keys.snapshots(thread_id), thread_id=thread_id, seq=seq)

    async def threads(self, session_id: str) -> list[Head]:
        """Records of all threads of a session, oldest first. Raises `CorruptRecord`."""
        return [self.records[thread_id].head(thread_id) for thread_id in self._sessions.get(session_id, ())]

    async def open_threads(self) -> Mapping[str, str]:
        """Root threads somebody has to work on -> the host that took or accepted them last."""
        return dict(self._index.open)

    async def timers(self, *, until: float | None = None, limit: int = 1_000) -> list[tuple[str, float]]:
        """Root threads that are paused until a time, with that time: the earliest first."""
        due = [(thread_id, at) for thread_id, at in self._index.timers.items() if until is None or at <= until]
        return sorted(due, key=lambda timer: (timer[1], timer[0].encode()))[: max(limit, 0)]

    async def follow(self, thread_id: str, *, after: int = 0) -> AsyncGenerator[JournalEntry | LiveEvent, None]:
        """Entries with seq > `after` and live events, as they come, without end.

        Entries come once and in order, the live events of a step before the entry that ends it. Live events of
        steps that were over before this began do not come.

        Raises:
            CorruptRecord: An entry cannot be read.
        """
        live, live_seen = self.live(thread_id), 0
        feed = Feed(max(after, 0))
        while entries := await self._readable(thread_id, feed.seen):
            for entry in feed.merge(entries, ()):
                yield entry
        while True:
            events = [event for number, blob in live.items if number > live_seen for event in _open(blob, thread_id)]
            live_seen = live.count
            news = feed.merge(await self._readable(thread_id, feed.seen), events)
            if not news:
                await live.news()
            for item in news:
                yield item

    async def _readable(self, thread_id: str, after: int) -> list[JournalEntry]:
        """Entries with seq > `after` up to the first bad one, which is met when those before it were taken."""
        record = self.records.get(thread_id)
        entries: list[JournalEntry] = []
        try:
            for entry in record.entries_after(thread_id, after) if record else ():
                entries.append(entry)  # noqa: PERF402, those before a bad one are kept
        except CorruptRecord:
            if not entries:
                raise
        return entries

    def _record(self, thread_id: str) -> MemoryRecord:
        try:
            return self.records[thread_id]
        except KeyError:
            raise unknown(thread_id) from None


class MemoryLiveFeed:
    """Where running steps publish (port `LiveFeed`)."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def publish(self, thread_id: str, events: Sequence[NodeRunning | TokenChunk]) -> None:
        """Publish `events` in order."""
        if events:
            self._journal.live(thread_id).add(EVENTS.encode(list(events)))


def _open(blob: bytes, thread_id: str) -> list[NodeRunning | TokenChunk]:
    return EVENTS.decode(blob, key=keys.live(thread_id), thread_id=thread_id)
