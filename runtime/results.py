"""What drivers get back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphs.errors import GreenroomError
from graphs.journal import Pause, Usage
from graphs.threads import ThreadState


class StateDict(dict[str, Any]):
    """A state: channel -> value. Channels can also be read as attributes: `result.state.notes`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the state has no channel {name!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadResult:
    """How a turn of a thread ended. A failed one is a result too: look at `status` or `error`."""

    thread_id: str
    status: ThreadState
    state: StateDict
    usage: Usage
    """Tokens of the turn, those of its parallel threads included."""
    seq: int
    """Last seq of the turn."""
    error: GreenroomError | None
    """Why it failed or was cancelled; None after success."""
    turn: int
    """Number of the turn in its thread, from 1."""
    pause: Pause | None = None
    """What it waits for, if the status is `paused`."""
