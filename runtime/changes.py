"""What has changed the states of threads: replayed from their journals, never stored twice; and changing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from actors.replay import apply, replay
from graphs.errors import BusinessRuleViolation
from graphs.journal import EntryKind, JournalEntry
from graphs.state.changes import StateChange, StateHistoryEntry, operation_of, state_diff
from runtime.records import Records


class Updater(Protocol):
    """Who has threads updated."""

    async def update(self, thread_id: str, delta: bytes, user_id: str) -> None:
        """Have a write recorded, and applied to the state of a thread at rest."""


class HistoryService:
    """Reads the changes of states, and records those that people make.

    Args:
        records: What is stored.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    async def get_history(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[StateHistoryEntry]:
        """What has changed the state of a thread after seq `after`, in order.

        Args:
            thread_id: The thread.
            after: Only what came after this seq.
            limit: Most entries of the journal to look at; None: all.

        Raises:
            NotFoundError: No such thread, or no such seq.
            CorruptRecord: An entry cannot be read.
        """
        records, journal = self._records, self._records.store.journal
        thread = (await records.thread(thread_id)).thread
        schema, session = await records.schema(thread.workflow), await records.session(thread.session_id)
        state = {}
        if after > 0 or thread.base is not None:
            state = (await replay(journal, thread, records.schema, at=after)).state
        values = records.values.of(thread_id, schema)
        found = []
        for entry in await journal.read(thread_id, after=after, limit=limit):
            before = state
            if entry.kind is EntryKind.RESTORED:
                state = (await replay(journal, thread, records.schema, at=entry.seq)).state
            else:
                state = apply(schema, state or schema.initial(), entry.deltas)
            written = [name for name in schema.channels if before.get(name) is not state.get(name)]
            changes = state_diff(schema, await values.load(before, written), await values.load(state, written))
            values.keep_only(state)
            if changes or _always_shown(entry):
                found.append(_history_entry(thread_id, session.user_id, entry, changes))
        return found

    async def record_change(
        self, updater: Updater, thread_id: str, values: Mapping[str, Any], *, user_id: str = ""
    ) -> None:
        """Write values to the state of a thread at rest, as an entry of its journal. See `AsyncThread.update`."""
        records = self._records
        schema = await records.schema((await records.thread(thread_id)).thread.workflow)
        delta = await records.encoded(thread_id, schema, schema.check_input(values))
        await updater.update(thread_id, delta, user_id)

    async def diff(self, a: tuple[str, int], b: tuple[str, int | None]) -> list[StateChange]:
        """The changes that make one state into another, each given as (thread id, seq); None: as it is now.

        Raises:
            NotFoundError: There is no such thread or seq.
            BusinessRuleViolation: The two threads have different states.
        """
        first, second = [(await self._records.thread(thread_id)).thread.workflow for thread_id, _ in (a, b)]
        if first != second:
            raise BusinessRuleViolation(
                f"{a[0]} runs {first} and {b[0]} runs {second}: their states do not compare", threads=[a[0], b[0]]
            )
        old, new = [await self._records.state(thread_id, at=seq) for thread_id, seq in (a, b)]
        return state_diff(await self._records.schema(first), old, new)


def _always_shown(entry: JournalEntry) -> bool:
    return entry.seq == 1 or entry.kind is EntryKind.RESTORED


def _history_entry(thread_id: str, user_id: str, entry: JournalEntry, changes: list[StateChange]) -> StateHistoryEntry:
    restored = entry.kind is EntryKind.RESTORED and not entry.deltas
    return StateHistoryEntry(
        id=f"{thread_id}@{entry.seq}",
        state_id=thread_id,
        seq=entry.seq,
        operation=operation_of(changes, first=entry.seq == 1, restored=restored),
        timestamp=entry.at,
        user_id=entry.user_id or user_id,
        node=entry.node,
        by=entry.by,
        changes=tuple(changes),
    )
