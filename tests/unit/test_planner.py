"""What the planner makes of every event, and what it says is to be done: whole cursors, in tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from graphs.errors import ErrorInfo, IllegalTransition
from graphs.journal import END, Cursor, EntryKind, Fork, JournalEntry, Pause, PauseKind, Usage
from graphs.state.schema import StateSchema
from graphs.threads import Durability, ThreadState
from graphs.workflow import planner
from graphs.workflow.node import NodeType
from graphs.workflow.plan import Plan
from graphs.workflow.spec import load

GRAPH = """
id: g
state:
  ok: {type: bool, default: false}
  items: {type: {list: int64}, default: []}
max_steps: 10
nodes:
  - {id: work, type: function, function: "m:f", at_most_once: true}
  - {id: ask, type: human, question: "Well?", into: ok}
  - {id: nap, type: wait, seconds: 5}
  - {id: sub, type: subworkflow, workflow: g}
  - {id: each, type: map, over: items, node: one, into: items}
  - {id: one, type: function, function: "m:f"}
  - {id: both, type: fork, join: any}
  - {id: left, type: function, function: "m:f"}
  - {id: right, type: function, function: "m:f"}
  - {id: after, type: function, function: "m:f"}
  - {id: mend, type: function, function: "m:f"}
  - {id: mend_items, type: map, over: items, node: one, into: items}
edges:
  - {from: START, to: work, when: state.ok}
  - {from: START, to: ask, default: true}
  - {from: work, to: ask, when: state.ok}
  - {from: work, to: each, default: true}
  - {from: work, to: mend, on_error: true}
  - {from: ask, to: nap, when: state.ok}
  - {from: ask, to: sub, default: true}
  - {from: nap, to: sub}
  - {from: sub, to: each, when: state.ok}
  - {from: sub, to: both, default: true}
  - {from: sub, to: mend_items, on_error: true}
  - {from: each, to: both}
  - {from: each, to: each, on_error: true}
  - {from: both, to: left}
  - {from: both, to: right}
  - {from: both, to: mend, on_error: true}
  - {from: left, to: after}
  - {from: right, to: after}
  - {from: after, to: END}
  - {from: after, to: END, on_error: true}
  - {from: mend, to: END}
  - {from: mend_items, to: END}
