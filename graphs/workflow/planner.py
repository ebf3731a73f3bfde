"""What a thread does next. The only place that decides it; hosts and executors call the same functions.

`advance` takes what has happened and gives the new cursor, which is journalled with the event; `command` reads from a
cursor what is to be done. A thread that is activated again needs only its last cursor to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from graphs.budgets import Budget, least
from graphs.errors import ErrorInfo, IllegalTransition
from graphs.journal import START, Cursor, EntryKind, Fork, JournalEntry, Pause, PauseKind, Usage
from graphs.threads import Durability, ThreadState, check_transition
from graphs.workflow.moves import Move
from graphs.workflow.node import NodeType
from graphs.workflow.plan import Plan

_replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The thread begins turn `turn`. `at` names the node it begins at; None: where the edges of `START` lead."""

    turn: int
    at: str | None = None
    stop_at: str | None = None
    """None: where the thread has ended so far."""
    steps: int = 0
    durability: Durability | None = None
    """None: as the workflow says."""
    error: ErrorInfo | None = None
    """Why it cannot even begin: the state does not take its input."""
    budget: Budget | None = None
    """What it may use, besides what the workflow allows."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The node of the cursor, which runs at most once, is about to be called."""


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """The node of the cursor has finished; the state holds what it wrote."""

    usage: Usage = field(default_factory=Usage)
    """Tokens of this turn so far."""


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """The node of the cursor has failed for good."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class BranchesJoined:
    """The open fork is joined; the state holds what its branches wrote."""

    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class BranchesFailed:
    """The open fork cannot be joined."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Paused:
    """The thread does nothing until it is resumed."""

    pause: Pause


@dataclass(frozen=True, slots=True)
class Resumed:
    """The thread goes on; the state holds the answer, if a person was asked."""

    usage: Usage = field(default_factory=Usage)
    refusal: ErrorInfo | None = None
    """Why the node must not call its tool, if a person was asked that and said no."""


@dataclass(frozen=True, slots=True)
class Branched:
    """A what-if branch begins where another thread was after `entry`."""

    entry: JournalEntry
    updated: bool
    """Whether the state was changed: then the edges after the node of `entry` are chosen anew."""
    usage: Usage = field(default_factory=Usage)
    inner: bool = False
    """Whether the other thread is a branch of a fork: then it has begun in the middle of the graph."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The state has become that of a former seq, or of another thread, where the cursor was `cursor`."""

    cursor: Cursor


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The command `FinishTurn` has been carried out."""

    status: ThreadState
    error: ErrorInfo | None = None


Event = (
    TurnStarted
    | StepStarted
    | NodeFinished
    | NodeFailed
    | BranchesJoined
    | BranchesFailed
    | Paused
    | Resumed
    | Branched
    | Restored
    | TurnFinished
)


@dataclass(frozen=True, slots=True)
class RunNode:
    """Run this node."""

    node: str
    kind: str
    """Kind of the executors that run it."""


@dataclass(frozen=True, slots=True)
class RunBranches:
    """Run the branches of this fork, and join them."""

    fork: Fork


@dataclass(frozen=True, slots=True)
class PauseAt:
    """Pause at this node, which asks a person or waits for a time, or whose tool needs a person's approval."""

    node: str
    kind: NodeType


