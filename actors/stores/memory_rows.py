"""Rows of the history in memory, and what is counted of them: what `append.lua` keeps in Redis."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence

from actors.stores.records import SESSION, THREAD
from graphs.history import NewRow, Row, RowKind, Series, is_execution, workflow_of
from graphs.journal import CorruptRecord
from graphs.statistics import DAY_S, HOUR_S
from graphs.threads import Thread, session_of

_Counts = defaultdict[tuple[str, int], defaultdict[str, int]]
"""(workflow, number of the day or hour) -> name -> number."""


def _counts() -> _Counts:
    return defaultdict(lambda: defaultdict(int))


class MemoryRows:
    """All rows, in the order of their ids, by what they are looked for by."""

    def __init__(self) -> None:
        self.series: dict[Series, int] = {}
        self.by_series: defaultdict[int, list[Row]] = defaultdict(list)
        self.by_session: defaultdict[str, list[Row]] = defaultdict(list)
        self.by_user: defaultdict[str, list[Row]] = defaultdict(list)
        self.days, self.hours, self.users = _counts(), _counts(), _counts()
        self.used: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        """Session id -> counter -> number, of calls of models."""
        self.owners: dict[str, bytes] = {}
        """Session id -> sealed session."""
        self._last = 0

    def add(self, thread_id: str, sealed: bytes, rows: Sequence[NewRow]) -> None:
        """Add the rows of an append to a thread with this record."""
        thread, session_id = _thread(thread_id, sealed), session_of(thread_id)
        user = self._owner(session_id)
        workflow, version = workflow_of(thread)
        for new in rows:
            if new.kind is RowKind.EXECUTION and not is_execution(thread):
                continue
            self._last = max(self._last + 1, new.at_us)
            series = Series(workflow, version, new.node, new.model, new.kind)
            number = self.series.setdefault(series, len(self.series) + 1)
            row = Row(self._last, number, thread_id, new.seq, new.number)
            self.by_series[number].append(row)
            self.by_session[session_id].append(row)
            if user:
                self.by_user[user].append(row)
            self._count(workflow, user, new, number)
            if new.kind is RowKind.MODEL:
                for counter, count in new.counts.items():
                    self.used[session_id][counter] += count

    def _count(self, workflow: str, user: str, new: NewRow, series: int) -> None:
        day, hour = self._last // (DAY_S * 1_000_000), self._last // (HOUR_S * 1_000_000)
        for counter, count in new.counts.items():
            self.days[workflow, day][f"{series} {counter}"] += count
            self.hours[workflow, hour][f"{series} {counter}"] += count
            self.users[workflow, day][f"{new.kind}{counter} {user}"] += count

    def forget(self, session_id: str) -> None:
        """Drop the rows of a session. What was counted of them stays."""
        self.used.pop(session_id, None)
        for row in list(self.by_session.get(session_id, ())):
            self.drop(row)
        self.by_session.pop(session_id, None)

    def drop(self, row: Row) -> None:
        """Take a row out of all indexes."""
        session_id = session_of(row.thread_id)
        _drop(self.by_series[row.series], row)
        _drop(self.by_session[session_id], row)
        if user := self._owner(session_id):
            _drop(self.by_user[user], row)

    def _owner(self, session_id: str) -> str:
        sealed = self.owners.get(session_id)
        try:
            return "" if sealed is None else SESSION.decode(sealed, key="").user_id
        except CorruptRecord:
            return ""  # told by whoever reads the session


def between(rows: Sequence[Row], low: int, high: int) -> Sequence[Row]:
    """Those with ids from `low` to `high`."""
    begin = bisect_left(rows, low, key=lambda row: row.id)
    return rows[begin : bisect_right(rows, high, key=lambda row: row.id)]


def _drop(rows: list[Row], row: Row) -> None:
    """Take a row out, if it is there."""
    at = bisect_left(rows, row.id, key=lambda each: each.id)
    if at < len(rows) and rows[at].id == row.id:
        del rows[at]


def _thread(thread_id: str, sealed: bytes) -> Thread:
    try:
        return THREAD.decode(sealed, key="")
    except CorruptRecord:  # told by whoever reads the thread
        return Thread(id=thread_id, session_id=session_of(thread_id), thread_type="main", workflow="")  # type: ignore[arg-type]
