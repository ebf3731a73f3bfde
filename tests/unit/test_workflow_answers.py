"""Answers of human nodes: what is accepted, what it writes, and the schema of it."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field, field_validator

from graphs.errors import NotFoundError, StateInvalid
from graphs.journal import END, START
from graphs.messages import Message
from graphs.state.reducers import add_messages, append
from graphs.state.schema import StateSchema
from graphs.workflow.answers import answer_schema, check_answer
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.plan import Plan


class Verdict(enum.Enum):
    SEND = "send"
    DROP = "drop"


class Approval(BaseModel):
    approved: bool
    comment: str = Field(default="", max_length=10)

    @field_validator("comment")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()


class Choice(TypedDict):
    verdict: Verdict


class Case(BaseModel):
    approved: bool = False
    comment: str = ""
    verdict: str = ""
    score: float = 0.0
    approval: Approval | None = None
    anything: Any = None
    notes: Annotated[list[str], append] = []
    messages: Annotated[list[Message], add_messages] = []


def plan(answer: Any = None, into: str | None = None, *, with_types: bool = True) -> Plan:
    g = GraphBuilder("case", state=Case)
    g.human("ask", question="Well?", answer=answer, into=into)
    g.edge(START, "ask")
    g.edge("ask", END)
    model = g.build()
    if with_types:
        return Plan(model, g.schema, g.functions)
    return Plan(model, StateSchema.from_spec(model.state), {})


@pytest.mark.parametrize(
    ("answer", "into", "value", "write"),
    [
        (None, "score", 3, {"score": 3.0}),
        (None, "notes", "one", {"notes": ["one"]}),
        (None, "notes", ["one", "two"], {"notes": ["one", "two"]}),
        (None, "messages", "hello", {"messages": [Message(role="user", content="hello")]}),
        (None, None, {"approved": True, "score": 1}, {"approved": True, "score": 1.0}),
        (None, None, {}, {}),
        (None, None, None, {}),
        (bool, "approved", "yes", {"approved": True}),
        (str, "notes", "one", {"notes": ["one"]}),
        (str, "messages", "hello", {"messages": [Message(role="user", content="hello")]}),
        (int, "score", 3, {"score": 3.0}),
        (Literal["send", "drop"], "verdict", "send", {"verdict": "send"}),
        (Verdict, "verdict", "send", {"verdict": "send"}),
        (Verdict, "verdict", Verdict.DROP, {"verdict": "drop"}),
        (Approval, None, {"approved": True}, {"approved": True, "comment": ""}),
        (Approval, None, {"approved": False, "comment": " no "}, {"approved": False, "comment": "no"}),
        (Approval, None, Approval(approved=True), {"approved": True, "comment": ""}),
        (Approval, "approval", {"approved": True}, {"approval": Approval(approved=True)}),
        (Approval, "anything", {"approved": True}, {"anything": {"approved": True, "comment": ""}}),
        (Choice, None, {"verdict": "drop"}, {"verdict": "drop"}),
    ],
)
def test_what_an_answer_writes(answer: Any, into: str | None, value: Any, write: dict[str, Any]):
    assert check_answer(plan(answer, into), "ask", value) == write


@pytest.mark.parametrize(
    ("answer", "into", "value", "problems"),
    [
        (
            None,
            "score",
            "much",
            ["score: Input should be a valid number, unable to parse string as a number"],
        ),
        (None, None, "yes", ["must be a mapping, not str"]),
        (
            None,
            None,
            {"aproved": True, "score": "x"},
            [
                "aproved: no such channel; did you mean approved?",
                "score: Input should be a valid number, unable to parse string as a number",
            ],
        ),
        (bool, "approved", "perhaps", ["answer: Input should be a valid boolean, unable to interpret input"]),
        (
            Approval,
            None,
            {"coment": "no", "comment": "much too long a text"},
            [
                "answer.coment: no such field; did you mean comment?",
                "answer.approved: Field required",
                "answer.comment: String should have at most 10 characters",
            ],
        ),
        (Approval, None, {"approved": True, "coment": "no"}, ["answer.coment: no such field; did you mean comment?"]),
        (int, "score", 2**70, ["answer: is outside the range of 64-bit integers; use a float or a string channel"]),
        (Literal["send", "drop"], "verdict", "keep", ["answer: Input should be 'send' or 'drop'"]),
    ],
)
def test_what_does_not_fit_is_refused_with_all_problems(answer: Any, into: str | None, value: Any, problems: list[str]):
    with pytest.raises(StateInvalid) as caught:
        check_answer(plan(answer, into), "ask", value)

    found = [problem.replace('"', "") for problem in caught.value.problems]
    assert found == problems
    assert caught.value.node == "ask"


def test_without_the_python_type_the_spec_decides():
    bare = plan(Approval, with_types=False)
    model = bare.graph.model_copy(
        update={"nodes": tuple(_renamed(node, "no.such.module:Approval") for node in bare.graph.nodes)}
    )
    far = Plan(model, bare.schema, {})

    assert check_answer(far, "ask", {"approved": True, "comment": " a long comment "}) == {
        "approved": True,
        "comment": " a long comment ",
    }
    with pytest.raises(StateInvalid, match=r"the answer to 'ask' does not fit: answer\.approved: Field required"):
        check_answer(far, "ask", {})


def test_a_python_type_that_has_changed_since_is_not_used():
    class Approval2(BaseModel):
        other: int

    near = plan(Approval)
    ref = near.graph.nodes[0].config.answer_type  # type: ignore[union-attr]
    changed = Plan(near.graph, near.schema, {**near.functions, ref: Approval2})

    assert check_answer(changed, "ask", {"approved": True}) == {"approved": True, "comment": ""}


def _renamed(node, ref):
    return node.model_copy(update={"config": node.config.model_copy(update={"answer_type": ref})})


def test_the_schema_of_a_model_keeps_its_constraints():
    assert answer_schema(plan(Approval), "ask") == {
        "title": "Approval",
        "type": "object",
        "properties": {
            "approved": {"title": "Approved", "type": "boolean"},
            "comment": {"default": "", "maxLength": 10, "title": "Comment", "type": "string"},
        },
        "required": ["approved"],
    }


@pytest.mark.parametrize(
    ("answer", "into", "schema"),
    [
        (bool, "approved", {"type": "boolean"}),
        (None, "score", {"type": "number"}),
        (None, "anything", {}),
        (Literal["send", "drop"], "verdict", {"enum": ["send", "drop"], "type": "string"}),
        (
            None,
            "notes",
            {"anyOf": [{"type": "string"}, {"items": {"type": "string"}, "type": "array"}]},
        ),
    ],
)
def test_the_schema_of_a_plain_answer(answer: Any, into: str, schema: dict[str, Any]):
    assert answer_schema(plan(answer, into), "ask") == schema


def test_the_schema_of_an_answer_that_may_write_any_channel():
    schema = answer_schema(plan(), "ask")

    assert schema["type"] == "object"
    assert list(schema["properties"]) == list(Case.model_fields)
    assert "required" not in schema


def test_only_human_nodes_take_answers():
    with pytest.raises(NotFoundError, match="has no human node 'nobody'"):
        check_answer(plan(), "nobody", 1)
