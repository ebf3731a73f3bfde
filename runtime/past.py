"""The past of a thread: its history, what-if branches from any of its seqs, and going back to one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, Self

from graphs.errors import BusinessRuleViolation
from graphs.state.changes import StateChange, StateHistoryEntry
from graphs.state.snapshots import StateSnapshot, ThreadSnapshot
from graphs.threads import ThreadState, ThreadType, root_of
from runtime.changes import HistoryService
from runtime.records import Records
from runtime.results import StateDict
from runtime.snapshots import SnapshotService


class PastClient(Protocol):
    """What it needs."""

    records: Records

    async def branch(
        self, thread_id: str, at: int | None, update: Mapping[str, Any] | None, name: str
    ) -> tuple[str, int]:
        """Begin a what-if branch; its id and the number of its turn."""

    async def restore(self, thread_id: str, origin: tuple[str, int]) -> None:
        """Give a thread the state of another seq."""

    async def update(self, thread_id: str, delta: bytes, user_id: str) -> None:
        """Have a write recorded, and applied to the state of a thread at rest."""


class ThreadPast:
    """What a handle of a thread does with what has been."""

    _client: PastClient
    id: str

    def _of(self, thread_id: str, turn: int) -> Self:
        """A handle of another thread."""
        raise NotImplementedError

    async def state(self, *, at: int | None = None) -> StateDict:
        """Its state after seq `at`; None: now. Raises `NotFoundError` if there is no such seq."""
        return await self._client.records.state(self.id, at=at)

    async def history(self, *, after: int = 0, limit: int | None = None) -> list[StateHistoryEntry]:
        """What has changed its state after seq `after`, in order: who, when, and each value with its path.

        Args:
            after: Only what came after this seq.
            limit: Most entries of the journal to look at; None: all.
        """
        return await HistoryService(self._client.records).get_history(self.id, after=after, limit=limit)

    async def update(self, values: Mapping[str, Any], *, user_id: str = "") -> None:
        """Write to its state while it is at rest; returns when that is recorded. The next turn begins with it.

        Args:
            values: Channel -> value, written through the reducers.
            user_id: Who does so, for its history; empty: the user of the session.

        Raises:
            StateInvalid: The values do not fit the state; all problems are listed.
            NotFoundError: It has run no turn yet.
            BusinessRuleViolation: It is running or paused, or is run by a thread above it.
        """
        await HistoryService(self._client.records).record_change(self._client, self.id, values, user_id=user_id)

    async def diff(self, a: int, b: int | None = None, *, other: ThreadPast | str | None = None) -> list[StateChange]:
        """The changes that make its state after seq `a` into that after seq `b` (None: as it is now).

        Args:
            a: A seq of this thread.
            b: A seq of this thread, or of `other`.
            other: Another thread of the same workflow, such as a what-if branch of this one.

        Raises:
            NotFoundError: There is no such seq.
            BusinessRuleViolation: The other thread has another state.
        """
        second = self.id if other is None else other if isinstance(other, str) else other.id
        return await HistoryService(self._client.records).diff((self.id, a), (second, b))

    async def branch(self, at: int | None = None, update: Mapping[str, Any] | None = None, *, name: str = "") -> Self:
        """Begin a what-if branch: a thread of its own that goes on from a seq of this one.

        It shares what is stored of this thread and runs at once. The turn it runs is the one this thread was in; the
        tokens of that turn up to here count in it.

        Args:
            at: The seq; None: the last one.
            update: Channel -> value, written through the reducers before it goes on. What comes next is chosen anew.
            name: What people call it.

        Raises:
            NotFoundError: There is no such seq.
            StateInvalid: The update does not fit the state; all problems are listed.
        """
        return self._of(*await self._client.branch(self.id, at, update, name))

    async def snapshot(
        self, *, name: str = "", description: str = "", tags: Collection[str] = (), expires_s: float | None = None
    ) -> StateSnapshot:
        """Name the point where the thread is now, to find it again. It stores no state: what was stays readable.

        Args:
            name: What people call it.
            description: A sentence for people.
            tags: Words to find it by; `keep` keeps it from being removed as one of too many.
            expires_s: Seconds after which it is gone; None: it stays.
        """
        return await SnapshotService(self._client.records).create_snapshot(
            self.id, name=name, description=description, tags=tags, expires_s=expires_s
        )

    async def snapshots(self) -> list[ThreadSnapshot]:
        """Points to go back to: those with a name, ends of turns, failed ones too, and pauses."""
        return await SnapshotService(self._client.records).of_thread(self.id)

    async def restore(self, snapshot: StateSnapshot | ThreadSnapshot | str | int) -> None:
        """Give the thread the state it had at a snapshot; returns when that is recorded.

        The next turn begins with that state. What has been since stays in the journal. If a person was asked there, the
        question is asked again; else the thread is at rest, also if the snapshot is from the middle of a turn: use
        `branch` to go on from there.

        Args:
            snapshot: A snapshot, its id, or a seq of this thread.

        Raises:
            NotFoundError: There is no such snapshot or seq.
            BusinessRuleViolation: The thread is running.
        """
        await SnapshotService(self._client.records).restore_snapshot(self._client, self.id, snapshot)

    async def promote(self) -> None:
        """Make the state of this what-if branch that of the thread it came from: of the session, or another branch.

        What that thread has done since stays in its journal. Doing so twice changes nothing.

        Raises:
            BusinessRuleViolation: This is no what-if branch, or one of the two is running.
        """
        head = await self._client.records.thread(self.id)
        if head.thread.thread_type is not ThreadType.BRANCH or head.thread.base is None:
            raise BusinessRuleViolation(f"thread {self.id} is no what-if branch; branch() makes one", thread_id=self.id)
        if head.cursor.status is ThreadState.RUNNING:
            raise BusinessRuleViolation(f"branch {self.id} is still running; wait for its result", thread_id=self.id)
        await self._client.restore(root_of(head.thread.base[0]), (self.id, head.seq))
