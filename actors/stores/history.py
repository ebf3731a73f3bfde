"""Reading the history by its indexes: rows in one order, the records they give, and what was counted."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from actors.stores.records import open_session
from graphs.history import HistoryQuery, HistoryRecord, Order, Row, RowKind, Series, parse_id, records_of
from graphs.journal import CorruptRecord, JournalEntry
from graphs.statistics import Counted, GroupBy, Span, WorkflowTokenStatistics, group_of, span, statistics
from graphs.threads import session_of

_LATEST = 2**53
"""Above every id."""
_USERS_AT_HAND = 10_000
_FORGET = 500
"""Rows that are forgotten in one step, during which the server does nothing else."""


class RowRange(NamedTuple):
    """Some rows of one index."""

    series: int | None
    """Number of the series; None: the index is that of `session` or `user`."""
    session: str | None
    user: str | None
    low: int
    """Least id."""
    high: int
    """Greatest id."""
    descending: bool
    most: int
    """Rows at most."""


class Buckets(NamedTuple):
    """What was counted, as it is stored."""

    days: Mapping[int, Mapping[str, int]]
    """Day -> `{series} {counter}` -> number."""
    hours: Mapping[int, Mapping[str, int]]
    users: Mapping[int, Mapping[str, int]]
    """Day -> `{kind}{counter} {user}` -> number."""


class RowSource(Protocol):
    """Where rows, and what they point to, are stored."""

    async def series(self) -> Mapping[int, Series]:
        """All series by number."""

    async def rows(self, ranges: Sequence[RowRange]) -> list[list[Row]]:
        """Rows of each of these ranges, in the order that it says."""

    async def entries(self, places: Sequence[tuple[str, int]]) -> list[JournalEntry | None]:
        """The entries at these (thread id, seq); None for one that is gone. Raises `CorruptRecord`."""

    async def sessions(self, session_ids: Sequence[str]) -> list[bytes | None]:
        """Their sealed records."""

    async def days(self, workflow: str) -> list[int]:
        """Days on which something of a workflow was counted, in order."""

    async def buckets(self, workflow: str, days: Sequence[int], hours: Sequence[int], *, users: bool) -> Buckets:
        """What was counted of a workflow in these days and hours, or by user in these days."""

    async def forget(self, series: int, before: int, *, most: int) -> int:
        """Take rows of a series with ids below `before` out of all indexes, the oldest first; returns how many."""


class History:
    """Queries and statistics (port `HistoryRepository`).

    Args:
        source: Where rows are stored.
    """

    def __init__(self, source: RowSource) -> None:
        self._source = source

    async def pages(self, query: HistoryQuery, *, size: int) -> AsyncGenerator[list[HistoryRecord], None]:
        """The records that fit, in order: about `size` at a time, since some rows give several.

        Raises:
            ValidationError: `after` is no id of a record.
            CorruptRecord: An entry cannot be read.
        """
        known = parse_id(query.after) if query.after else None
        series = await self._source.series()
        reading = _Reading(self._source, query, known, series)
        wanted = {number for number, each in series.items() if each.fits(query)}
        merge = _Merge(self._source, _ranges(query, wanted, known, size))
        while rows := await merge.take(size):
            fitting = [row for row in rows if row.series in wanted and query.thread in (None, row.thread_id)]
            for part in reading.parts(fitting, size):
                if page := await reading.records(part):
                    yield page

    async def statistics(
        self, workflow: str, *, since: float | None, until: float | None, by: GroupBy | None
    ) -> WorkflowTokenStatistics:
        """What was counted of a workflow in a time range, which is made larger to whole hours; to days by user."""
        days = await self._source.days(workflow)
        first = days[0] * 86_400.0 if days else 0.0
        last = (days[-1] + 1) * 86_400.0 if days else 0.0
        begin, end = first if since is None else since, last if until is None else until
        stretch = span(begin, end, whole_days=by is GroupBy.USER)
        return statistics(workflow, await self._counted(workflow, stretch, days, by), stretch.since, stretch.until, by)

    async def forget(self, before: float) -> int:
        """Take records from before a time out of all indexes; returns how many calls and turns. Counts stay."""
        gone, limit = 0, round(before * 1e6)
        for number in await self._source.series() if limit > 0 else ():
            while forgotten := await self._source.forget(number, limit, most=_FORGET):
                gone += forgotten
        return gone

    async def _counted(self, workflow: str, stretch: Span, days: Sequence[int], by: GroupBy | None) -> list[Counted]:
        full = [day for day in days if day in stretch.days]
        known = set(days)
        hours = [hour for hour in stretch.hours if hour // 24 in known]
        buckets = await self._source.buckets(workflow, full, hours, users=by is GroupBy.USER)
        if by is GroupBy.USER:
            return [_of_user(name, number) for counts in buckets.users.values() for name, number in counts.items()]
        series = await self._source.series()
        daily = [(day, name, number) for day, counts in buckets.days.items() for name, number in counts.items()]
        hourly = [
            (hour // 24, name, number) for hour, counts in buckets.hours.items() for name, number in counts.items()
        ]
        return [_of_series(series, by, *each) for each in (*daily, *hourly)]


class _Reading:
    """What is known in one reading of records."""

    def __init__(
        self, source: RowSource, query: HistoryQuery, known: tuple[int, int] | None, series: Mapping[int, Series]
    ) -> None:
        self._source = source
        self._query = query
        self._known = known
        self._series = series
        self._users: dict[str, str] = {}
        """Session id -> user id."""

    def parts(self, rows: Sequence[Row], size: int) -> list[list[Row]]:
        """The rows in parts that give about `size` records each: no more entries are read than needed."""
        each = 1 if self._query.record_type is not None else 3
        parts: list[list[Row]] = []
        left = 0
        for row in rows:
            if left <= 0:
                parts.append([])
                left = size
            parts[-1].append(row)
            left -= each if self._series[row.series].kind is RowKind.MODEL else 1
        return parts

    async def records(self, rows: Sequence[Row]) -> list[HistoryRecord]:
        """The records of some rows that fit."""
        query, descending = self._query, self._query.order is Order.DESC
        places = list(dict.fromkeys((row.thread_id, row.seq) for row in rows))
        entries = dict(zip(places, await self._source.entries(places), strict=True))
        await self._learn_users({session_of(thread_id) for thread_id, _ in places})
        page: list[HistoryRecord] = []
        for row in rows:
            entry, user = entries[row.thread_id, row.seq], self._users[session_of(row.thread_id)]
            if entry is None or query.user not in (None, user):
                continue  # its session was deleted a moment ago, or is somebody else's
            found = list(records_of(row, self._series[row.series], entry, user))
            page += (
                record
                for record in (reversed(found) if descending else found)
                if query.record_type in (None, record.record_type) and self._is_new(record)
            )
        return page

    def _is_new(self, record: HistoryRecord) -> bool:
        if self._known is None:
            return True
        here = parse_id(record.id)
        return here < self._known if self._query.order is Order.DESC else here > self._known

    async def _learn_users(self, session_ids: AbstractSet[str]) -> None:
        if len(self._users) > _USERS_AT_HAND:
            self._users.clear()
        missing = [session_id for session_id in session_ids if session_id not in self._users]
        for session_id, blob in zip(missing, await self._source.sessions(missing), strict=True):
            try:
                self._users[session_id] = "" if blob is None else open_session(session_id, blob).user_id
            except CorruptRecord:
                self._users[session_id] = ""  # told by whoever reads the session


def _of_series(series: Mapping[int, Series], by: GroupBy | None, day: int, name: str, number: int) -> Counted:
    label, _, counter = name.partition(" ")
    of = series[int(label)]
    return Counted(of.kind, counter, number, group_of(by, of, day))


def _of_user(name: str, number: int) -> Counted:
    counter, _, user = name.partition(" ")
    return Counted(RowKind(counter[0]), counter[1:], number, user)


def _ranges(query: HistoryQuery, series: set[int], known: tuple[int, int] | None, size: int) -> list[RowRange]:
    """The indexes to be read: that of the session or of the user, or those of all series that fit."""
    low = 0 if query.since is None else round(query.since * 1e6)
    high = _LATEST if query.until is None else round(query.until * 1e6) - 1
    descending = query.order is Order.DESC
    if known is not None:
        low, high = (low, min(high, known[0])) if descending else (max(low, known[0]), high)
    session = session_of(query.thread) if query.thread is not None else query.session
    if query.session not in (None, session) or not series:
        return []
    if session is not None:
        return [RowRange(None, session, None, low, high, descending, size)]
    if query.user:
        return [RowRange(None, None, query.user, low, high, descending, size)]
    count = min(size, max(16, 2 * size // len(series)))
    return [RowRange(number, None, None, low, high, descending, count) for number in sorted(series)]


@dataclass(slots=True)
class _Feed:
    """One range, as far as it was read."""

    left: RowRange
    rows: deque[Row] = field(default_factory=deque)
    is_read: bool = False
    """Whether nothing comes after `rows`."""

    def add(self, rows: Sequence[Row]) -> None:
        self.rows.extend(rows)
        self.is_read = len(rows) < self.left.most
        if rows:
            at = rows[-1].id
            self.left = self.left._replace(high=at - 1) if self.left.descending else self.left._replace(low=at + 1)


class _Merge:
    """The rows of several ranges in one order."""

    def __init__(self, source: RowSource, ranges: Sequence[RowRange]) -> None:
        self._source = source
        self._feeds = [_Feed(each) for each in ranges]
        self._sign = -1 if ranges and ranges[0].descending else 1
        self._empty = list(range(len(ranges)))
        """Numbers of the feeds that have to be read on."""
        self._heap: list[tuple[int, int]] = []
        """(what the next row of a feed is sorted by, number of the feed)."""

    async def take(self, count: int) -> list[Row]:
        """The next rows, `count` at most; none at the end."""
        taken: list[Row] = []
        while len(taken) < count:
            if self._empty:
                await self._read_on()
            if not self._heap:
                break
            number = self._heap[0][1]
            feed = self._feeds[number]
            taken.append(feed.rows.popleft())
            if feed.rows:
                heapq.heapreplace(self._heap, (self._sign * feed.rows[0].id, number))
            else:
                heapq.heappop(self._heap)
                if not feed.is_read:
                    self._empty.append(number)
        return taken

    async def _read_on(self) -> None:
        numbers, self._empty = self._empty, []
        found = await self._source.rows([self._feeds[number].left for number in numbers])
        for number, rows in zip(numbers, found, strict=True):
            self._feeds[number].add(rows)
            if rows:
                heapq.heappush(self._heap, (self._sign * rows[0].id, number))
