"""In which order a watcher of a thread sees entries and live events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.ports import LiveEvent
from graphs.journal import JournalEntry


class Feed:
    """What one watcher has seen of a thread.

    Args:
        after: Seq of the last entry seen.
    """

    def __init__(self, after: int) -> None:
        self.seen = after

    def merge(self, entries: Iterable[JournalEntry], events: Sequence[LiveEvent]) -> list[JournalEntry | LiveEvent]:
        """New `entries` in order, and before each of them the events of its step.

        Entries and events of steps that were seen to end are left out.
        """
        merged: list[JournalEntry | LiveEvent] = []
        events = [event for event in events if event.seq > self.seen]
        for entry in entries:
            if entry.seq <= self.seen:
                continue
            merged += [event for event in events if event.seq <= entry.seq]
            events = [event for event in events if event.seq > entry.seq]
            merged.append(entry)
            self.seen = entry.seq
        return merged + events
