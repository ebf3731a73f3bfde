"""Graphs with people, timers, subworkflows and edges for errors, written in Python and as text."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field

from graphs.errors import GraphInvalid
from graphs.journal import END, START
from graphs.state.reducers import append
from graphs.threads import Durability
from graphs.workflow.builder import GraphBuilder as Graph
from graphs.workflow.edge import Edge
from graphs.workflow.node import FunctionConfig, HumanConfig, Node, SubworkflowConfig, ToolCallConfig, WaitConfig
from graphs.workflow.render import mermaid
from graphs.workflow.spec import dump, load

HERE = __name__


class Approval(BaseModel):
    approved: bool


class Choice(TypedDict):
    approved: bool


class Refund(BaseModel):
    amount: float = 0.0
    approved: bool = False
    kind: str = ""
    hours: int = 0
    notes: Annotated[list[str], append] = []


def pay(state: Refund) -> dict[str, Any]:
    return {}


def refunds() -> Graph:
    """A graph with everything that pauses, runs another graph, or goes on after a failure."""
    audit = Graph("audit", state=Refund)
    audit.node(pay, name="look")
    audit.edge(START, "look")
    audit.edge("look", END)
    g = Graph("refunds", state=Refund, durability="async")
    g.human("approve", question="Refund {amount}?", answer=Approval)
    g.human("sort", question="Which kind?", answer=Literal["a", "b"], into="kind")
    g.human("note", question="A note?", into="notes")
    g.wait("cool", seconds="hours")
    g.node(at_most_once=True)(pay)
    g.tool("report", tool="calculator", arguments={"expression": "1"}, at_most_once=True)
    g.subworkflow("audit", workflow=audit, input={"amount": "amount"}, output={"notes": "notes"})
    g.subworkflow("again", workflow=g, input={}, output={})
    for source, target in (
        (START, "approve"),
        ("approve", "sort"),
        ("sort", "note"),
        ("note", "cool"),
        ("cool", "pay"),
    ):
        g.edge(source, target)
    g.edge("pay", "audit")
    g.edge("pay", "report", on_error=True)
    g.edge("audit", END)
    g.edge("report", "again")
    g.edge("again", END)
    g.edge("again", END, on_error=True)
    return g


TEXT = """\
id: refunds
version: 1.0.0
durability: async
state:
  amount: {type: float64, default: 0.0}
  approved: {type: bool, default: false}
  kind: {type: string, default: ''}
  hours: {type: int64, default: 0}
  notes:
    type: {list: string}
    reducer: append
    default: []
nodes:
- id: approve
  type: human
  question: Refund {amount}?
  answer:
    struct: {approved: bool}
  answer_type: HERE:Approval
- id: sort
  type: human
  question: Which kind?
  answer:
    enum: [a, b]
  into: kind
- {id: note, type: human, question: 'A note?', into: notes}
- {id: cool, type: wait, seconds: hours}
- {id: pay, type: function, function: 'HERE:pay', at_most_once: true}
- id: report
  type: tool
  tool: calculator
  arguments: {expression: '1'}
  at_most_once: true
- id: audit
  type: subworkflow
  workflow: audit@1.0.0
  input: {amount: amount}
  output: {notes: notes}
- id: again
  type: subworkflow
  workflow: refunds@1.0.0
  input: {}
  output: {}
