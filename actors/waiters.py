"""Those who wait for turns of a thread: each is told once, when the turn is over or waits for somebody."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from actors.ports import Journal
from actors.protocol import TurnDone
from actors.replay import SchemaOf, turn_outcome
from actors.thread import ThreadActor
from graphs.errors import NotFoundError
from graphs.journal import Cursor
from graphs.threads import ThreadState


class Waiters:
    """Those of one thread.

    Args:
        journal: Where past turns are read.
        schema_of: Finds state schemas.
    """

    def __init__(self, journal: Journal, schema_of: SchemaOf) -> None:
        self._journal = journal
        self._schema_of = schema_of
        self._waiting: dict[int, dict[asyncio.Future[TurnDone], int | None]] = {}
        """Turn -> who waits, and the seq after which they know the state."""

    def add(self, turn: int, done: asyncio.Future[TurnDone], known_seq: int | None = None) -> None:
        """Have `done` told how `turn` ends."""
        self._waiting.setdefault(turn, {})[done] = known_seq

    def remove(self, turn: int, done: asyncio.Future[TurnDone]) -> None:
        """Whoever waited has been told, or is gone."""
        waiting = self._waiting.get(turn, {})
        waiting.pop(done, None)
        if not waiting:
            self._waiting.pop(turn, None)

    async def tell(self, thread: ThreadActor) -> None:
        """Tell those who wait for a turn that is over."""
        for turn in [turn for turn in self._waiting if is_over(thread.cursor, turn)]:
            is_last = turn == thread.cursor.turn
            past = None if is_last else await turn_outcome(self._journal, thread.thread, turn, self._schema_of)
            for future, known_seq in self._waiting.pop(turn, {}).items():
                if future.done():
                    continue
                done = thread.turn_done(known_seq) if is_last else past
                if done is None:
                    key = f"{thread.thread.id} turn {turn}"
                    future.set_exception(NotFoundError(f"{key} is no longer recorded", kind="turn", key=key))
                else:
                    future.set_result(done)

    def tell_pause(self, thread: ThreadActor) -> None:
        """Tell all others that the thread is paused: turns that wait behind have not begun."""
        for turn in [turn for turn in self._waiting if turn >= thread.cursor.turn]:
            for future, known_seq in self._waiting.pop(turn).items():
                if future.done():
                    continue
                done = thread.turn_done(known_seq)
                behind = turn > done.turn
                future.set_result(replace(done, turn=turn, status=ThreadState.PENDING) if behind else done)

    def fail(self, error: Exception) -> None:
        """Tell all of them that the thread cannot be run here."""
        for future in [future for futures in self._waiting.values() for future in futures]:
            if not future.done():
                future.set_exception(error)
                future.exception()  # retrieved: perhaps its asker is just being ended too
        self._waiting.clear()


def is_over(cursor: Cursor, turn: int) -> bool:
    """Whether `turn` of a thread is over, which is at `cursor`."""
    return turn < cursor.turn or (turn == cursor.turn and cursor.status.finished)
