"""The history in Redis: rows in streams and sorted sets, counts in hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from redis.asyncio.client import Pipeline

from actors.stores import keys
from actors.stores.checks import open_next
from actors.stores.history import Buckets, RowRange
from actors.stores.link import RedisLink
from actors.stores.rows import of_series, of_session, of_user
from actors.stores.tail import seq_of
from graphs.history import Row, Series
from graphs.journal import JournalEntry

_PAGE = 1_000
"""Commands sent in one round trip."""


class RedisRows:
    """Rows, and what they point to (port `RowSource`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._forget = link.script("forget")
        self._rows = link.script("rows")

    async def series(self) -> Mapping[int, Series]:
        """All series by number."""
        found = await self._link.run(lambda: self._link.client.hgetall(keys.HISTORY_SERIES))
        return {int(number): Series.of(label.decode()) for label, number in found.items()}

    async def rows(self, ranges: Sequence[RowRange]) -> list[list[Row]]:
        """Rows of each of these ranges, in the order that it says."""
        if len(ranges) == 1 and (session := ranges[0].session) is not None:
            return [await self._of_session(session, ranges[0])]
        found = await self._all(partial(_ask, each) for each in ranges)
        return [_rows(each, answer) for each, answer in zip(ranges, found, strict=True)]

    async def _of_session(self, session_id: str, wanted: RowRange) -> list[Row]:
        args = [wanted.low, wanted.high, int(wanted.descending), wanted.most]
        found = await self._link.run(lambda: self._rows(keys=[keys.session_history(session_id)], args=args))
        return [of_session(session_id, member.decode()) for member in found]

    async def entries(self, places: Sequence[tuple[str, int]]) -> list[JournalEntry | None]:
        """The entries at these (thread id, seq); None for one that is gone. Raises `CorruptRecord`."""
        found = await self._all(
            partial(Pipeline.xrange, name=keys.journal(thread_id), min=f"{seq}-0", max=f"{seq}-0")
            for thread_id, seq in places
        )
        return [_entry(*place, answer) for place, answer in zip(places, found, strict=True)]

    async def sessions(self, session_ids: Sequence[str]) -> list[bytes | None]:
        """Their sealed records."""
        return await self._all(
            partial(Pipeline.hget, name=keys.session(session_id), key="session") for session_id in session_ids
        )

    async def days(self, workflow: str) -> list[int]:
        """Days on which something of a workflow was counted, in order."""
        found = await self._link.run(lambda: self._link.client.zrange(keys.history_days(workflow), 0, -1))
        return [int(day) for day in found]

    async def buckets(self, workflow: str, days: Sequence[int], hours: Sequence[int], *, users: bool) -> Buckets:
        """What was counted of a workflow in these days and hours, or by user in these days."""
        names = [(keys.history_users if users else keys.history_day)(day, workflow) for day in days]
        names += [keys.history_hour(hour, workflow) for hour in hours]
        found = await self._all(partial(Pipeline.hgetall, name=name) for name in names)
        counts = [{name.decode(): int(number) for name, number in each.items()} for each in found]
        daily = dict(zip(days, counts, strict=False))
        hourly = dict(zip(hours, counts[len(days) :], strict=True))
        return Buckets({}, {}, daily) if users else Buckets(daily, hourly, {})

    async def forget(self, series: int, before: int, *, most: int) -> int:
        """Take rows of a series with ids below `before` out of all indexes, the oldest first; returns how many."""
        return await self._link.run(
            lambda: self._forget(keys=[keys.history_series(series)], args=[series, before, most])
        )

    async def _all(self, commands: Any) -> list[Any]:
        """Answers to commands, a thousand in each round trip."""
        rest, answers = iter(commands), []
        while page := list(islice(rest, _PAGE)):
            answers += await self._link.run(partial(self._page, page))
        return answers

    async def _page(self, commands: Sequence[Any]) -> list[Any]:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                command(pipeline)
            return await pipeline.execute()


def _ask(wanted: RowRange, pipeline: Pipeline) -> None:
    low, high, count = wanted.low, wanted.high, wanted.most
    if wanted.series is not None:
        name = keys.history_series(wanted.series)
        if wanted.descending:
            pipeline.xrevrange(name, max=f"{high}-0", min=f"{low}-0", count=count)
        else:
            pipeline.xrange(name, min=f"{low}-0", max=f"{high}-0", count=count)
        return
    name = keys.user_history(wanted.user or "")
    if wanted.descending:
        pipeline.zrevrangebyscore(name, high, low, start=0, num=count, withscores=True)
    else:
        pipeline.zrangebyscore(name, low, high, start=0, num=count, withscores=True)


def _rows(wanted: RowRange, answer: Sequence[tuple[bytes, Any]]) -> list[Row]:
    if wanted.series is not None:
        return [of_series(wanted.series, seq_of(row_id), fields[b"r"].decode()) for row_id, fields in answer]
    return [of_user(int(score), member.decode()) for member, score in answer]


def _entry(thread_id: str, seq: int, answer: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> JournalEntry | None:
    if not answer:
        return None
    (blob,) = answer[0][1].values()
    return open_next(seq - 1, seq, blob, key=keys.journal(thread_id), thread_id=thread_id)
