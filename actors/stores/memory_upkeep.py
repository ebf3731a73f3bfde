"""How large sessions are, which have been idle, and getting rid of them, in memory."""

from __future__ import annotations

from collections.abc import Mapping

from actors.stores import keys
from actors.stores.checks import at_work
from actors.stores.memory_journal import MemoryIndex, MemoryJournal
from actors.stores.memory_records import MemorySessions
from actors.stores.memory_rows import MemoryRows
from actors.stores.snapshots import MemorySnapshots
from actors.stores.values import MemoryValues
from graphs.sessions import SessionState
from graphs.threads import ThreadState, is_root, main_thread_id, session_work_id


class MemoryUpkeep:
    """What is kept of sessions (port `Upkeep`)."""

    def __init__(
        self,
        journal: MemoryJournal,
        sessions: MemorySessions,
        values: MemoryValues,
        snapshots: MemorySnapshots,
        index: MemoryIndex,
        rows: MemoryRows,
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._values = values
        self._snapshots = snapshots
        self._index = index
        self._rows = rows

    async def size(self, session_id: str) -> Mapping[str, int]:
        """Bytes of what is stored of a session, by kind."""
        sizes = self._journal.size(session_id)
        sizes["records"] += self._sessions.size(session_id)
        sizes["snapshots"] += sum(map(len, self._snapshots.records.get(session_id, {}).values()))
        sizes["values"] = sum(len(blob) for key, blob in self._values.blobs.items() if _is_of(session_id, key))
        return sizes

    async def idle(self, before: float, *, skip: int = 0, limit: int = 100) -> list[tuple[str, float]]:
        """Sessions last active before a time, with that time: the longest idle first."""
        idle = [(session_id, at) for session_id, at in self._index.active.items() if at < before]
        start = max(skip, 0)
        return sorted(idle, key=lambda found: (found[1], found[0].encode()))[start : start + max(limit, 0)]

    async def prune(self, session_id: str, *, idle_since: float | None = None, force: bool = False) -> bool:
        """Delete all that is stored of a session. Raises `BusinessRuleViolation` for one that is not at rest."""
        if idle_since is not None and self._index.active.get(session_id, 0.0) >= idle_since:
            return False
        main = main_thread_id(session_id)
        roots = [main, *(each for each in self._journal.ids(session_id) if each != main and is_root(each))]
        work = session_work_id(session_id)
        if not force and work in self._index.open:
            raise at_work(main, "running")
        if not force and self._index.state(session_id) is SessionState.PAUSED:
            raise at_work(main, "paused")
        for root in roots if not force else ():
            if root in self._index.open:
                raise at_work(root, "running")
            status = self._journal.status(root)
            if status in (ThreadState.PAUSED, ThreadState.RUNNING):
                raise at_work(root, status)
        self._index.open.pop(work, None)
        for root in roots:
            self._index.open.pop(root, None)
            self._index.timers.pop(root, None)
        self._rows.forget(session_id)
        self._journal.forget(session_id)
        self._sessions.forget(session_id)
        self._snapshots.records.pop(session_id, None)
        for key in [key for key in self._values.blobs if _is_of(session_id, key)]:
            del self._values.blobs[key]
        return True


def _is_of(session_id: str, key: str) -> bool:
    return key.startswith(keys.value(session_id, ""))
