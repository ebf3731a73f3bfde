"""Graphs written in Python."""

import dataclasses
from typing import Annotated, TypedDict

import pytest
from pydantic import BaseModel

from graphs.errors import GraphInvalid, SchemaError
from graphs.journal import END, START
from graphs.policies import JoinPolicy, OnBranchError, RetryPolicy
from graphs.state.reducers import append
from graphs.workflow.builder import GraphBuilder as Graph
from graphs.workflow.edge import Condition, Edge, EdgeType, Route
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import ForkConfig, FunctionConfig, LlmConfig, MapConfig, Node, ToolCallConfig
from graphs.workflow.spec import dump, load

HERE = __name__


class Ticket(BaseModel):
    text: str = ""
    kind: str = ""
    notes: Annotated[list[str], append] = []


def own(g: Graph) -> dict[str, object]:
    """The callables of a graph besides the type of its state."""
    return {ref: function for ref, function in g.functions.items() if not ref.startswith("state:")}


def classify(state):
    return {"kind": "math"}


def longest(old, new):
    return max(old, new, key=len)


def by_kind(state, *, limit=3):
    return "x"


def triage():
    """The graph of the design document."""
    g = Graph("triage", state=Ticket, version="1.0.0")
    g.node(classify)

    @g.node(reads=["text"], writes=["notes"], retry=3, timeout_s=10)
    def shout(state):
        return {}

    g.tool("compute", tool="calculator", arguments={"expression": "{text}"}, into="notes")
    g.llm("answer", prompt="Answer briefly: {text}", into="notes")
    g.edge(START, "classify")
    g.edge("classify", "compute", when="state.kind == 'math'")
    g.edge("classify", "answer", default=True)
    g.route("answer", "message_contains", {"matched": "shout", "not_matched": END}, keywords=["urgent"])
    g.edge("compute", END)
    g.edge("shout", END)
    return g, shout


def test_the_graph_of_the_design():
    g, shout = triage()

    assert g.build() == GraphModel(
        id="triage",
        name="triage",
        version="1.0.0",
        state=g.schema.to_spec(),
        nodes=(
            Node(id="classify", config=FunctionConfig(function=f"{HERE}:classify")),
            Node(
                id="shout",
                config=FunctionConfig(function=f"{HERE}:triage.<locals>.shout"),
                reads=("text",),
                writes=("notes",),
                retry=RetryPolicy(max_attempts=3),
                timeout_s=10,
            ),
            Node(
                id="compute",
                config=ToolCallConfig(tool="calculator", arguments={"expression": "{text}"}, into="notes"),
            ),
            Node(id="answer", config=LlmConfig(prompt="Answer briefly: {text}", into="notes")),
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
                id="classify->answer",
                source="classify",
                target="answer",
                edge_type=EdgeType.CONDITIONAL,
                default=True,
            ),
            Edge(
                id="answer->message_contains",
                source="answer",
                edge_type=EdgeType.FLEXIBLE_CONDITIONAL,
                route=Route(
                    function="message_contains",
                    parameters={"keywords": ["urgent"]},
                    path_map={"matched": "shout", "not_matched": END},
                ),
            ),
            Edge(id="compute->END", source="compute", target=END),
            Edge(id="shout->END", source="shout", target=END),
        ),
    )
    assert own(g) == {f"{HERE}:classify": classify, f"{HERE}:triage.<locals>.shout": shout}
    assert (g.schema.channels.keys(), g.name, g.version) == (Ticket.model_fields.keys(), "triage", "1.0.0")


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_built_graph_survives_its_text(form):
    model = triage()[0].build()

    assert load(dump(model, form), form) == model


def test_the_three_forms_of_node():
    g = Graph("g", state=Ticket)

    @g.node
    def bare(state):
        return {}

    @g.node(name="named")
    def with_options(state):
        return {}

    assert g.node(classify, name="called") is classify
    assert [node.id for node in g.model().nodes] == ["bare", "named", "called"]
    assert (bare.__name__, with_options.__name__) == ("bare", "with_options")


