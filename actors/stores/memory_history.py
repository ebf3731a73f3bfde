"""Reading the history in memory: same answers as in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.stores.history import Buckets, RowRange
from actors.stores.memory_journal import MemoryJournal
from actors.stores.memory_rows import MemoryRows, between
from graphs.history import Row, Series
from graphs.journal import JournalEntry


class MemoryHistory:
    """Rows, and what they point to (port `RowSource`)."""

    def __init__(self, rows: MemoryRows, journal: MemoryJournal) -> None:
        self._rows = rows
        self._journal = journal

    async def series(self) -> Mapping[int, Series]:
        """All series by number."""
        return {number: series for series, number in self._rows.series.items()}

    async def rows(self, ranges: Sequence[RowRange]) -> list[list[Row]]:
        """Rows of each of these ranges, in the order that it says."""
        return [self._range(each) for each in ranges]

    def _range(self, wanted: RowRange) -> list[Row]:
        if wanted.series is not None:
            rows = self._rows.by_series.get(wanted.series, [])
        elif wanted.session is not None:
            rows = self._rows.by_session.get(wanted.session, [])
        else:
            rows = self._rows.by_user.get(wanted.user or "", [])
        found = between(rows, wanted.low, wanted.high)
        return list(reversed(found[-wanted.most :]) if wanted.descending else found[: wanted.most])

    async def forget(self, series: int, before: int, *, most: int) -> int:
        """Take rows of a series with ids below `before` out of all indexes, the oldest first; returns how many."""
        old = between(self._rows.by_series.get(series, []), 0, before - 1)[:most]
        for row in old:
            self._rows.drop(row)
        return len(old)

    async def entries(self, places: Sequence[tuple[str, int]]) -> list[JournalEntry | None]:
        """The entries at these (thread id, seq); None for one that is gone. Raises `CorruptRecord`."""
        return [
            next(iter(await self._journal.read(thread_id, after=seq - 1, limit=1)), None) for thread_id, seq in places
        ]

    async def sessions(self, session_ids: Sequence[str]) -> list[bytes | None]:
        """Their sealed records."""
        return [self._rows.owners.get(session_id) for session_id in session_ids]

    async def days(self, workflow: str) -> list[int]:
        """Days on which something of a workflow was counted, in order."""
        return sorted(day for name, day in self._rows.days if name == workflow)

    async def buckets(self, workflow: str, days: Sequence[int], hours: Sequence[int], *, users: bool) -> Buckets:
        """What was counted of a workflow in these days and hours, or by user in these days."""
        rows = self._rows
        if users:
            return Buckets({}, {}, {day: dict(rows.users[workflow, day]) for day in days})
        daily = {day: dict(rows.days[workflow, day]) for day in days}
        return Buckets(daily, {hour: dict(rows.hours[workflow, hour]) for hour in hours}, {})
