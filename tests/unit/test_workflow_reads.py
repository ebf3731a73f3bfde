"""What nodes and decisions look at: nothing else is loaded for them."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import Cursor
from graphs.messages import Message
from graphs.state.reducers import add_messages
from graphs.state.refs import NotLoaded, ValueRef
from graphs.state.schema import StateSchema
from graphs.threads import ThreadState
from graphs.workflow import planner
from graphs.workflow.edge import Route
from graphs.workflow.node import (
    ForkConfig,
    FunctionConfig,
    HumanConfig,
    LlmConfig,
    Node,
    NodeConfig,
    ToolCallConfig,
    WaitConfig,
)
from graphs.workflow.plan import Plan
from graphs.workflow.reads import node_reads
from graphs.workflow.routing import SHIPPED_ROUTES
from runtime import END, START, Graph

REF = ValueRef("ab" * 32, 300_000)


class State(BaseModel):
    n: int = 0
    text: str = ""
    other: str = ""
    numbers: list[int] = []
    anything: Any = None
    records: list[dict[str, str]] = []
    said: Annotated[list[Message], add_messages] = []


SCHEMA = StateSchema.from_type(State)


@pytest.mark.parametrize(
    ("config", "reads", "expected"),
    [
        (FunctionConfig(function="m:f"), None, None),
        (FunctionConfig(function="m:f"), ("n", "text"), {"n", "text"}),
        (FunctionConfig(function="m:f"), (), set()),
        (FunctionConfig(function="m:f", argument="item"), None, {"item"}),
        (FunctionConfig(function="m:f", argument="item"), ("n", "item"), {"item"}),
        (LlmConfig(into="text"), None, set()),
        (LlmConfig(prompt="{text} and {other[0]}", into="text"), None, {"text", "other"}),
        (LlmConfig(messages="said", system="you are {n}", into="said"), ("n", "said", "text"), {"said", "n"}),
        (ToolCallConfig(tool="t"), None, set()),
        (ToolCallConfig(tool="t", arguments={"a": "{n}", "b": ["{text}", {"c": "{{no}} {other}"}], "d": 1}), None, {
            "n", "text", "other",
        }),
        (HumanConfig(question="Is {text} right?"), None, {"text"}),
        (WaitConfig(seconds=1.0), None, None),
        (ForkConfig(), None, None),
    ],
)  # fmt: skip
def test_what_a_node_looks_at(config: NodeConfig, reads: tuple[str, ...] | None, expected: set[str] | None) -> None:
    found = node_reads(Node(id="a", config=config, reads=reads))

    assert (None if found is None else set(found)) == expected


@pytest.mark.parametrize(
    ("function", "parameters", "expected"),
    [
        ("state_value", {"channel": "text"}, {"text"}),
        ("threshold", {"channel": "n", "value": 1}, {"n"}),
        ("message_contains", {"channel": "said", "keywords": ["x"]}, {"said"}),
        ("message_contains", {"keywords": ["x"]}, None),
        ("has_tool_calls", {"channel": "said"}, {"said"}),
        ("has_tool_calls", {}, {"anything", "records", "said"}),
        ("tool_call_count", {"threshold": 2}, {"anything", "records", "said"}),
        ("budget", {"max_steps": 3}, set()),
    ],
)
def test_what_a_route_looks_at(function: str, parameters: dict[str, Any], expected: set[str] | None) -> None:
    seen = SHIPPED_ROUTES.bind(Route(function=function, parameters=parameters, path_map={}), {}).seen(SCHEMA)

    assert (None if seen is None else set(seen)) == expected


def nothing(state: State) -> dict[str, Any]:
    return {}


def is_set(state: State) -> bool:
    return state.n > 0


def pick(state: State, word: str) -> str:
    return word


def graph() -> Graph:
    """A node that nothing follows yet."""
    g = Graph("w", state=State)
    g.node(nothing, name="a")
    g.node(nothing, name="b")
    g.edge(START, "a")
    g.edge("b", END)
    return g


def asked(g: Graph, state: dict[str, Any]) -> tuple[str, ...] | str | None:
    """What has to be loaded to know what comes after node a, or what comes."""
    model = g.model()
    plan = Plan(model, SCHEMA, g.functions)
    cursor = Cursor(turn=1, status=ThreadState.RUNNING, node="a")
    try:
        return planner.advance(plan, cursor, planner.NodeFinished(), {**SCHEMA.initial(), **state}, 2).node
    except NotLoaded as missing:
        return missing.channels


LARGE = {"text": REF, "numbers": REF, "anything": REF}


def test_conditions_are_read_in_order() -> None:
    g = graph()
    g.edge("a", "b", when="state.n == 1 || size(state.text) > 3")
    g.edge("a", END, when="size(state.numbers) > 3", default=False)
    g.edge("a", "b", default=True)

    assert asked(g, LARGE) == ("text",)
    assert asked(g, {**LARGE, "text": "long"}) == ("numbers",)
    assert asked(g, {"anything": REF}) == "b"


def test_python_gets_everything() -> None:
    g = graph()
    g.edge("a", "b", when=is_set)
    g.edge("a", END, default=True)
    assert asked(g, LARGE) == ("text", "numbers", "anything")

    g = graph()
    g.route("a", pick, {"x": "b", "y": END}, word="x")
    assert asked(g, LARGE) == ("text", "numbers", "anything")
    assert asked(g, {}) == "b"


def test_a_route_gets_what_it_looks_at() -> None:
    g = graph()
    g.route("a", "has_tool_calls", {"tools": "b", "none": END})
    assert asked(g, LARGE) == ("anything",)
    assert asked(g, {"text": REF, "numbers": REF}) is None
