"""What a pause is: why a thread stops at a node, and when it goes on. Nothing here waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from actors.errors import ActiveElsewhere
from actors.ports import Head
from graphs.errors import BusinessRuleViolation, StateInvalid
from graphs.journal import Cursor, Pause, PauseKind
from graphs.sessions import Session
from graphs.threads import ThreadState
from graphs.workflow.approvals import approval_of
from graphs.workflow.node import CallConfig, HumanConfig, ToolCallConfig, WaitConfig
from graphs.workflow.plan import Plan
from graphs.workflow.reads import node_reads
from graphs.workflow.template import fields, render


def pause_at(plan: Plan, node_id: str, state: Mapping[str, Any], now: float) -> Pause:
    """How a thread pauses at a node that asks a person, waits for a time, or needs approval.

    Raises:
        GraphInvalid: The question cannot be made of the state.
        StateInvalid: The state does not say how long to wait.
    """
    config = plan.nodes[node_id].config
    if isinstance(config, HumanConfig):
        return Pause(kind=PauseKind.HUMAN, node=node_id, question=render(config.question, state))
    if isinstance(config, ToolCallConfig | CallConfig):
        return approval_of(plan.nodes[node_id], state)
    assert isinstance(config, WaitConfig)
    return Pause(kind=PauseKind.TIMER, node=node_id, until=now + _seconds(node_id, config, state))


def read_at_pause(plan: Plan, node_id: str) -> tuple[str, ...]:
    """Channels that say what such a node asks, or how long it waits."""
    config = plan.nodes[node_id].config
    if isinstance(config, HumanConfig):
        return tuple(sorted(fields(config.question)))
    if isinstance(config, ToolCallConfig | CallConfig):
        return tuple(sorted(node_reads(plan.nodes[node_id]) or ()))
    assert isinstance(config, WaitConfig)
    return (config.seconds,) if isinstance(config.seconds, str) else ()


def is_due(pause: Pause, now: float) -> bool:
    """Whether the time has come at which the thread goes on by itself."""
    return pause.until is not None and pause.until <= now


def with_session(session: Session) -> Pause:
    """How threads pause with their session."""
    return Pause(kind=PauseKind.SESSION, reason=session.reason)


def is_asked(cursor: Cursor) -> bool:
    """Whether a person is to answer the thread's question."""
    return cursor.status is ThreadState.PAUSED and cursor.pause is not None and cursor.pause.asks


def is_asked_to_pause(cursor: Cursor) -> bool:
    """Whether somebody has paused the thread, or those below it: its host may have died before it recorded its own."""
    pause = cursor.pause
    if pause is None:
        return False
    return pause.kind is PauseKind.ASKED or (pause.kind is PauseKind.BRANCHES and bool(pause.reason))


def goes_on(cursor: Cursor, now: float) -> bool:
    """Whether a paused thread goes on when it is asked to run: its time has come, or others decide that."""
    pause = cursor.pause
    return pause is not None and (pause.kind in (PauseKind.BRANCHES, PauseKind.SESSION) or is_due(pause, now))


def together(node: str, pauses: list[Pause], deadline: float | None) -> Pause:
    """The pause of a thread whose branches are all paused: the first question, the first time to go on.

    If one is paused with its session, so is the thread. It may not have been asked to, having been activated anew: then
    the session may be active again, and the store, which compares, refuses the pause of the root.
    """
    if (halted := next((pause for pause in pauses if pause.kind is PauseKind.SESSION), None)) is not None:
        return halted
    times = [pause.until for pause in pauses if pause.until is not None]
    if deadline is not None:
        times.append(deadline)
    return Pause(
        kind=PauseKind.BRANCHES,
        node=node,
        question=next((pause.question for pause in pauses if pause.question), ""),
        until=min(times, default=None),
        reason=next((pause.reason for pause in pauses if pause.reason), ""),
    )


def check_here(head: Head | None, *hosts: str) -> None:
    """Raise `ActiveElsewhere` if a thread runs on none of these hosts."""
    if head is not None and head.cursor.status is ThreadState.RUNNING and head.host not in ("", *hosts):
        where = f"thread {head.thread.id} is running on {head.host}; ask there"
        raise ActiveElsewhere(where, thread_id=head.thread.id, host=head.host)


def not_asked(thread_id: str, cursor: Cursor) -> BusinessRuleViolation:
    """The error for an answer that nobody waits for."""
    return BusinessRuleViolation(
        f"thread {thread_id} does not wait for this answer: {situation(cursor)}",
        thread_id=thread_id,
        status=cursor.status.value,
    )


def not_paused(thread_id: str, cursor: Cursor) -> BusinessRuleViolation:
    """The error for letting a thread go on that is not paused."""
    return BusinessRuleViolation(
        f"thread {thread_id} is not paused: {situation(cursor)}", thread_id=thread_id, status=cursor.status.value
    )


def cannot_pause(thread_id: str, cursor: Cursor) -> BusinessRuleViolation:
    """The error for pausing a thread that is at rest."""
    return BusinessRuleViolation(
        f"thread {thread_id} cannot be paused: {situation(cursor)}", thread_id=thread_id, status=cursor.status.value
    )


def cannot_resume(thread_id: str, cursor: Cursor) -> BusinessRuleViolation:
    """The error for resuming a thread that nobody has paused."""
    return BusinessRuleViolation(
        f"thread {thread_id} cannot be resumed: {situation(cursor)}", thread_id=thread_id, status=cursor.status.value
    )


def turn_waits(thread_id: str, turn: int) -> BusinessRuleViolation:
    """The error for cancelling a turn that does not begin before another one, or the session, is resumed."""
    return BusinessRuleViolation(
        f"turn {turn} of thread {thread_id} waits behind what is paused; cancel or resume that first",
        thread_id=thread_id,
        turn=turn,
    )


def situation(cursor: Cursor) -> str:
    """What a thread does or waits for, in words."""
    if cursor.status is ThreadState.RUNNING:
        return "it is running"
    if cursor.pause is None:
        return "its turn has not begun" if cursor.status is ThreadState.PENDING else f"it is {cursor.status}"
    match cursor.pause.kind:
        case PauseKind.HUMAN | PauseKind.APPROVAL:
            return f"node {cursor.pause.node!r} asks {cursor.pause.question!r}"
        case PauseKind.TIMER:
            return f"node {cursor.pause.node!r} waits for a time"
        case PauseKind.ASKED:
            return "somebody has paused it; resume it"
        case PauseKind.SESSION:
            return "its session is paused; resume that"
        case PauseKind.BRANCHES:
            return f"threads below it are paused, of node {cursor.pause.node!r}; `greenroom threads tree` shows them"


def _seconds(node_id: str, config: WaitConfig, state: Mapping[str, Any]) -> float:
    if not isinstance(config.seconds, str):
        return config.seconds
    value = state[config.seconds]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    problem = f"{config.seconds}: must be a number of seconds, not {value!r}"
    raise StateInvalid(f"node {node_id!r} cannot wait: {problem}", problems=[problem], node=node_id)
