"""The history of a driver: which calls of models and tools were made, what they used, and what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from actors.ports import HistoryRepository
from graphs.errors import ValidationError
from graphs.history import HistoryQuery, HistoryRecord, Order, RecordType
from graphs.history_table import HISTORY_SCHEMA, to_batch
from graphs.statistics import GroupBy, WorkflowTokenStatistics
from graphs.suggest import did_you_mean, one_of

Moment = float | datetime
"""A time: Unix seconds, or a datetime, which is local where it has no zone."""

_EXPORT_ROWS = 4_000
_FILTERS = frozenset(HistoryQuery.__struct_fields__) - {"order", "after"}


class AsyncHistory:
    """Queries, statistics and exports.

    Args:
        repository: Where it is stored.
    """

    def __init__(self, repository: HistoryRepository) -> None:
        self._repository = repository

    async def query(
        self, *, limit: int = 100, after: str = "", order: Order | str = Order.DESC, **filters: Any
    ) -> list[HistoryRecord]:
        """The records that fit, the newest first.

        Args:
            limit: Most records.
            after: Id of the last record that is known already: the next page.
            order: `desc`, or `asc` for the oldest first.
            **filters: What records must have, all of it: `workflow`, `version`, `session`, `user`, `thread`, `node`,
                `model`, `record_type`, `since` and `until`. These two are Unix seconds or datetimes; `until` is the
                first moment that does not count.

        Raises:
            ValidationError: An option is wrong.
        """
        if limit < 1:
            raise ValidationError(f"limit is {limit}; give 1 or more", problems=["limit"])
        query = _query(filters, after=after, order=one_of(Order, "order", order))
        found: list[HistoryRecord] = []
        async with aclosing(self._repository.pages(query, size=limit)) as pages:
            async for page in pages:
                found += page
                if len(found) >= limit:
                    break
        return found[:limit]

    async def statistics(
        self,
        workflow: str,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        by: GroupBy | str | None = None,
    ) -> WorkflowTokenStatistics:
        """What a workflow has run and used. It is counted as it is written: this reads some counters for each day.

        Args:
            workflow: Id of the workflow.
            since: The first moment that counts; None: the first day there is. The range is made larger to whole hours
                (UTC), by user to whole days; the answer says what it is.
            until: The first moment that counts no more; None: the end of the last day there is.
            by: Also tell it apart by `node`, `model`, `user`, `version` or `day`.

        Raises:
            ValidationError: There is no such `by`.
        """
        group = None if by is None else one_of(GroupBy, "by", by)
        return await self._repository.statistics(workflow, since=_seconds(since), until=_seconds(until), by=group)

    async def export(self, **filters: Any) -> AsyncGenerator[pa.RecordBatch, None]:
        """The records that fit, the oldest first, as Arrow record batches of `HISTORY_SCHEMA`.

        Only one batch, of a few thousand rows, is in memory at a time. `pyarrow.Table.from_batches` makes a table of
        them, and its `to_pandas` a data frame.

        Args:
            **filters: As in `query`.
        """
        query = _query(filters, after="", order=Order.ASC)
        async with aclosing(self._repository.pages(query, size=_EXPORT_ROWS)) as pages:
            async for page in pages:
                yield to_batch(page)

    async def export_parquet(self, path: str | Path, **filters: Any) -> int:
        """Write the records that fit to a Parquet file, the oldest first; their number is returned.

        Args:
            path: The file; one that is there is replaced.
            **filters: As in `query`.
        """
        count = 0
        with pq.ParquetWriter(path, HISTORY_SCHEMA, compression="zstd") as writer:
            async with aclosing(self.export(**filters)) as batches:
                async for batch in batches:
                    await asyncio.to_thread(writer.write_batch, batch)
                    count += batch.num_rows
        return count


def _query(filters: dict[str, Any], *, after: str, order: Order) -> HistoryQuery:
    problems = [f"no filter {name!r}{did_you_mean(name, _FILTERS)}" for name in filters if name not in _FILTERS]
    if problems:
        raise ValidationError(f"{'; '.join(problems)}; there are {', '.join(sorted(_FILTERS))}", problems=problems)
    given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    if "record_type" in given:
        given["record_type"] = one_of(RecordType, "record_type", given["record_type"])
    for name in ("since", "until"):
        given[name] = _seconds(given.get(name))
    return msgspec.structs.replace(HistoryQuery(after=after, order=order), **given)


def _seconds(moment: Moment | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else moment