edges:
- {from: START, to: approve}
- {from: approve, to: sort}
- {from: sort, to: note}
- {from: note, to: cool}
- {from: cool, to: pay}
- {from: pay, to: audit}
- {from: pay, to: report, on_error: true}
- {from: audit, to: END}
- {from: report, to: again}
- {from: again, to: END}
- {from: again, to: END, on_error: true}
"""


def test_the_graph_as_data():
    model = refunds().build()

    assert model.durability is Durability.ASYNC
    assert model.nodes == (
        Node(
            id="approve",
            config=HumanConfig(
                question="Refund {amount}?", answer={"struct": {"approved": "bool"}}, answer_type=f"{HERE}:Approval"
            ),
        ),
        Node(id="sort", config=HumanConfig(question="Which kind?", answer={"enum": ["a", "b"]}, into="kind")),
        Node(id="note", config=HumanConfig(question="A note?", into="notes")),
        Node(id="cool", config=WaitConfig(seconds="hours")),
        Node(id="pay", config=FunctionConfig(function=f"{HERE}:pay"), at_most_once=True),
        Node(id="report", config=ToolCallConfig(tool="calculator", arguments={"expression": "1"}), at_most_once=True),
        Node(
            id="audit",
            config=SubworkflowConfig(workflow="audit@1.0.0", input={"amount": "amount"}, output={"notes": "notes"}),
        ),
        Node(id="again", config=SubworkflowConfig(workflow="refunds@1.0.0", input={}, output={})),
    )
    assert model.edges[6] == Edge(id="pay->report", source="pay", target="report", on_error=True)
    assert model.edges[10] == Edge(id="again->END#2", source="again", target=END, on_error=True)
    assert model.runs() == ("audit@1.0.0", "refunds@1.0.0")
    assert [child.id for child in model.workflows] == ["audit"]


def test_the_type_of_an_answer_comes_along():
    assert refunds().functions[f"{HERE}:Approval"] is Approval


def test_the_graph_as_text():
    model = refunds().model()

    written = dump(model.model_copy(update={"workflows": ()}))

    assert written == TEXT.replace("HERE", HERE)
    assert load(dump(model)) == model
    assert load(dump(model, "json"), "json") == model


def test_the_graph_drawn():
    assert (
        mermaid(refunds().model().model_copy(update={"workflows": ()}))
        == """\
flowchart TD
    start(("START"))
    n0[\\"approve"/]
    n1[\\"sort"/]
    n2[\\"note"/]
    n3>"cool"]
    n4["pay"]
    n5[["report"]]
    n6[/"audit"\\]
    n7[/"again"\\]
    end_((("END")))
    start --> n0
    n0 --> n1
    n1 --> n2
    n2 --> n3
    n3 --> n4
    n4 --> n6
    n4 -.->|"on error"| n5
    n6 --> end_
    n5 --> n7
    n7 --> end_
    n7 -.->|"on error"| end_
"""
    )
    assert '    n6 -.->|"runs"| w0\n' in mermaid(refunds().model())


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (
            lambda g: g.human("ask", question="?", answer=Annotated[int, Field(gt=0)]),
            'node "ask".answer: constraints of a bare type are not kept; use a model with such a field',
        ),
        (
            lambda g: g.human("ask", question="?", answer=set[str]),
            'node "ask".answer: set[str] has no mapping to Arrow; use list[...]',
        ),
        (
            lambda g: g.wait("pause", seconds=-1),
            'node "pause".seconds: must be a number of seconds from 0, or the name of a channel',
        ),
        (
            lambda g: g.edge("a", "b", on_error=True, default=True),
            'edge "a" -> "b": an edge for errors has no condition and is no default; drop one of the two',
        ),
        (
            lambda g: g.edge("a", "b", on_error=True, when="true"),
            'edge "a" -> "b": an edge for errors has no condition and is no default; drop one of the two',
        ),
    ],
)
def test_what_is_refused_at_once(add: Any, message: str):
    with pytest.raises(GraphInvalid, match=re.escape(f'workflow "g": {message}')):
        add(Graph("g", state=Refund))


def test_an_unknown_durability_is_refused():
    with pytest.raises(GraphInvalid, match=r'workflow "g": graph\.durability: Input should be \'sync\', \'async\''):
        Graph("g", state=Refund, durability="never")


def test_a_typed_dict_is_known_by_its_fields():
    g = Graph("g", state=Refund)
    g.human("ask", question="?", answer=Choice)

    assert g.model().nodes[0].config == HumanConfig(question="?", answer={"struct": {"approved": "bool"}})


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (
            "{id: a, type: wait, seconds: -1}",
            "nodes[0].config.seconds: must be a number of seconds from 0, or the name of a channel",
        ),
        ("{id: a, type: wait}", "nodes[0].config.seconds: is missing"),
        ("{id: a, type: human, answr: bool}", 'nodes[0].answr: there is no such option; did you mean "answer"?'),
        ("{id: a, type: subworkflow, workflow: b, input: [x]}", "nodes[0].config.input: Input should be a valid dict"),
    ],
)
def test_texts_that_cannot_be_read(node: str, problem: str):
    with pytest.raises(GraphInvalid) as caught:
        load(f"id: g\nnodes:\n  - {node}\n")

    assert caught.value.problems[0].startswith(problem)
