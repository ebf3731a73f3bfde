"""Workflows, what is done with them, and what may come of it when somebody dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from runtime import Graph
from tests.faults.drives import (
    Drive,
    answered,
    answered_below,
    approved,
    approved_agent,
    branched,
    cancelled_turn,
    long_turns,
    one_turn,
    paused_and_resumed,
    queue_of_threads,
    session_aborted,
    session_paused_and_resumed,
    session_paused_at_a_question,
    submitted_turns,
    two_turns,
)
from tests.faults.workflows import (
    Board,
    approving,
    approving_agent,
    asking,
    asking_below,
    asking_branches,
    broken_branch,
    budgeted,
    calling,
    calls,
    chain,
    conversation,
    failing,
    forked,
    large_values,
    line,
    loop,
    mapped,
    mapped_workflow,
    nested,
    once,
    queued,
    rescued,
    retried,
    subworkflow,
    waiting,
)


@dataclass(frozen=True)
class Scenario:
    """A workflow, and what is done with it."""

    build: Callable[[], list[Graph]]
    drive: Drive
    is_exact: bool = True
    """Whether every thread must have the same entries whatever is killed; not so where a race decides."""
    may: Callable[[dict[str, Any]], bool] | None = None
    """Whether a state may be what a race has left; None: it must be that of the run without a crash."""

    def allows(self, expected: tuple[Any, ...], result: tuple[Any, ...]) -> bool:
        """Whether a turn may end so: (turn, status, state, error)."""
        if self.may is None:
            return result == expected
        return result[:2] + result[3:] == expected[:2] + expected[3:] and self.may(result[2])


def called_once(state: dict[str, Any]) -> bool:
    known = state["notes"] in (["a", "paid", "thanks"], ["a", "unknown"])
    return known and set(calls.values()) <= {1}


def paid_once(state: dict[str, Any]) -> bool:
    """What was allowed was called once at most, and what was refused not at all."""
    allowed = {call.partition(" ")[0] for call in calls} <= {"7"} and set(calls.values()) <= {1}
    whole = ["a", "paid 7", "b", "the call of tool pay was refused"]
    notes = state["notes"]
    return allowed and (notes in (["a"], whole) or (len(notes) == 2 and "runs at most once" in notes[1]))


def answered_right(state: dict[str, Any]) -> bool:
    """The seqs in the ids of messages hang on how often the thread above has paused."""
    told = [message.content for message in state["messages"]]
    return told == ["go", "", "paid 7", "42", "Error: the call of tool pay was refused", "Done."]


def some_branches(count: int) -> Callable[[dict[str, Any]], bool]:
    """So many of the branches of `forked`, whole and in order."""

    def may(state: dict[str, Any]) -> bool:
        notes = state["notes"]
        branches = [name for name in "abc" if name in notes]
        return len(branches) == count and notes == [*(f"{name}{x}" for name in branches for x in ("", "2")), "join"]

    return may


def in_time(state: dict[str, Any]) -> bool:
    """The branches that were whole at the deadline, in order."""
    return any(some_branches(count)(state) for count in range(1, 4))


SCENARIOS: dict[str, Scenario] = {
    "chain": Scenario(chain, two_turns()),
    "async chain": Scenario(chain, two_turns("async")),
    "chain on exit": Scenario(chain, two_turns("exit")),
    "long conversation": Scenario(conversation, long_turns("sync")),
    "long conversation on exit": Scenario(conversation, long_turns("exit")),
    "calls": Scenario(calling, two_turns()),
    "async calls": Scenario(calling, two_turns("async")),
    "calls on exit": Scenario(calling, two_turns("exit")),
    "budget": Scenario(budgeted, one_turn),
    "queued turns": Scenario(lambda: [line(Graph("w", state=Board), "a", "b", takes_s=0.02)], submitted_turns),
    "loop": Scenario(loop, one_turn),
    "retry": Scenario(retried, one_turn),
    "failure": Scenario(failing, one_turn),
    "error edges": Scenario(rescued, one_turn, is_exact=False),
    "at most once": Scenario(once, one_turn, is_exact=False, may=called_once),
    "at most once, async": Scenario(once, partial(one_turn, durability="async"), is_exact=False, may=called_once),
    "at most once on exit": Scenario(once, partial(one_turn, durability="exit"), is_exact=False, may=called_once),
    "question": Scenario(asking, answered),
    "approval": Scenario(approving(at_most_once=False), approved),
    "approval, at most once": Scenario(approving(at_most_once=True), approved, is_exact=False, may=paid_once),
    "approval of an agent's calls": Scenario(approving_agent, approved_agent, is_exact=False, may=answered_right),
    "questions below": Scenario(asking_below, answered_below, is_exact=False),
    "questions and times in branches": Scenario(asking_branches, answered, is_exact=False),
    "subworkflow": Scenario(subworkflow, answered),
    "what if": Scenario(waiting, branched, is_exact=False),
    "timer": Scenario(waiting, one_turn),
    "pause and resume": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", takes_s=0.1)], paused_and_resumed, is_exact=False
    ),
    "pause and resume of a fork": Scenario(forked(), paused_and_resumed, is_exact=False),
    "session paused and resumed": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", takes_s=0.1)], session_paused_and_resumed, is_exact=False
    ),
    "session paused with a fork": Scenario(forked(), session_paused_and_resumed, is_exact=False),
    "session paused at questions": Scenario(asking_branches, session_paused_at_a_question, is_exact=False),
    "session aborted": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", takes_s=0.1)],
        session_aborted,
        is_exact=False,
        may=lambda state: state["notes"] == list("abc")[: state["points"]],
    ),
    "session aborted in a fork": Scenario(
        forked(slowest_s=5.0), session_aborted, is_exact=False, may=lambda state: state["notes"] == []
    ),
    "queue": Scenario(queued, partial(queue_of_threads, on_failure="continue"), is_exact=False),
    "queue that stops": Scenario(queued, partial(queue_of_threads, on_failure="stop"), is_exact=False),
    "fork all": Scenario(forked(), one_turn),
    "fork any": Scenario(forked(join="any"), one_turn, is_exact=False, may=some_branches(1)),
    "fork two": Scenario(forked(join=2), one_turn, is_exact=False, may=some_branches(2)),
    "fork deadline": Scenario(forked(deadline_s=0.2), one_turn, is_exact=False, may=in_time),
    "nested forks": Scenario(nested, one_turn),
    "async nested forks": Scenario(nested, partial(one_turn, durability="async")),
    "nested forks on exit": Scenario(nested, partial(one_turn, durability="exit")),
    "map": Scenario(mapped(2), partial(one_turn, items=[3, 1, 2])),
    "map of workflows": Scenario(mapped_workflow, partial(one_turn, items=[3, 1, 2])),
    "large values": Scenario(large_values, one_turn),
    "failing branch": Scenario(broken_branch("fail"), one_turn, is_exact=False),
    "skipped branch": Scenario(broken_branch("skip"), one_turn),
    "cancelled chain": Scenario(
        lambda: [line(Graph("w", state=Board), "a", "b", "c", "d", takes_s=1.0)],
        partial(cancelled_turn, after_s=1.5),
        is_exact=False,
        may=lambda state: state["notes"] == list("abcd")[: state["points"]],
    ),
    "cancelled fork": Scenario(
        forked(slowest_s=5.0),
        partial(cancelled_turn, after_s=0.07),
        is_exact=False,
    ),
    "cancelled nested forks": Scenario(partial(nested, 5.0, 5.0), partial(cancelled_turn, after_s=0.1), is_exact=False),
}
