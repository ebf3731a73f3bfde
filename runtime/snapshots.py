"""Named points of threads and sessions, and going back to them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Protocol

from actors.ports import Head
from actors.replay import replay
from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.state.refs import refs_in
from graphs.state.snapshots import (
    CheckpointType,
    SnapshotMetadata,
    StateSnapshot,
    ThreadSnapshot,
    checkpoints,
)
from graphs.threads import ThreadState, is_root, main_thread_id, session_of
from runtime.records import Records


class Restorer(Protocol):
    """Who has threads restored."""

    records: Records

    async def restore(self, thread_id: str, origin: tuple[str, int]) -> None:
        """Give a thread the state of another seq."""


class SnapshotService:
    """Names points of threads, finds them again, and goes back to them.

    Args:
        records: What is stored.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._repository = records.store.snapshots

    async def create_snapshot(
        self,
        thread_id: str,
        *,
        name: str = "",
        description: str = "",
        tags: Collection[str] = (),
        expires_s: float | None = None,
    ) -> StateSnapshot:
        """Name the point where a thread is now. Raises `NotFoundError` if it has not begun."""
        head = await self._records.thread(thread_id)
        return await self._save([head], {}, name, description, tags, expires_s)

    async def create_session_snapshot(
        self,
        session_id: str,
        *,
        name: str = "",
        description: str = "",
        tags: Collection[str] = (),
        expires_s: float | None = None,
    ) -> StateSnapshot:
        """Name the points where all threads of a session are at one instant. Raises `NotFoundError`."""
        heads = [head for head in await self._records.store.journal.threads(session_id) if head.seq > 0]
        main = main_thread_id(session_id)
        if not any(head.thread.id == main for head in heads):
            raise NotFoundError(f"session {session_id} has run no turn yet", kind="thread", key=main)
        heads.sort(key=lambda head: head.thread.id != main)
        threads = {head.thread.id: head.seq for head in heads}
        return await self._save(heads, threads, name, description, tags, expires_s)

    async def of_thread(self, thread_id: str) -> list[ThreadSnapshot]:
        """Points of a thread that can be gone back to, named or not, in the order of their seqs.

        Raises:
            NotFoundError: No such thread.
            CorruptRecord: An entry or a snapshot cannot be read.
        """
        await self._records.thread(thread_id)
        found = checkpoints(thread_id, await self._records.store.journal.read(thread_id))
        for named in await self.of_session(session_of(thread_id)):
            if thread_id in named.snapshot_data:
                point = ThreadSnapshot(
                    thread_id=thread_id,
                    seq=named.snapshot_data[thread_id],
                    created_at=named.created_at,
                    checkpoint_type=CheckpointType.NAMED,
                    named=named,
                )
                found.append(point)
        return sorted(found, key=lambda point: (point.seq, point.created_at))

    async def of_session(self, session_id: str) -> list[StateSnapshot]:
        """The named snapshots of a session and of its threads that have not expired, oldest first."""
        now = time.time()
        return [each for each in await self._repository.list(session_id) if not each.expired(now)]

    async def find(self, session_id: str, snapshot_id: str) -> StateSnapshot:
        """A named snapshot. Raises `NotFoundError`, also if its time is over."""
        found = await self._repository.get(session_id, snapshot_id)
        if found is None or found.expired(time.time()):
            why = "has expired" if found is not None else "is not there; `greenroom snapshots ls` lists them"
            raise NotFoundError(
                f"snapshot {snapshot_id!r} of session {session_id} {why}", kind="snapshot", key=snapshot_id
            )
        return found

    async def restore_snapshot(
        self, restorer: Restorer, thread_id: str, snapshot: StateSnapshot | ThreadSnapshot | str | int
    ) -> None:
        """Give a thread the state it had, or another one had, at a snapshot or a seq.

        Raises:
            NotFoundError: There is no such snapshot or seq, or the thread is not in it.
            BusinessRuleViolation: The thread is running.
        """
        await restorer.restore(thread_id, await self._origin(thread_id, snapshot))

    async def restore_session(self, restorer: Restorer, session_id: str, snapshot: StateSnapshot | str) -> None:
        """Take the threads of a session that run by themselves back to where they were at a snapshot.

        Threads below them are over or belong to what is given up; threads begun since then stay as they are.

        Raises:
            NotFoundError: There is no such snapshot of the session.
            BusinessRuleViolation: One of the threads is running; then none is restored.
        """
        snapshot_id = snapshot if isinstance(snapshot, str) else snapshot.id
        wanted = (await self.find(session_id, snapshot_id)).snapshot_data
        heads = [head for head in await self._records.store.journal.threads(session_id) if head.thread.id in wanted]
        roots = [head for head in heads if is_root(head.thread.id) and head.seq != wanted[head.thread.id]]
        for head in roots:
            if head.cursor.status is ThreadState.RUNNING:
                raise BusinessRuleViolation(
                    f"thread {head.thread.id} is running; wait for its result, or cancel or pause it",
                    thread_id=head.thread.id,
                )
        for head in roots:
            await restorer.restore(head.thread.id, (head.thread.id, wanted[head.thread.id]))

    async def _origin(self, thread_id: str, snapshot: StateSnapshot | ThreadSnapshot | str | int) -> tuple[str, int]:
        if isinstance(snapshot, int):
            return thread_id, snapshot
        if isinstance(snapshot, ThreadSnapshot):
            return snapshot.thread_id, snapshot.seq
        if isinstance(snapshot, str):
            point, at, seq = snapshot.rpartition("@")
            if at and seq.isdecimal():
                return point, int(seq)
            snapshot = await self.find(session_of(thread_id), snapshot)
        seqs = snapshot.snapshot_data
        if thread_id in seqs:
            return thread_id, seqs[thread_id]
        if snapshot.threads:
            raise NotFoundError(f"snapshot {snapshot.id} has no thread {thread_id}", kind="thread", key=thread_id)
        return snapshot.state_id, snapshot.seq

    async def _save(
        self,
        heads: list[Head],
        threads: dict[str, int],
        name: str,
        description: str,
        tags: Collection[str],
        expires_s: float | None,
    ) -> StateSnapshot:
        now = time.time()
        snapshot = StateSnapshot(
            id=f"snap-{secrets.token_hex(8)}",
            state_id=heads[0].thread.id,
            seq=heads[0].seq,
            created_at=now,
            expires_at=None if expires_s is None else now + expires_s,
            metadata=SnapshotMetadata(
                name=name,
                description=description,
                tags=tuple(tags),
                size_bytes=sum(
                    [await self._size_bytes(head) for head in heads if len(heads) == 1 or is_root(head.thread.id)]
                ),
            ),
            threads=threads,
        )
        await self._repository.save(snapshot)
        return snapshot

    async def _size_bytes(self, head: Head) -> int:
        schema = await self._records.schema(head.thread.workflow)
        state = (await replay(self._records.store.journal, head.thread, self._records.schema, at=head.seq)).state
        large = [ref for value in state.values() for ref in refs_in(value)]
        return len(schema.encode_state(state)) + sum(ref.size_bytes for ref in large)