def test_fork_map_and_python_conditions():
    child = Graph("child", state=Ticket, version="2.1")
    child.node(classify)
    child.edge(START, "classify")
    child.edge("classify", END)
    policy = RetryPolicy(max_attempts=2, backoff_s=1)
    g = Graph("g", state=Ticket, description="d", max_steps=7, metadata={"team": "x"})
    g.fork("split", join=1, deadline_s=2.5, on_branch_error="skip")
    g.map("each", over="notes", node="one", into="notes", max_concurrency=3, on_branch_error="skip")
    g.map("all", over="notes", workflow=child, item="text", result="kind", into="notes")
    g.node(lambda item: item, name="one", retry=policy)
    g.edge(START, "split")
    g.edge("split", "each", when=lambda state: True)
    g.edge("split", "all", when=lambda state: False)
    g.edge("split", END, default=True)
    g.route("each", by_kind, {"x": END}, limit=4)
    g.edge("all", END)

    model = g.build()

    refs = [f"{HERE}:test_fork_map_and_python_conditions.<locals>.<lambda>{suffix}" for suffix in ("", "#2", "#3")]
    assert model.nodes == (
        Node(
            id="split", config=ForkConfig(policy=JoinPolicy(join=1, deadline_s=2.5, on_branch_error=OnBranchError.SKIP))
        ),
        Node(
            id="each",
            config=MapConfig(
                over="notes", node="one", into="notes", max_concurrency=3, on_branch_error=OnBranchError.SKIP
            ),
        ),
        Node(
            id="all",
            config=MapConfig(over="notes", workflow="child@2.1", item="text", result="kind", into="notes"),
        ),
        Node(id="one", config=FunctionConfig(function=refs[0]), retry=policy),
    )
    assert [edge.condition and edge.condition.function for edge in model.edges] == [
        None,
        refs[1],
        refs[2],
        None,
        None,
        None,
    ]
    assert model.edges[4].route == Route(function=f"{HERE}:by_kind", parameters={"limit": 4}, path_map={"x": END})
    assert model.workflows == (child.model(),)
    assert (model.description, model.max_steps, model.metadata) == ("d", 7, {"team": "x"})
    assert own(g).keys() == {*refs, f"{HERE}:by_kind", f"{HERE}:classify"}
    assert [g.functions[ref](None) for ref in refs[1:]] == [True, False]


def test_one_function_in_two_nodes_has_one_reference():
    g = Graph("g", state=Ticket)
    g.node(classify)
    g.node(classify, name="again")

    assert own(g) == {f"{HERE}:classify": classify}


def test_tuples_become_the_lists_that_a_text_would_have():
    g = Graph("g", state=Ticket, metadata={"tags": ("a", ("b",))})
    g.tool("x", tool="y", arguments={"items": (1, 2)})

    assert g.model().metadata == {"tags": ["a", ["b"]]}
    assert load(dump(g.model())) == g.model()


def test_own_reducers_travel_with_the_functions():
    class Longest(BaseModel):
        text: Annotated[str, longest] = ""

    g = Graph("g", state=Longest)

    assert list(own(g).values()) == [longest]


def test_a_callable_object_is_referred_to_by_its_class():
    class Predicate:
        def __call__(self, state):
            return True

    g = Graph("g", state=Ticket)
    first, second = Predicate(), Predicate()
    g.edge(START, "a", when=first)
    g.edge(START, "b", when=second)

    ref = f"{HERE}:test_a_callable_object_is_referred_to_by_its_class.<locals>.Predicate"
    assert own(g) == {ref: first, f"{ref}#2": second}


@dataclasses.dataclass
class TicketData:
    text: str = ""
    notes: Annotated[list[str], append] = dataclasses.field(default_factory=list)


class TicketDict(TypedDict):
    text: str
    notes: Annotated[list[str], append]


@pytest.mark.parametrize("state", [TicketData, TicketDict])
def test_the_state_may_be_a_dataclass_or_a_typed_dict(state):
    g = Graph("g", state=state)
    g.llm("ask", prompt="{text}", into="notes", stop="\n")
    g.edge(START, "ask")
    g.edge("ask", END)

    assert g.build().state == g.schema.to_spec()


