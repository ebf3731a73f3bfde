"""Writing the entries of a segment to the journal, each as soon as the durability of its turn wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from actors.executors.live import LiveReporter
from actors.ports import Journal
from actors.replay import keep_snapshot
from graphs.errors import GreenroomError
from graphs.journal import EntryKind, JournalEntry, Usage, snapshot_due
from graphs.state.schema import StateSchema
from graphs.threads import Durability, Thread

MAX_BEHIND = 64
"""`async`: entries that may wait for the journal; then the segment waits too."""
MAX_KEPT = 256
"""`exit`: entries that may be kept; more are written though the turn goes on."""
MAX_KEPT_BYTES = 4 * 1024 * 1024


class Recorder:
    """The journal of one segment. At most one append is under way; entries that come meanwhile share the next one.

    Args:
        journal: Where to.
        live: Where running steps are announced: what is told of a step comes before its entry.
        schema: Encodes snapshots.
        thread: The thread.
        epoch: The epoch of its activation.
        durability: When entries are written.
        writer: Unique name of this segment; its appends are told apart by it.
        kept: Entries of segments before this one that are not written yet.
    """

    def __init__(
        self,
        journal: Journal,
        live: LiveReporter,
        schema: StateSchema,
        thread: Thread,
        epoch: int,
        durability: Durability,
        writer: str,
        kept: Sequence[JournalEntry],
    ) -> None:
        self._journal = journal
        self._live = live
        self._schema = schema
        self._thread = thread
        self._epoch = epoch
        self._durability = durability
        self._writer = writer
        self._appends_count = 0
        self._kept = list(kept)
        self._kept_bytes = sum(map(_size_bytes, kept))
        self._latest: tuple[JournalEntry, dict[str, Any], Usage] | None = None
        """The last entry that was added, and state and usage after it."""
        self._writing: asyncio.Task[None] | None = None
        self._under_way_count = 0
        """Entries of the append that is under way."""
        self.turn_waits = False
        """See `ReplaySize`; of the last append."""

    async def add(self, entries: Sequence[JournalEntry], state: dict[str, Any], usage: Usage) -> None:
        """Record `entries`; `state` and `usage` are those after the last of them.

        Raises:
            GreenroomError: They, or some before them, could not be written: see `Journal.append`.
        """
        last = entries[-1]
        self._latest = last, state, usage
        self._kept += entries
        self._kept_bytes += sum(map(_size_bytes, entries))
        if self._durability is Durability.SYNC or last.kind is EntryKind.TURN_FINISHED:
            await self.settle()
        elif self._durability is Durability.ASYNC:
            await self._write_behind()
        elif len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
            await self.settle()

    async def settle(self) -> None:
        """Return when every entry is written. Raises as `add`."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing
        await self._write()

    async def hand_over(self) -> tuple[JournalEntry, ...]:
        """What the thread is to keep until later; everything else is written. Raises as `add`."""
        if self._durability is not Durability.EXIT:
            await self.settle()
        return tuple(self._kept)

    async def close(self) -> None:
        """Write what was recorded before the segment was cut off, if that is possible."""
        with contextlib.suppress(GreenroomError):
            await self.settle()

    async def _write_behind(self) -> None:
        """Have what is there written while the caller goes on, unless the journal is far behind."""
        if self._writing is not None and self._writing.done():
            writing, self._writing = self._writing, None
            writing.result()
        if self._under_way_count + len(self._kept) >= MAX_BEHIND:
            await self.settle()
        elif self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=f"journal of {self._thread.id}")

    async def _write(self) -> None:
        while self._kept:
            if self._live.holds(self._thread.id):
                await self._live.flush(self._thread.id)
            # From here on it is done even if the caller is cancelled: the journal keeps the order of its calls.
            entries, self._kept, self._kept_bytes = self._kept, [], 0
            latest = self._latest
            self._appends_count += 1
            self._under_way_count = len(entries)
            op_id = f"{self._writer}/{self._appends_count}"
            try:
                size = await self._journal.append(self._thread.id, self._epoch, entries, op_id=op_id)
            except GreenroomError:
                self._kept = []  # nothing can be written behind what is lost
                raise
            self.turn_waits = size.turn_waits
            if latest is not None and snapshot_due(self._thread, size):
                await keep_snapshot(self._journal, self._thread, self._schema, *latest)
            self._under_way_count = 0


def _size_bytes(entry: JournalEntry) -> int:
    return sum(map(len, entry.deltas))
