"""Statistics of a workflow, added up from what was counted by the day and by the hour."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from graphs.calls import COST_DIGITS, MonetaryAmount, plain_decimal
from graphs.history import COST, Counter, RowKind, Series

HOUR_S = 3_600
DAY_S = 86_400


class GroupBy(StrEnum):
    """What statistics can be told apart by."""

    NODE = "node"
    MODEL = "model"
    USER = "user"
    VERSION = "version"
    DAY = "day"


class TokenStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was run and used."""

    execution_count: int = 0
    """Turns that have ended, however they did; a subworkflow and an item of a map over one count for theirs."""
    failed_executions: int = 0
    """Those that failed or were cancelled."""
    calls: int = 0
    """Calls of models, the failed ones included."""
    failed_calls: int = 0
    tool_executions: int = 0
    failed_tool_executions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that the provider had kept from an earlier one."""
    reasoning_tokens: int = 0
    """Completion tokens that the model has thought, and not said."""
    total_tokens: int = 0
    estimated_calls: int = 0
    """Calls of which the tokens are an estimate."""
    priced_calls: int = 0
    """Calls of which the price is known: `total_cost` is what these cost."""
    total_cost: tuple[MonetaryAmount, ...] = ()
    """One amount for each currency; none if no call has a known price."""


class WorkflowTokenStatistics(TokenStatistics, frozen=True, kw_only=True):
    """Statistics of one workflow."""

    workflow_id: str
    since: float
    """Unix seconds; the first moment that is counted."""
    until: float
    """Unix seconds; the first moment that is not."""
    average_tokens_per_execution: float = 0.0
    groups: dict[str, TokenStatistics] = {}
    """If asked for: what each node, model, user, version or day (`2026-11-26`, UTC) has of it."""


class Span(NamedTuple):
    """Whole days and single hours that together make up a time range, as numbers since 1970."""

    days: range
    hours: tuple[int, ...]
    since: float
    until: float


def span(since: float, until: float, *, whole_days: bool = False) -> Span:
    """The range from `since` to `until`, made larger to whole hours, or days."""
    unit = DAY_S if whole_days else HOUR_S
    first = math.floor(since / unit) * unit // HOUR_S
    last = max(math.ceil(until / unit) * unit // HOUR_S, first)
    begin, end = -(-first // 24), last // 24
    if begin >= end:
        days, hours = range(0), tuple(range(first, last))
    else:
        days, hours = range(begin, end), (*range(first, begin * 24), *range(end * 24, last))
    return Span(days, hours, float(first * HOUR_S), float(last * HOUR_S))


class Counted(NamedTuple):
    """One number that was counted."""

    kind: RowKind
    counter: str
    number: int
    group: str
    """The node, model, user, version or day it belongs to."""


def group_of(by: GroupBy | None, series: Series, day: int) -> str:
    """The group that what was counted of a series on a day belongs to."""
    match by:
        case GroupBy.NODE:
            return series.node
        case GroupBy.MODEL:
            return series.model
        case GroupBy.VERSION:
            return series.version
        case GroupBy.DAY:
            return datetime.datetime.fromtimestamp(day * DAY_S, datetime.UTC).date().isoformat()
        case _:
            return ""


def statistics(
    workflow: str, counted: Iterable[Counted], since: float, until: float, by: GroupBy | None
) -> WorkflowTokenStatistics:
    """All that was counted, added up, and the same for each group."""
    sums: defaultdict[str, defaultdict[tuple[RowKind, str], int]] = defaultdict(lambda: defaultdict(int))
    total: defaultdict[tuple[RowKind, str], int] = defaultdict(int)
    for kind, counter, number, group in counted:
        total[kind, counter] += number
        # Turns are of no node and of no model, tools of no model.
        if by is not None and (group or by is GroupBy.USER):
            sums[group][kind, counter] += number
    everything = _of(total)
    executions = everything.execution_count
    return WorkflowTokenStatistics(
        workflow_id=workflow,
        since=since,
        until=until,
        average_tokens_per_execution=everything.total_tokens / executions if executions else 0.0,
        groups={group: _of(sums[group]) for group in sorted(sums)},
        **{name: getattr(everything, name) for name in everything.__struct_fields__},
    )


def _of(sums: Mapping[tuple[RowKind, str], int]) -> TokenStatistics:
    def of(kind: RowKind, counter: Counter) -> int:
        return sums.get((kind, counter.value), 0)

    prompt, completion = of(RowKind.MODEL, Counter.PROMPT), of(RowKind.MODEL, Counter.COMPLETION)
    costs = {name[len(COST) :]: number for (_, name), number in sums.items() if name.startswith(COST)}
    return TokenStatistics(
        execution_count=of(RowKind.EXECUTION, Counter.ROWS),
        failed_executions=of(RowKind.EXECUTION, Counter.FAILED),
        calls=of(RowKind.MODEL, Counter.ROWS),
        failed_calls=of(RowKind.MODEL, Counter.FAILED),
        tool_executions=of(RowKind.TOOL, Counter.ROWS),
        failed_tool_executions=of(RowKind.TOOL, Counter.FAILED),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=of(RowKind.MODEL, Counter.CACHED),
        reasoning_tokens=of(RowKind.MODEL, Counter.REASONING),
        total_tokens=prompt + completion,
        estimated_calls=of(RowKind.MODEL, Counter.ESTIMATED),
        priced_calls=of(RowKind.MODEL, Counter.PRICED),
        total_cost=tuple(amount(costs[currency], currency) for currency in sorted(costs)),
    )


def amount(units: int, currency: str) -> MonetaryAmount:
    """The amount that was counted as so many units of the last place of `COST_DIGITS`."""
    return MonetaryAmount(amount=plain_decimal(Decimal(units).scaleb(-COST_DIGITS)), currency=currency)