def test_build_reports_all_problems():
    g = Graph("g", state=Ticket)
    g.llm("answer", prompt="{txt}", into="notes")
    g.edge(START, "anwser")

    with pytest.raises(GraphInvalid) as caught:
        g.build()

    assert caught.value.problems == [
        'nodes[0].config.prompt: no channel "txt"; did you mean "text"?',
        'edges[0].target: no node "anwser"; did you mean "answer"?',
        "edges: none leads from START to a node; add one",
        'nodes[0]: nothing follows "answer"; add an edge to the next node or to END',
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda g: g.node(classify), 'node "classify": there is one already; choose another name with name='),
        (lambda g: g.node("a"), "node: 'a' is no function; use @g.node or g.node(function, name=...)"),
        (
            lambda g: g.node(classify, name="x", retry=0),
            'node "x".retry.max_attempts: Input should be greater than or equal to 1',
        ),
        (lambda g: g.node(classify, name="x", timeout_s=0), 'node "x".timeout_s: Input should be greater than 0'),
        (lambda g: g.node(classify, name="x", reads="text"), 'node "x".reads: give a list of channels: ["text"]'),
        (
            lambda g: g.llm("x", into="notes", max_tokens=0),
            'node "x".max_tokens: Input should be greater than or equal to 1',
        ),
        (
            lambda g: g.tool("x", tool="y", arguments={"a": ({"b": [1, {2}]},)}),
            'node "x".arguments.a: [0].b[1]: a set cannot be written as JSON',
        ),
        (
            lambda g: g.route("a", "budget", {}, max_tokens=float("inf")),
            'route after "a".parameters.max_tokens: inf cannot be written as JSON',
        ),
        (lambda g: g.fork("x", join="some"), 'node "x".join: must be "all", "any" or a number of branches'),
        (
            lambda g: g.fork("x", on_branch_error="ignore"),
            "node \"x\".on_branch_error: Input should be 'fail', 'skip' or 'collect'",
        ),
        (
            lambda g: g.map("x", over="notes", into="notes", node="y", max_concurrency=0),
            'node "x".max_concurrency: Input should be greater than or equal to 1',
        ),
        (
            lambda g: g.edge("a", "b", when="true", default=True),
            'edge "a" -> "b": a default edge has no condition; drop one of the two',
        ),
        (
            lambda g: g.edge("a", "b", when=3),
            'edge "a" -> "b": when=3 is neither a CEL expression nor a function',
        ),
        (
            lambda g: g.route("a", 3, {}),
            'route after "a": 3 is neither the name of a route function nor a function',
        ),
        (
            lambda g: g.route("a", "budget", ["b"]),
            'route after "a": say where each answer leads, such as {"matched": "answer", "not_matched": END}',
        ),
    ],
)
def test_wrong_values_are_found_at_once(wrong, message):
    g = Graph("g", state=Ticket)
    g.node(classify)

    with pytest.raises(GraphInvalid) as caught:
        wrong(g)

    assert str(caught.value) == f'workflow "g": {message}'


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g: g.node(classify, retries=3),
        lambda g: g.node(retries=3),
        lambda g: g.llm("x", into="notes", modell="y"),
        lambda g: g.tool("x", tool="y", argument={}),
        lambda g: g.edge("a", "b", whenn="true"),
        lambda g: g.fork("x", joins="any"),
        lambda g: g.map("x", over="notes", into="notes", nodes="y"),
        lambda g: Graph("g", state=Ticket, versoin="1"),
    ],
)
def test_unknown_options_are_type_errors(wrong):
    with pytest.raises(TypeError, match="argument"):
        wrong(Graph("g", state=Ticket))


def test_a_state_that_cannot_be_stored_is_a_schema_error():
    class Bad(BaseModel):
        text: str = ""
        anything: type[int] = int

    with pytest.raises(SchemaError, match="anything"):
        Graph("g", state=Bad)


def test_max_steps_must_be_positive():
    with pytest.raises(
        GraphInvalid, match=r'workflow "g": graph\.max_steps: Input should be greater than or equal to 1'
    ):
        Graph("g", state=Ticket, max_steps=0)


def item_graph(name, version="1.0.0"):
    g = Graph(name, state=Ticket, version=version)
    g.node(classify)
    g.edge(START, "classify")
    g.edge("classify", END)
    return g


def test_a_graph_may_map_itself():
    g = item_graph("g")
    g.map("deeper", over="notes", workflow=g, item="text", into="notes")
    g.edge("classify", "deeper")
    g.edge("deeper", END)

    model = g.model()

    assert (model.workflows, model.node("deeper").config.workflow) == ((), "g@1.0.0")
    assert own(g) == {f"{HERE}:classify": classify}


def test_graphs_cannot_bring_each_other_along():
    a, b = item_graph("a"), item_graph("b")
    a.map("each", over="notes", workflow=b, into="notes")

    with pytest.raises(
        GraphInvalid, match=r'"a@1\.0\.0" brings this graph along itself; write workflow="a@1.0.0" instead'
    ):
        b.map("each", over="notes", workflow=a, into="notes")


def test_two_graphs_of_one_name_cannot_come_along():
    g = item_graph("g")
    g.map("one", over="notes", workflow=item_graph("x"), into="notes")

    with pytest.raises(GraphInvalid, match=r'another workflow comes along as "x@1\.0\.0" already; rename one of them'):
        g.map("two", over="notes", workflow=item_graph("x"), into="notes")


def test_the_type_of_the_state_goes_along_with_the_callables():
    g = Graph("g", state=Ticket)

    assert g.functions == {"state:g": Ticket}
