"""Graphs as YAML and JSON."""

import json

import pytest

from graphs.errors import GraphInvalid
from graphs.journal import END, START
from graphs.policies import JoinPolicy, RetryPolicy
from graphs.workflow.edge import Condition, Edge, EdgeType, Route
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import ForkConfig, FunctionConfig, LlmConfig, MapConfig, Node, ToolCallConfig
from graphs.workflow.spec import dump, load
from graphs.workflow.validation import validate

BY_HAND = """
# What to do with a ticket.
id: triage
version: 1.2.0
description: Sorts tickets.
max_steps: 50
metadata: {team: support, on: 2026-11-23}
state:
  text: string
  kind: {type: string, default: ""}
  answers: {list: string}
  notes:
    type: {list: string}
    reducer: append
    default: []
nodes:
  - id: classify
    type: function
    function: my.tickets:classify
    reads: [text]
    writes: [kind]
    retry: 3
  - {id: compute, type: tool, tool: calculator, arguments: {expression: "{text}"}, into: notes, timeout_s: 5}
  - id: answer
    type: llm
    system: You are terse.
    prompt: |
      Answer briefly:
      {text}
    into: notes
    stop: ["END"]
    retry: {max_attempts: 2, backoff_s: 1}
  - {id: split, type: fork, join: any, deadline_s: 30}
  - {id: each, type: map, over: answers, node: one, into: notes, max_concurrency: 4, position: [10, 20.5]}
  - {id: one, type: function, function: "my.tickets:one"}
edges:
  - {from: START, to: classify}
  - {from: classify, to: compute, when: state.kind == 'math'}
  - {from: classify, to: split, when: {function: "my.tickets:is_hard"}}
  - {from: classify, to: answer, default: true}
  - {from: compute, route: state_value, parameters: {channel: kind}, paths: {yes: answer, no: END, 3: END}}
  - {from: split, to: answer, id: first}
  - {from: split, to: each}
  - {from: answer, to: END}
  - {from: each, to: END}
"""

MODEL = GraphModel(
    id="triage",
    name="triage",
    version="1.2.0",
    description="Sorts tickets.",
    max_steps=50,
    metadata={"team": "support", "on": "2026-11-23"},
    state={
        "channels": {
            "text": {"type": "string"},
            "kind": {"type": "string", "default": ""},
            "answers": {"type": {"list": "string"}},
            "notes": {"type": {"list": "string"}, "reducer": "append", "default": []},
        }
    },
    nodes=(
        Node(
            id="classify",
            config=FunctionConfig(function="my.tickets:classify"),
            reads=("text",),
            writes=("kind",),
            retry=RetryPolicy(max_attempts=3),
        ),
        Node(
            id="compute",
            config=ToolCallConfig(tool="calculator", arguments={"expression": "{text}"}, into="notes"),
            timeout_s=5,
        ),
        Node(
            id="answer",
            config=LlmConfig(system="You are terse.", prompt="Answer briefly:\n{text}\n", into="notes", stop=("END",)),
            retry=RetryPolicy(max_attempts=2, backoff_s=1),
        ),
        Node(id="split", config=ForkConfig(policy=JoinPolicy(join="any", deadline_s=30))),
        Node(
            id="each",
            config=MapConfig(over="answers", node="one", into="notes", max_concurrency=4),
            position=(10, 20.5),
        ),
        Node(id="one", config=FunctionConfig(function="my.tickets:one")),
    ),
    edges=(
        Edge(id="START->classify", source=START, target="classify"),
        Edge(
            id="classify->compute",
            source="classify",
            target="compute",
            edge_type=EdgeType.CONDITIONAL,
            condition=Condition(cel="state.kind == 'math'"),
        ),
        Edge(
            id="classify->split",
            source="classify",
            target="split",
            edge_type=EdgeType.CONDITIONAL,
            condition=Condition(function="my.tickets:is_hard"),
        ),
        Edge(id="classify->answer", source="classify", target="answer", edge_type=EdgeType.CONDITIONAL, default=True),
        Edge(
            id="compute->state_value",
            source="compute",
            edge_type=EdgeType.FLEXIBLE_CONDITIONAL,
            route=Route(
                function="state_value",
                parameters={"channel": "kind"},
                path_map={"yes": "answer", "no": END, "3": END},
            ),
        ),
        Edge(id="first", source="split", target="answer"),
        Edge(id="split->each", source="split", target="each"),
        Edge(id="answer->END", source="answer", target=END),
        Edge(id="each->END", source="each", target=END),
    ),
)

WRITTEN = """\
id: triage
version: 1.2.0
description: Sorts tickets.
max_steps: 50
metadata: {team: support, 'on': '2026-11-23'}
state:
  text: string
  kind: {type: string, default: ''}
  answers: {list: string}
  notes:
    type: {list: string}
    reducer: append
    default: []
nodes:
- id: classify
  type: function
  function: my.tickets:classify
  reads: [text]
  writes: [kind]
  retry: 3
- id: compute
  type: tool
  tool: calculator
  arguments: {expression: '{text}'}
  into: notes
  timeout_s: 5.0
- id: answer
  type: llm
  prompt: |
    Answer briefly:
    {text}
  system: You are terse.
  into: notes
  stop: [END]
  retry: {max_attempts: 2, backoff_s: 1.0}
- {id: split, type: fork, join: any, deadline_s: 30.0}
- id: each
  type: map
  over: answers
  node: one
  into: notes
  max_concurrency: 4
  position: [10.0, 20.5]
- {id: one, type: function, function: 'my.tickets:one'}
edges:
- {from: START, to: classify}
- {from: classify, to: compute, when: state.kind == 'math'}
- from: classify
  to: split
  when: {function: 'my.tickets:is_hard'}
- {from: classify, to: answer, default: true}
- from: compute
  route: state_value
  parameters: {channel: kind}
  paths: {'yes': answer, 'no': END, '3': END}
- {from: split, to: answer, id: first}
- {from: split, to: each}
- {from: answer, to: END}
- {from: each, to: END}
"""