"""
PLAN = Plan(load(GRAPH), StateSchema.from_spec(load(GRAPH).state))
SEQ, NOW = 7, 100.0
ERROR = ErrorInfo(code="ValueError", message="no")
OTHER = ErrorInfo(code="KeyError", message="other")
RUNNING, PAUSED = ThreadState.RUNNING, ThreadState.PAUSED
QUESTION = Pause(kind=PauseKind.HUMAN, node="ask", question="Well?")
TIMER = Pause(kind=PauseKind.TIMER, node="nap", until=105.0)
ASKED = Pause(kind=PauseKind.ASKED, reason="lunch")
BRANCHES = Pause(kind=PauseKind.BRANCHES, node="both", until=105.0)
BOTH = Fork(node="both", seq=3, join="after", targets=("left", "right"), opened_at=50.0)
EACH = Fork(node="each", seq=3, join="each", items=2, opened_at=50.0)
SUB = Fork(node="sub", seq=3, join="sub", items=1, opened_at=50.0)


def at(node: str | None = None, **fields: Any) -> Cursor:
    """A running cursor of turn 2, after one step."""
    return Cursor(**{"turn": 2, "status": RUNNING, "node": node, "steps": 1, **fields})


def opened(fork: Fork, **fields: Any) -> Fork:
    """`fork`, opened by the event at hand."""
    return msgspec.structs.replace(fork, seq=SEQ, opened_at=NOW, **fields)


def paused(pause: Pause, node: str | None = None, **fields: Any) -> Cursor:
    return at(node, status=PAUSED, pause=pause, **fields)


def advance(cursor: Cursor, event: planner.Event, ok: bool = False, items: Any = ()) -> Cursor:
    state = {"ok": ok, "items": list(items)}
    return planner.advance(PLAN, cursor, event, state, SEQ, now=NOW)


@pytest.mark.parametrize(
    ("cursor", "command"),
    [
        (Cursor(), planner.Wait()),
        (at("work"), planner.RunNode("work", NodeType.FUNCTION)),
        (at("work", started=True), planner.RunNode("work", NodeType.FUNCTION)),
        (at("mend", caught=ERROR), planner.RunNode("mend", NodeType.FUNCTION)),
        (at("ask"), planner.PauseAt("ask", NodeType.HUMAN)),
        (at("nap"), planner.PauseAt("nap", NodeType.WAIT)),
        (at(fork=BOTH), planner.RunBranches(BOTH)),
        (at(fork=SUB), planner.RunBranches(SUB)),
        (at(), planner.FinishTurn(ThreadState.COMPLETED)),
        (at(error=ERROR), planner.FinishTurn(ThreadState.FAILED, ERROR)),
        (paused(QUESTION, "ask"), planner.Wait()),
        (paused(BRANCHES, fork=BOTH), planner.Wait()),
        (at(status=ThreadState.FAILED, error=ERROR), planner.Wait()),
    ],
)
def test_what_is_to_be_done(cursor: Cursor, command: planner.Command):
    assert planner.command(PLAN, cursor) == command


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (Cursor(), planner.TurnStarted(1), Cursor(turn=1, status=RUNNING, node="ask")),
        (
            Cursor(turn=1, status=ThreadState.FAILED, error=ERROR, steps=4),
            planner.TurnStarted(2, durability=Durability.EXIT),
            Cursor(turn=2, status=RUNNING, node="ask", durability=Durability.EXIT),
        ),
        (
            Cursor(),
            planner.TurnStarted(1, at="left", stop_at="after", steps=3),
            Cursor(turn=1, status=RUNNING, node="left", stop_at="after", steps=3),
        ),
        (Cursor(), planner.TurnStarted(1, error=ERROR), Cursor(turn=1, status=RUNNING, error=ERROR)),
        (at("work"), planner.StepStarted(), at("work", started=True)),
        (at("work", started=True), planner.NodeFinished(), at(fork=opened(EACH, items=0), steps=2)),
        (at("mend", caught=ERROR), planner.NodeFinished(), at(steps=2)),
        # Errors, with and without an edge for them.
        (at("work", started=True), planner.NodeFailed(ERROR), at("mend", caught=ERROR, steps=2)),
        (at("left", stop_at="after"), planner.NodeFailed(ERROR), at(error=ERROR, stop_at="after", steps=2)),
        (at("mend", caught=ERROR), planner.NodeFailed(OTHER), at(error=OTHER, steps=2)),
        (at("after"), planner.NodeFailed(ERROR), at(caught=ERROR, steps=2)),
        (at(fork=BOTH), planner.BranchesFailed(ERROR), at("mend", caught=ERROR, steps=2)),
        (at(fork=EACH), planner.BranchesFailed(ERROR), at(fork=opened(EACH, items=0), caught=ERROR, steps=2)),
        (
            at(fork=SUB),
            planner.BranchesFailed(ERROR),
            at(fork=Fork(node="mend_items", seq=SEQ, join="mend_items", opened_at=NOW), caught=ERROR, steps=2),
        ),
        (at("ask"), planner.NodeFailed(ERROR), at(error=ERROR, steps=2)),
        # Joins.
        (at(fork=BOTH), planner.BranchesJoined(), at("after", steps=2)),
        (at(fork=EACH), planner.BranchesJoined(), at(fork=opened(BOTH), steps=3)),
        (at(fork=SUB), planner.BranchesJoined(), at(fork=opened(BOTH), steps=3)),
        # Pauses.
        (at("ask"), planner.Paused(QUESTION), paused(QUESTION, "ask")),
        (at("nap"), planner.Paused(TIMER), paused(TIMER, "nap")),
        (at(fork=BOTH), planner.Paused(BRANCHES), paused(BRANCHES, fork=BOTH)),
        (at("work", caught=ERROR), planner.Paused(ASKED), paused(ASKED, "work", caught=ERROR)),
        (paused(QUESTION, "ask"), planner.Resumed(), at(fork=opened(SUB), steps=2)),
        (paused(TIMER, "nap"), planner.Resumed(), at(fork=opened(SUB), steps=2)),
        (paused(ASKED, "work", caught=ERROR), planner.Resumed(), at("work", caught=ERROR)),
        (paused(ASKED, "ask"), planner.Resumed(), at("ask")),
        (paused(BRANCHES, fork=BOTH), planner.Resumed(), at(fork=BOTH)),
        # The end.
        (
            at("after", caught=ERROR, started=True),
            planner.TurnFinished(ThreadState.CANCELLED, OTHER),
            at(status=ThreadState.CANCELLED, error=OTHER),
        ),
        (
            paused(BRANCHES, fork=BOTH),
            planner.TurnFinished(ThreadState.CANCELLED, OTHER),
            at(status=ThreadState.CANCELLED, error=OTHER),
        ),
        (
            paused(QUESTION, "ask"),
            planner.TurnFinished(ThreadState.CANCELLED, OTHER),
            at(status=ThreadState.CANCELLED, error=OTHER),
        ),
    ],
)
def test_what_an_event_leads_to(before: Cursor, event: planner.Event, after: Cursor):
    assert advance(before, event) == after


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (Cursor(), planner.Paused(ASKED)),
        (paused(QUESTION, "ask"), planner.Paused(ASKED)),
        (at("ask"), planner.TurnStarted(3)),
        (at("ask"), planner.Resumed()),
        (at(status=ThreadState.COMPLETED), planner.Resumed()),
        (paused(QUESTION, "ask"), planner.TurnFinished(ThreadState.COMPLETED)),
        (at(status=ThreadState.COMPLETED), planner.TurnFinished(ThreadState.CANCELLED)),
    ],
)
def test_what_does_not_fit_the_state_of_a_thread_is_refused(before: Cursor, event: planner.Event):
    with pytest.raises(IllegalTransition):
        advance(before, event)


def test_an_answer_decides_where_to_go_on():
    assert advance(paused(QUESTION, "ask"), planner.Resumed(), ok=True) == at("nap", steps=2)


def test_a_map_that_keeps_failing_ends_with_the_limit_of_steps():
    cursor = at(fork=EACH)
    for _ in range(20):
        if cursor.fork is None:
            break
        cursor = advance(cursor, planner.BranchesFailed(ERROR))

    assert cursor.error is not None
    assert (cursor.error.code, cursor.steps, cursor.node) == ("StepLimitExceeded", 10, None)


def entry(kind: EntryKind, cursor: Cursor, node: str | None = None) -> JournalEntry:
    return JournalEntry(seq=3, kind=kind, cursor=cursor, at=50.0, node=node)


@pytest.mark.parametrize(
    ("past", "same", "updated"),
    [
        # A turn begins at START anew, one of a branch of a fork does not (see below).
        (entry(EntryKind.TURN_STARTED, at("ask")), at("ask"), at("work")),
        # Edges after a step, a join, an answer and a failure are chosen anew.
        (entry(EntryKind.STEP_FINISHED, at(fork=EACH), "work"), at(fork=opened(EACH)), at("ask")),
        (entry(EntryKind.JOINED, at("after"), "both"), at("after"), at("after")),
        (entry(EntryKind.JOINED, at(fork=BOTH), "sub"), at(fork=opened(BOTH)), at(fork=opened(EACH, items=3))),
        (entry(EntryKind.RESUMED, at(fork=SUB), "ask"), at(fork=opened(SUB)), at("nap")),
        (entry(EntryKind.RESUMED, at(fork=BOTH)), at(fork=opened(BOTH)), at(fork=opened(BOTH))),
        (entry(EntryKind.RESUMED, at("work"), "work"), at("work"), at("work")),
        (entry(EntryKind.RESUMED, at("ask"), "ask"), at("ask"), at("ask")),
        (
            entry(EntryKind.STEP_FAILED, at(fork=EACH, caught=ERROR), "each"),
            at(fork=opened(EACH), caught=ERROR),
            at(fork=opened(EACH, items=3), caught=ERROR),
        ),
        (
            entry(EntryKind.STEP_FAILED, at("mend", caught=ERROR), "work"),
            at("mend", caught=ERROR),
            at("mend", caught=ERROR),
        ),
        # What has failed has failed, also with another state.
        (entry(EntryKind.STEP_FAILED, at(error=ERROR), "left"), at(error=ERROR), at(error=ERROR)),
        # A node that runs at most once has not been called by the branch.
        (entry(EntryKind.STEP_STARTED, at("work", started=True), "work"), at("work"), at("work")),
        # Questions and timers go on, or begin anew with another state; other pauses are not those of the branch.
        (entry(EntryKind.PAUSED, paused(QUESTION, "ask"), "ask"), paused(QUESTION, "ask"), at("ask")),
        (entry(EntryKind.PAUSED, paused(TIMER, "nap"), "nap"), paused(TIMER, "nap"), at("nap")),
        (entry(EntryKind.PAUSED, paused(ASKED, "work")), at("work"), at("work")),
        (entry(EntryKind.PAUSED, paused(ASKED, fork=BOTH)), at(fork=opened(BOTH)), at(fork=opened(BOTH))),
        (entry(EntryKind.PAUSED, paused(BRANCHES, fork=BOTH)), at(fork=opened(BOTH)), at(fork=opened(BOTH))),
        (
            entry(EntryKind.PAUSED, paused(BRANCHES, fork=EACH)),
            at(fork=opened(EACH)),
            at(fork=opened(EACH, items=3)),
        ),
        # At rest.
        (
            entry(EntryKind.TURN_FINISHED, at(status=ThreadState.FAILED, error=ERROR)),
            at(status=ThreadState.FAILED, error=ERROR),
            at(status=ThreadState.FAILED, error=ERROR),
        ),
        (
            entry(EntryKind.RESTORED, at(status=ThreadState.COMPLETED)),
            at(status=ThreadState.COMPLETED),
            at(status=ThreadState.COMPLETED),
        ),
    ],
)
def test_where_a_branch_begins(past: JournalEntry, same: Cursor, updated: Cursor):
    assert advance(Cursor(), planner.Branched(past, False), ok=True, items=[1, 2, 3]) == same
    assert advance(Cursor(), planner.Branched(past, True), ok=True, items=[1, 2, 3]) == updated


def test_a_branch_of_a_branch_of_a_fork_begins_where_that_one_did():
    started = entry(EntryKind.TURN_STARTED, at("left", stop_at=END))
    mapped = entry(EntryKind.TURN_STARTED, at(fork=EACH, stop_at="both"))

    assert advance(Cursor(), planner.Branched(started, True, inner=True), ok=True) == at("left")
    assert advance(Cursor(), planner.Branched(mapped, True, inner=True), items=[1]) == at(
        fork=opened(EACH, items=1), stop_at="both"
    )


@pytest.mark.parametrize(
    ("restored", "after"),
    [
        (at("work", turn=1, steps=3), at(status=ThreadState.COMPLETED, steps=3)),
        (at(fork=BOTH, turn=1), at(status=ThreadState.COMPLETED)),
        (at(status=ThreadState.FAILED, error=OTHER), at(status=ThreadState.COMPLETED)),
        (paused(TIMER, "nap"), at(status=ThreadState.COMPLETED)),
        (paused(BRANCHES, fork=BOTH), at(status=ThreadState.COMPLETED)),
        (paused(QUESTION, "ask", turn=1, steps=3), paused(QUESTION, "ask", steps=3)),
    ],
)
def test_a_restored_thread_is_at_rest_or_asks_again(restored: Cursor, after: Cursor):
    before = at(status=ThreadState.FAILED, error=ERROR)

    assert advance(before, planner.Restored(restored)) == after
    assert advance(paused(TIMER, "nap"), planner.Restored(restored)) == after


def test_tokens_of_the_turn_are_known_where_edges_are_chosen():
    graph = load("""
id: g
state: {text: string}
nodes:
  - {id: ask, type: human, question: "Well?", into: text}
  - {id: more, type: function, function: "m:f"}
edges:
  - {from: START, to: ask}
  - {from: ask, route: budget, parameters: {max_tokens: 5}, paths: {within: more, exceeded: END}}
  - {from: more, to: END}
""")
    plan = Plan(graph, StateSchema.from_spec(graph.state))

    def after(tokens: int) -> str | None:
        resumed = planner.Resumed(Usage(prompt_tokens=tokens))
        return planner.advance(plan, paused(QUESTION, "ask"), resumed, {"text": ""}, SEQ).node

    assert (after(4), after(6)) == ("more", None)
