"""What `thread.events()` yields: past-tense facts about one thread, in order, each with its seq."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphs.errors import GreenroomError
from graphs.journal import Pause, Usage
from graphs.threads import ThreadState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    thread_id: str
    seq: int
    """Seq in the thread's journal; for `NodeStarted` and `Token`, the seq the step will have."""
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(Event):
    """The thread has begun a turn."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A node has begun to run. Not recorded: quick nodes and past ones come without it."""

    node: str
    attempt: int
    by: str
    """Address of the executor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Event):
    """A language model has produced `text`. Not recorded."""

    node: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFinished(Event):
    """A step is recorded."""

    node: str
    delta: dict[str, Any]
    """Channel -> what the node wrote; for an appending channel the new items.

    A `ValueRef` stands for what is large: watching does not move it. `thread.state(at=seq)` has it.
    """
    attempt: int
    started_at: float
    """Unix seconds."""
    by: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed(Event):
    """A step, a fork or a map has failed for good."""

    node: str
    error: GreenroomError
    attempt: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchesStarted(Event):
    """Parallel threads have been started."""

    node: str
    """The node that forked, or the map."""
    threads: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchesJoined(Event):
    """The parallel threads are joined."""

    node: str
    delta: dict[str, Any]
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The thread does nothing until it is resumed."""

    pause: Pause
    """What it waits for: the answer to a question, a time, that somebody resumes it, or threads below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """The thread goes on."""

    node: str
    """The node that has waited; empty if none has."""
    delta: dict[str, Any]
    """What the answer wrote, if a person was asked."""
    refusal: GreenroomError | None = None
    """Why the node does not call its tool, if a person was asked that and said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branched(Event):
    """The thread, a what-if branch, has begun where another thread was."""

    base: tuple[str, int]
    """(thread id, seq)."""
    delta: dict[str, Any]
    """The update: channel -> what was written."""
    turn: int
    status: ThreadState


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored(Event):
    """The state has become that of another seq, perhaps of another thread, or was updated; the thread is at rest."""

    origin: tuple[str, int]
    """(thread id, seq)."""
    delta: dict[str, Any]
    """The update: channel -> what was written."""
    turn: int
    status: ThreadState


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFinished(Event):
    """The turn is over. The last event."""

    turn: int
    status: ThreadState
    usage: Usage
    error: GreenroomError | None = None