def test_yaml_written_by_hand():
    assert load(BY_HAND) == MODEL
    assert validate(MODEL) == []


def test_yaml_written_by_us_has_no_defaults():
    assert dump(MODEL) == WRITTEN
    assert load(WRITTEN) == MODEL


def test_json_has_the_same_form():
    text = dump(MODEL, "json")

    assert load(text, "json") == MODEL
    assert json.loads(text)["edges"][0] == {"from": "START", "to": "classify"}


def test_the_smallest_graph():
    assert load("id: nothing") == GraphModel(id="nothing", name="nothing")
    assert dump(GraphModel(id="nothing", name="nothing")) == "id: nothing\nversion: 1.0.0\nnodes: []\nedges: []\n"


def test_workflows_come_along():
    graph = GraphModel(id="a", name="A graph", workflows=(MODEL, GraphModel(id="b", name="b", workflows=(MODEL,))))

    assert load(dump(graph)) == graph
    assert load(dump(graph, "json"), "json") == graph


def problems(text, form="yaml"):
    with pytest.raises(GraphInvalid) as caught:
        load(text, form)

    assert "\n" not in str(caught.value)
    return caught.value.problems


def test_all_problems_have_their_paths():
    text = """
id: g
versoin: 1.0.0
max_steps: 0
state: [text]
nodes:
  - {id: a, type: llm, promt: hello, into: 3, max_tokens: many}
  - {id: b, type: lm}
  - {id: c, type: function, function: "m:f", retry: {tries: 3}}
  - {type: fork, join: some}
  - just text
  - {id: d}
edges:
  - {from: START, too: a}
  - {from: [a], to: b, default: perhaps}
  - {from: a, paths: {x: b}}
  - {from: a, route: budget, paths: [b]}
workflows:
  - {id: child, nodes: {a: b}}
"""
    assert problems(text) == [
        'versoin: there is no such option; did you mean "version"?',
        "state: must be a mapping of names to values, and is a list",
        'nodes[0].promt: there is no such option; did you mean "prompt"?',
        "nodes[0].config.into: must be a text; put it in quotes",
        "nodes[0].config.max_tokens: Input should be a valid integer, unable to parse string as an integer",
        'nodes[1].type: no node type "lm"; did you mean "llm"?',
        "nodes[2].retry.tries: there is no such option",
        "nodes[3].id: is missing",
        'nodes[3].config.policy.join: must be "all", "any" or a number of branches',
        "nodes[4]: must be a mapping of names to values, and is a str",
        "nodes[5].type: is missing",
        'edges[0].too: there is no such option; did you mean "to"?',
        "edges[1].from: Input should be a valid string",
        "edges[1].default: Input should be a valid boolean, unable to interpret input",
        "edges[2].paths: belongs to a route; add route: NAME",
        "edges[3].paths: must be a mapping of names to values, and is a list",
        "workflows[0].nodes: must be a list, such as `nodes:` with a line `- ...` for each",
        "max_steps: Input should be greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id: a\nnodes: [", "line 2, column 9: expected the node content, but found '<stream end>'"),
        ("id: a\nid: b", 'line 2, column 1: the key "id" stands here a second time'),
        ("id: a\nmetadata: {x: 1, 'x': 2}", 'line 2, column 18: the key "x" stands here a second time'),
        ("id: &x a\nname: *x", "line 2, column 7: aliases are not supported; write the value out"),
        ("id: a\n\tname: b", "line 2, column 1: found character '\\t' that cannot start any token"),
        (
            "id: a\nname: !!python/object:os.system x",
            "line 2, column 7: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("id: a\nmetadata: !!binary aGk=", "it holds what JSON cannot: Object of type bytes is not JSON serializable"),
        (
            "a\x00b",
            'unacceptable character #x0000: special characters are not allowed in "<unicode string>", position 1',
        ),
        ("--- a\n--- b", "line 2, column 1: but found another document"),
    ],
)
def test_yaml_that_cannot_be_read(text, problem):
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"id": "a",}', "line 1, column 11: Illegal trailing comma before end of object"),
        ('{"id": "a", "id": "b"}', 'the key "id" stands in one object twice'),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_cannot_be_read(text, problem):
    (found,) = problems(text, "json")

    # The words are those of the Python version.
    assert found.startswith("line 1, column") if problem.startswith("line") else found == problem


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_a_text_that_is_no_mapping(text):
    assert problems(text)[0].startswith("must be a mapping of names to values, and is ")


def test_a_version_that_looks_like_a_number_must_be_quoted():
    assert problems("id: a\nversion: 1.10") == ["version: must be a text; put it in quotes"]
    assert load('id: a\nversion: "1.10"').version == "1.10"
