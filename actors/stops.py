"""Why the turns of a session do not simply run to their end: some are to be cancelled, or all of it is to rest."""

from __future__ import annotations

from actors.pauses import with_session
from graphs.journal import Pause
from graphs.sessions import Session, SessionState


class Stops:
    """What is to become of the turns of one thread."""

    def __init__(self) -> None:
        self.halted: Session | None = None
        """The session, if it is paused or aborted."""
        self.asked: Pause | None = None
        """How the turn that runs, or is next, is to be paused, if it is."""
        self._cancelled: dict[int, str] = {}
        """Turn -> why it is to be cancelled."""

    @property
    def rests(self) -> bool:
        """Whether no turn may begin."""
        return self.halted is not None and self.halted.state is SessionState.PAUSED

    @property
    def pause(self) -> Pause | None:
        """How a turn that runs is to be paused, if it is."""
        return with_session(self.halted) if self.rests and self.halted is not None else self.asked

    def cancel(self, turn: int, reason: str) -> None:
        """A turn is to be cancelled."""
        self._cancelled[turn] = reason

    def why_cancelled(self, turn: int) -> str | None:
        """Why a turn is to be cancelled, if it is."""
        if self.halted is not None and self.halted.state is SessionState.ABORTED:
            return self.halted.reason
        return self._cancelled.get(turn)

    def over(self, turn: int) -> None:
        """The turns up to `turn` are over."""
        self._cancelled = {later: reason for later, reason in self._cancelled.items() if later > turn}

    def clear(self) -> None:
        """Nobody waits for any of it."""
        self._cancelled.clear()
