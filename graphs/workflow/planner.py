"""What a thread does next. The only place that decides it; hosts and executors call the same functions.

`advance` takes what has happened and gives the new cursor, which is journalled with the event; `command` reads from a
cursor what is to be done. A thread that is activated again needs only its last cursor to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from graphs.errors import ErrorInfo, GreenroomError, RoutingError, StepLimitExceeded
from graphs.journal import END, START, Cursor, Fork, Usage
from graphs.threads import ThreadState, check_transition
from graphs.workflow.node import ForkConfig, MapConfig, NodeType
from graphs.workflow.plan import Plan
from graphs.workflow.routing import RouteContext

_replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The thread begins turn `turn`. `at` names the node it begins at; None: where the edges of `START` lead."""

    turn: int
    at: str | None = None
    stop_at: str = END
    steps: int = 0
    error: ErrorInfo | None = None
    """Why it cannot even begin: the state does not take its input."""


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
class TurnFinished:
    """The command `FinishTurn` has been carried out."""

    status: ThreadState
    error: ErrorInfo | None = None


Event = TurnStarted | NodeFinished | NodeFailed | BranchesJoined | BranchesFailed | TurnFinished


@dataclass(frozen=True, slots=True)
class RunNode:
    """Run this node."""

    node: str
    kind: NodeType


@dataclass(frozen=True, slots=True)
class RunBranches:
    """Run the branches of this fork, and join them."""

    fork: Fork


@dataclass(frozen=True, slots=True)
class FinishTurn:
    """End the turn."""

    status: ThreadState
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done until the next turn."""


Command = RunNode | RunBranches | FinishTurn | Wait


def command(plan: Plan, cursor: Cursor) -> Command:
    """What the thread has to do now."""
    if cursor.status is not ThreadState.RUNNING:
        return Wait()
    if cursor.fork is not None:
        return RunBranches(cursor.fork)
    if cursor.node is not None:
        return RunNode(cursor.node, plan.kind(cursor.node))
    if cursor.error is not None:
        return FinishTurn(ThreadState.FAILED, cursor.error)
    return FinishTurn(ThreadState.COMPLETED)


def advance(plan: Plan, cursor: Cursor, event: Event, state: Mapping[str, Any], seq: int) -> Cursor:
    """The cursor after `event`.

    Args:
        plan: The graph the thread runs.
        cursor: Where the thread is.
        event: What has happened.
        state: The state after it.
        seq: Seq of the journal entry that records it.

    Raises:
        IllegalTransition: The event does not fit the cursor's status.
    """
    match event:
        case TurnStarted():
            check_transition(cursor.status, ThreadState.RUNNING)
            begun = Cursor(turn=event.turn, status=ThreadState.RUNNING, stop_at=event.stop_at, steps=event.steps)
            if event.error is not None:
                return _replace(begun, error=event.error)
            if event.at is not None:
                return _guarded(plan, begun, (event.at,), START, state, seq, Usage())
            return _leave(plan, begun, START, state, seq, Usage())
        case NodeFinished(usage):
            assert cursor.node is not None
            return _leave(plan, _replace(cursor, node=None, steps=cursor.steps + 1), cursor.node, state, seq, usage)
        case NodeFailed(error):
            return _replace(cursor, node=None, steps=cursor.steps + 1, error=error)
        case BranchesJoined(usage):
            assert cursor.fork is not None
            joined = _replace(cursor, fork=None, steps=cursor.steps + 1)
            if cursor.fork.targets:
                return _guarded(plan, joined, (cursor.fork.join,), cursor.fork.node, state, seq, usage)
            return _leave(plan, joined, cursor.fork.node, state, seq, usage)
        case BranchesFailed(error):
            return _replace(cursor, fork=None, error=error)
        case TurnFinished(status, error):
            check_transition(cursor.status, status)
            return _replace(cursor, status=status, node=None, fork=None, error=error)
        case _:
            assert_never(event)


def _leave(plan: Plan, cursor: Cursor, source: str, state: Mapping[str, Any], seq: int, usage: Usage) -> Cursor:
    """Follow the edges that leave `source`."""
    try:
        targets = _targets(plan, cursor, source, state, usage)
    except GreenroomError as error:
        return _replace(cursor, error=error.info())
    return _guarded(plan, cursor, targets, source, state, seq, usage)


def _guarded(
    plan: Plan, cursor: Cursor, targets: tuple[str, ...], source: str, state: Mapping[str, Any], seq: int, usage: Usage
) -> Cursor:
    """Go to `targets`: the end, one node, or a fork of several."""
    special = source in plan.special_forks
    if special or len(targets) > 1:
        join = plan.joins[source]
        # A branch that would begin at its own end has nothing to do; a single one left needs no thread of its own.
        busy = tuple(target for target in targets if target not in (join, cursor.stop_at))
        branches = targets if special and busy else busy
        if len(branches) > 1 or (special and busy):
            return _replace(cursor, fork=Fork(node=source, seq=seq, join=join, targets=branches))
        targets = busy or (join,)
    target = targets[0]
    if target in (END, cursor.stop_at):
        return cursor
    if cursor.steps >= plan.graph.max_steps:
        error = StepLimitExceeded(
            f"{plan.graph.ref} ran {cursor.steps} steps in one turn; end the loop or raise max_steps",
            max_steps=plan.graph.max_steps,
            node=target,
        )
        return _replace(cursor, error=error.info())
    config = plan.nodes[target].config
    if isinstance(config, MapConfig):
        return _map(cursor, target, config, state, seq)
    if isinstance(config, ForkConfig):
        return _leave(plan, _replace(cursor, steps=cursor.steps + 1), target, state, seq, usage)
    return _replace(cursor, node=target)


def _map(cursor: Cursor, node: str, config: MapConfig, state: Mapping[str, Any], seq: int) -> Cursor:
    """Begin the map at `node`."""
    items = state[config.over]
    if items is not None and not isinstance(items, list):
        error = RoutingError(
            f"map {node!r} needs a list in channel {config.over!r}, which holds {type(items).__name__}",
            node=node,
            channel=config.over,
        )
        return _replace(cursor, error=error.info())
    return _replace(cursor, fork=Fork(node=node, seq=seq, join=node, items=len(items or ())))


def _targets(plan: Plan, cursor: Cursor, source: str, state: Mapping[str, Any], usage: Usage) -> tuple[str, ...]:
    """Distinct targets of the edges taken after `source`, in edge order; never empty."""
    context = RouteContext(steps=cursor.steps, turn=cursor.turn, usage=usage)
    taken: dict[str, None] = {}
    default: str | None = None
    conditional_taken = False
    for planned in plan.edges.get(source, ()):
        edge = planned.edge
        if edge.default:
            default = edge.target
            continue
        found = planned.taken(plan.schema, state, context)
        conditional_taken = conditional_taken or (bool(found) and edge.condition is not None)
        taken.update(dict.fromkeys(found))
    if default is not None and not conditional_taken:
        taken[default] = None
    if not taken:
        raise RoutingError(
            f"no edge after {source!r} is taken: none of its conditions holds; add an edge with default=True",
            node=source,
        )
    return tuple(taken)
