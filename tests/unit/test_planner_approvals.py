"""Approval before a tool is called: what is asked, what may be answered, and what the planner makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from graphs.errors import StateInvalid
from graphs.journal import Cursor, EntryKind, JournalEntry, Pause, PauseKind
from graphs.state.schema import StateSchema
from graphs.threads import ThreadState
from graphs.workflow import planner
from graphs.workflow.approvals import approval_of, check_approval
from graphs.workflow.node import NodeType
from graphs.workflow.plan import Plan
from graphs.workflow.spec import load

GRAPH = """
id: pay
state: {amount: {type: int64, default: 0}, note: {type: string, default: ""}}
nodes:
  - id: pay
    type: tool
    tool: bank:pay
    arguments: {amount: "{amount}", to: {name: "ada {note}", api_key: k, "Access-Token": [1]}}
    requires_approval: true
  - {id: sorry, type: tool, tool: text_stats, arguments: {text: "{note}"}}
edges:
  - {from: START, to: pay}
  - {from: pay, to: sorry, on_error: true}
  - {from: pay, to: END}
  - {from: sorry, to: END}
"""
PLAN = Plan(load(GRAPH), StateSchema.from_spec(load(GRAPH).state))
STATE = {"amount": 3, "note": "x"}
RUNNING, PAUSED = ThreadState.RUNNING, ThreadState.PAUSED
AT_PAY = Cursor(turn=1, status=RUNNING, node="pay", asks=True)
PAUSE = Pause(kind=PauseKind.APPROVAL, node="pay", question="May it?", tool="pay")
ASKED = msgspec.structs.replace(AT_PAY, status=PAUSED, pause=PAUSE)
APPROVED = msgspec.structs.replace(AT_PAY, asks=False)
REFUSAL = check_approval(PAUSE, {"approved": False, "reason": "too much"})
REFUSED = Cursor(turn=1, status=RUNNING, node="sorry", steps=1, caught=REFUSAL)


def advance(cursor: Cursor, event: planner.Event) -> Cursor:
    return planner.advance(PLAN, cursor, event, STATE, 7, now=100.0)


def test_a_node_that_needs_approval_pauses_until_it_has_it() -> None:
    assert advance(Cursor(), planner.TurnStarted(1)) == AT_PAY
    assert planner.command(PLAN, AT_PAY) == planner.PauseAt("pay", NodeType.TOOL)
    assert advance(AT_PAY, planner.Paused(PAUSE)) == ASKED
    assert advance(ASKED, planner.Resumed()) == APPROVED
    assert planner.command(PLAN, APPROVED) == planner.RunNode("pay", NodeType.TOOL)


def test_approval_lasts_for_one_step() -> None:
    started = advance(APPROVED, planner.StepStarted())
    assert planner.command(PLAN, started) == planner.RunNode("pay", NodeType.TOOL)
    assert advance(started, planner.NodeFinished()) == Cursor(turn=1, status=RUNNING, steps=1)
    assert advance(AT_PAY, planner.TurnFinished(ThreadState.CANCELLED)).asks is False
    for_a_while = advance(APPROVED, planner.Paused(Pause(kind=PauseKind.ASKED)))
    assert advance(for_a_while, planner.Resumed()) == APPROVED
    for_a_while = advance(AT_PAY, planner.Paused(Pause(kind=PauseKind.ASKED)))
    assert advance(for_a_while, planner.Resumed()) == AT_PAY


def test_a_refusal_is_a_failure_of_the_node() -> None:
    assert advance(ASKED, planner.Resumed(refusal=REFUSAL)) == REFUSED


@pytest.mark.parametrize("updated", [True, False])
@pytest.mark.parametrize(
    ("kind", "cursor", "begins"),
    [(EntryKind.PAUSED, ASKED, AT_PAY), (EntryKind.RESUMED, APPROVED, AT_PAY), (EntryKind.RESUMED, REFUSED, REFUSED)],
)
def test_a_branch_asks_for_approval_of_its_own(kind: EntryKind, cursor: Cursor, begins: Cursor, updated: bool) -> None:
    entry = JournalEntry(seq=3, kind=kind, cursor=cursor, at=1.0, node="pay")
    assert advance(Cursor(), planner.Branched(entry, updated)) == begins


def test_a_restored_thread_is_asked_again() -> None:
    over = Cursor(turn=1, status=ThreadState.COMPLETED)
    assert advance(over, planner.Restored(ASKED)) == ASKED
    assert advance(over, planner.Restored(APPROVED)) == over


def test_the_question_shows_tool_and_arguments_but_no_secrets() -> None:
    assert approval_of(PLAN.nodes["pay"], STATE) == Pause(
        kind=PauseKind.APPROVAL,
        node="pay",
        question="May the tool pay be called with "
        '{"amount":3,"to":{"name":"ada x","api_key":"***","Access-Token":"***"}}?',
        tool="pay",
    )


@pytest.mark.parametrize("answer", [True, {"approved": True}, {"approved": True, "reason": "fine"}])
def test_what_approves(answer: Any) -> None:
    assert check_approval(PAUSE, answer) is None


@pytest.mark.parametrize(("answer", "why"), [(False, ""), ({"approved": False, "reason": "too much"}, "too much")])
def test_what_refuses(answer: Any, why: str) -> None:
    refusal = check_approval(PAUSE, answer)
    assert refusal is not None
    assert refusal.code == "ApprovalRefused"
    assert refusal.message == "the call of tool pay was refused" + (f": {why}" if why else "")
    assert refusal.fields == {"tool": "pay", "node": "pay", "reason": why}
    assert not refusal.retryable


@pytest.mark.parametrize("answer", ["yes", 1, None, {}, {"approved": "true"}, {"approved": True, "why": "x"}, [True]])
def test_everything_else_is_no_answer(answer: Any) -> None:
    with pytest.raises(StateInvalid, match="answer true or false") as refused:
        check_approval(PAUSE, answer)
    assert refused.value.problems
    assert refused.value.node == "pay"
