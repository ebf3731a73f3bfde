"""Points of threads that can be gone back to. A snapshot names a seq and holds no state: journals are kept whole."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from graphs.journal import EntryKind, JournalEntry
from graphs.threads import ThreadState

KEEP = "keep"
"""Tag of snapshots that retention leaves alone."""


class CheckpointType(StrEnum):
    """Why a point of a thread is a snapshot."""

    AUTOMATIC = "automatic"  #: a turn was over
    NAMED = "named"  #: somebody asked for it
    BEFORE_INTERRUPT = "before_interrupt"  #: the thread was paused
    ON_FAILURE = "on_failure"  #: a turn failed


class SnapshotMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people want to know about a snapshot."""

    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    size_bytes: int = 0
    """Of the encoded state it stands for; of a session, those of the threads that run by themselves."""


class StateSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A snapshot somebody has asked for: of a thread, or of all threads of a session at one instant."""

    id: str
    state_id: str
    """Thread whose state it is; the main thread if it is of a session."""
    seq: int
    created_at: float
    """Unix seconds."""
    expires_at: float | None = None
    """Unix seconds; None: it stays."""
    metadata: SnapshotMetadata = SnapshotMetadata()
    checkpoint_type: CheckpointType = CheckpointType.NAMED
    threads: dict[str, int] = {}
    """Of a session: thread id -> seq, of all its threads. Of a thread: empty."""

    @property
    def snapshot_data(self) -> dict[str, int]:
        """Where the states stand: thread id -> seq."""
        return self.threads or {self.state_id: self.seq}

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


class ThreadSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A point of a thread that can be gone back to: one somebody has named, or one that its journal shows."""

    thread_id: str
    seq: int
    created_at: float
    """Unix seconds."""
    checkpoint_type: CheckpointType
    named: StateSnapshot | None = None
    """The snapshot somebody has asked for."""

    @property
    def id(self) -> str:
        """What it is restored by: the id of the named snapshot, or `{thread id}@{seq}`."""
        return self.named.id if self.named is not None else f"{self.thread_id}@{self.seq}"

    @property
    def snapshot_data(self) -> dict[str, int]:
        """Where the state stands: thread id -> seq."""
        return {self.thread_id: self.seq}


def checkpoints(thread_id: str, entries: Iterable[JournalEntry]) -> list[ThreadSnapshot]:
    """The points of a thread that its journal shows: ends of turns, and pauses."""
    found = []
    for entry in entries:
        kind = _checkpoint_type(entry)
        if kind is not None:
            point = ThreadSnapshot(thread_id=thread_id, seq=entry.seq, created_at=entry.at, checkpoint_type=kind)
            found.append(point)
    return found


def _checkpoint_type(entry: JournalEntry) -> CheckpointType | None:
    match entry.kind:
        case EntryKind.TURN_FINISHED if entry.cursor.status is ThreadState.FAILED:
            return CheckpointType.ON_FAILURE
        case EntryKind.TURN_FINISHED:
            return CheckpointType.AUTOMATIC
        case EntryKind.PAUSED:
            return CheckpointType.BEFORE_INTERRUPT
        case _:
            return None
