"""Rows of the history on their way into the store, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from graphs.history import COST, Counter, NewRow, Row, new_rows
from graphs.journal import EntryKind, JournalEntry, Usage
from graphs.statistics import amount
from graphs.threads import path_of, session_of

_encoder = msgspec.msgpack.Encoder()


def packed_rows(thread_id: str, entries: Sequence[JournalEntry]) -> bytes:
    """What `append.lua` is told of the rows that go with an append; empty if there are none, as for most."""
    for entry in entries:
        if entry.calls or entry.kind is EntryKind.TURN_FINISHED:
            rows = [_flat(row) for row in new_rows(entries)]
            return _encoder.encode((session_of(thread_id), path_of(thread_id), rows))
    return b""


def _flat(row: NewRow) -> tuple[object, ...]:
    """A row as an array; its counts as names and numbers in turn, these as text: numbers of Lua have 53 bits."""
    return (*row[:-1], [part for name, number in row.counts.items() for part in (name, str(number))])


def of_session(session_id: str, member: str) -> Row:
    """The row that an item of `keys.session_history` stands for."""
    row_id, series, path, seq, number = member.split(" ")
    return Row(int(row_id), int(series), f"{session_id}:{path}", int(seq), int(number))


def of_user(row_id: int, member: str) -> Row:
    """The row that a member of `keys.user_history` stands for."""
    series, place = member.split(" ", 1)
    thread_id, seq, number = place.rsplit(" ", 2)
    return Row(row_id, int(series), thread_id, int(seq), int(number))


def of_series(series: int, row_id: int, member: str) -> Row:
    """The row that an entry of `keys.history_series` stands for."""
    thread_id, seq, number = member.rsplit(" ", 2)
    return Row(row_id, series, thread_id, int(seq), int(number))


def used(counts: Mapping[str, int]) -> Usage:
    """What was counted of calls of models, as usage."""
    costs = [amount(counts[name], name[len(COST) :]) for name in sorted(counts) if name.startswith(COST)]
    return Usage(
        prompt_tokens=counts.get(Counter.PROMPT, 0),
        completion_tokens=counts.get(Counter.COMPLETION, 0),
        cached_tokens=counts.get(Counter.CACHED, 0),
        reasoning_tokens=counts.get(Counter.REASONING, 0),
        calls=counts.get(Counter.ROWS, 0) - counts.get(Counter.FAILED, 0),
        priced_calls=counts.get(Counter.PRICED, 0),
        cost=tuple(costs),
    )