@dataclass(frozen=True, slots=True)
class FinishTurn:
    """End the turn."""

    status: ThreadState
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done until the next turn, or until the thread is resumed."""


Command = RunNode | RunBranches | PauseAt | FinishTurn | Wait


def command(plan: Plan, cursor: Cursor) -> Command:
    """What the thread has to do now."""
    if cursor.status is not ThreadState.RUNNING:
        return Wait()
    if cursor.fork is not None:
        return RunBranches(cursor.fork)
    if cursor.node is not None:
        executor = plan.executors.get(cursor.node)
        if executor is None or cursor.asks:
            return PauseAt(cursor.node, plan.kinds[cursor.node])
        return RunNode(cursor.node, executor)
    if cursor.error is not None:
        return FinishTurn(ThreadState.FAILED, cursor.error)
    return FinishTurn(ThreadState.COMPLETED)


def advance(
    plan: Plan, cursor: Cursor, event: Event, state: Mapping[str, Any], seq: int, *, now: float = 0.0
) -> Cursor:
    """The cursor after `event`.

    Args:
        plan: The graph the thread runs.
        cursor: Where the thread is.
        event: What has happened.
        state: The state after it.
        seq: Seq of the journal entry that records it.
        now: Unix seconds when it happened.

    Raises:
        IllegalTransition: The event does not fit the cursor's status.
        NotLoaded: What comes next hangs on values of which the state has only references.
    """
    move = Move(plan, state, seq, now)
    match event:
        case TurnStarted():
            return _started(move, cursor, event)
        case StepStarted():
            return _replace(cursor, started=True)
        case NodeFinished(usage):
            assert cursor.node is not None
            return move.leave(_done(cursor), cursor.node, usage)
        case NodeFailed(error):
            assert cursor.node is not None
            return move.catch(_done(cursor), cursor.node, error)
        case BranchesJoined(usage):
            assert cursor.fork is not None
            return move.leave_fork(_done(cursor), cursor.fork.node, usage)
        case BranchesFailed(error):
            assert cursor.fork is not None
            return move.catch(_done(cursor), cursor.fork.node, error)
        case Paused() | Resumed() | Branched() | Restored():
            return _interrupted(move, cursor, event)
        case TurnFinished(status, error):
            check_transition(cursor.status, status)
            done = _replace(cursor, node=None, fork=None, pause=None, started=False, caught=None, asks=False)
            return _replace(done, status=status, error=error)
        case _:
            assert_never(event)


def _started(move: Move, cursor: Cursor, event: TurnStarted) -> Cursor:
    check_transition(cursor.status, ThreadState.RUNNING)
    begun = Cursor(
        turn=event.turn,
        status=ThreadState.RUNNING,
        stop_at=event.stop_at if event.stop_at is not None else cursor.stop_at,
        steps=event.steps,
        durability=event.durability if event.durability is not None else move.plan.graph.durability,
        budget=least((move.plan.budget, event.budget), begun=move.now),
    )
    if event.error is not None:
        return _replace(begun, error=event.error)
    if event.at is not None:
        return move.go(begun, (event.at,), START, Usage())
    return move.leave(begun, START, Usage())


def _interrupted(move: Move, cursor: Cursor, event: Paused | Resumed | Branched | Restored) -> Cursor:
    match event:
        case Paused(pause):
            check_transition(cursor.status, ThreadState.PAUSED)
            return _replace(cursor, status=ThreadState.PAUSED, pause=pause)
        case Resumed():
            return _resumed(move, cursor, event)
        case Branched():
            return _branched(move, event)
        case Restored(restored):
            return _restored(cursor, restored)
        case _:
            assert_never(event)


def _done(cursor: Cursor) -> Cursor:
    """`cursor` behind its node or fork."""
    return _replace(cursor, node=None, fork=None, steps=cursor.steps + 1, started=False, caught=None, asks=False)


def _resumed(move: Move, cursor: Cursor, event: Resumed) -> Cursor:
    if cursor.pause is None:
        raise IllegalTransition(
            f"a {cursor.status} thread cannot be resumed; it is not paused",
            source=cursor.status,
            target=ThreadState.RUNNING,
        )
    running = _replace(cursor, status=ThreadState.RUNNING, pause=None)
    if cursor.pause.kind in (PauseKind.HUMAN, PauseKind.TIMER):
        assert cursor.node is not None
        return move.leave(_done(running), cursor.node, event.usage)
    if event.refusal is not None:
        assert cursor.node is not None
        if move.plan.tells(cursor.node):
            return _replace(running, asks=False, caught=event.refusal)
        return move.catch(_done(running), cursor.node, event.refusal)
    return _replace(running, asks=cursor.asks and cursor.pause.kind is not PauseKind.APPROVAL)


def _branched(move: Move, event: Branched) -> Cursor:
    """Where a branch begins: a fork that is open there is opened anew, with branches of its own."""
    at = _replace(event.entry.cursor, started=False)
    if at.node is not None:  # what was approved is the call of another thread
        at = _replace(at, asks=move.plan.asks(at.node, move.state))
    if at.pause is not None and (event.updated or at.pause.kind not in (PauseKind.HUMAN, PauseKind.TIMER)):
        # Nobody else pauses a branch, and no thread below it is paused. Another state may ask another question.
        at = _replace(at, status=ThreadState.RUNNING, pause=None)
    if at.status is not ThreadState.RUNNING:
        return at
    if event.updated and at.error is None:
        at = _chosen_anew(move, event, at)
    if at.fork is not None:
        at = _replace(at, fork=msgspec.structs.replace(at.fork, seq=move.seq, opened_at=move.now))
    return at


def _chosen_anew(move: Move, event: Branched, at: Cursor) -> Cursor:
    """`at`, with all that was decided at the entry decided once more."""
    entry, usage, left = event.entry, event.usage, event.entry.node
    again = _replace(at, node=None, fork=None, caught=None)
    match entry.kind:
        case EntryKind.TURN_STARTED if not event.inner:
            return move.leave(again, START, usage)
        case EntryKind.STEP_FINISHED if left is not None:
            return move.leave(again, left, usage)
        case EntryKind.RESUMED if left is not None and left != at.node and left not in move.plan.executors:
            return move.leave(again, left, usage)
        case EntryKind.JOINED if left is not None:
            return move.leave_fork(again, left, usage)
        case EntryKind.STEP_FAILED | EntryKind.RESUMED if left not in (None, at.node) and at.caught is not None:
            assert left is not None
            return move.catch(again, left, at.caught)
        case _ if at.fork is not None and not at.fork.targets:  # the items of a map may be others
            return move.enter(_replace(again, caught=at.caught), at.fork.node, usage)
        case _:
            return at


def _restored(cursor: Cursor, restored: Cursor) -> Cursor:
    """At rest in the turn it is in, whatever turn the restored state is from; a question is asked again."""
    status = ThreadState.COMPLETED
    pause = None
    if restored.pause is not None and restored.pause.asks:
        status, pause = ThreadState.PAUSED, restored.pause
    return _replace(
        cursor,
        status=status,
        node=restored.node if pause is not None else None,
        fork=None,
        pause=pause,
        error=None,
        started=False,
        caught=None,
        asks=restored.asks and pause is not None,
        steps=restored.steps,
    )
