"""What an append changes in the indexes of open threads and of timers: a pure decision that both stores carry out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from graphs.journal import EntryKind, JournalEntry, PauseKind
from graphs.sessions import SessionState
from graphs.threads import MAIN, ThreadState, is_root, path_of

_OPENING = frozenset({EntryKind.TURN_STARTED, EntryKind.RESUMED, EntryKind.BRANCHED, EntryKind.RESTORED})


_WITH = "with_thread"
"""Field of the error of a thread that was cancelled with one above it."""


class Change(StrEnum):
    """What becomes of a root thread."""

    OPEN = "open"  #: somebody has to work on it
    LOOK = "look"  #: somebody has to look at it, unless it is open: a thread below it goes on
    PAUSE = "pause"  #: nobody has to, until it is resumed
    HALT = "halt"  #: the same, and its session must be paused
    CLOSE = "close"  #: nobody has to, unless the next turn waits already


class IndexChange(NamedTuple):
    """One change."""

    change: Change
    due: float | None = None
    """Unix seconds at which a paused thread goes on by itself."""
    over: int | None = None
    """The turn that is over, of a thread that may have a next one."""
    begun: int | None = None
    """The turn whose input is in the journal now, so that it is needed nowhere else."""


def refused(change: Change, state: SessionState) -> bool:
    """Whether a thread of a session in this state may not change so."""
    return state.halted if change is Change.OPEN else change is Change.HALT and state is not SessionState.PAUSED


def index_change(thread_id: str, entries: Sequence[JournalEntry]) -> IndexChange | None:
    """The change that goes with an append; None, as for every step, if there is none."""
    cursor = entries[-1].cursor
    running = cursor.status is ThreadState.RUNNING
    if running and not any(entry.kind in _OPENING for entry in entries):
        return None
    if cursor.status is ThreadState.PENDING:
        return None
    if not is_root(thread_id):
        # Those above it go on with it, or without it. If they are cancelled too, nobody has to look.
        alone = cursor.status is ThreadState.CANCELLED and cursor.error is not None and _WITH not in cursor.error.fields
        return IndexChange(Change.LOOK) if alone or entries[-1].kind is EntryKind.RESUMED else None
    main = path_of(thread_id) == MAIN
    begins = main and any(entry.kind is EntryKind.TURN_STARTED and entry.deltas for entry in entries)
    begun = cursor.turn if begins else None
    if running:
        return IndexChange(Change.OPEN, begun=begun)
    if cursor.pause is not None:
        change = Change.HALT if cursor.pause.kind is PauseKind.SESSION else Change.PAUSE
        return IndexChange(change, due=cursor.pause.until, begun=begun)
    return IndexChange(Change.CLOSE, over=cursor.turn if main else None, begun=begun)
