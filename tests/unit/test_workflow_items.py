"""What maps go over, and what they must not."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.errors import StateInvalid
from graphs.messages import Message, ToolCall
from graphs.state.refs import NotLoaded, ValueRef
from graphs.state.schema import StateSchema
from graphs.workflow.builder import GraphBuilder
from graphs.workflow.items import items_at, type_at
from graphs.workflow.validation import validate
from runtime import END, START, add_messages


class Line(BaseModel):
    name: str
    counts: list[int] = []


class Order(BaseModel):
    lines: list[Line] = []
    by_day: dict[str, list[str]] = {}


class State(BaseModel):
    messages: Annotated[list[Message], add_messages] = []
    order: Order | None = None
    numbers: list[int] = []
    texts: list[str] = []
    anything: Any = None


SCHEMA = StateSchema.from_type(State)
CALL = ToolCall(id="1", name="add")
VALUES = {
    "messages": [Message(role="user"), Message(role="assistant", tool_calls=[CALL])],
    "order": Order(lines=[Line(name="a", counts=[1, 2])], by_day={"mon": ["x"]}),
    "numbers": [1],
    "anything": {"deep": [{"er": [7]}]},
}


@pytest.mark.parametrize(
    ("over", "items", "spec"),
    [
        ("numbers", [1], {"list": "int64"}),
        ("messages[-1].tool_calls", [CALL], SCHEMA.channels["messages"].type.inner.item.fields["tool_calls"].spec),
        ("order.lines[0].counts", [1, 2], {"list": "int64"}),
        ("order.by_day[mon]", ["x"], {"list": "string"}),
        ("anything.deep[0].er", [7], "json"),
    ],
)
def test_lists_are_found_in_channels(over: str, items: list[Any], spec: Any) -> None:
    assert items_at(over, VALUES) == items
    assert type_at(over, SCHEMA).spec == spec


def test_nothing_is_no_item() -> None:
    assert items_at("anything", {"anything": None}) == []


@pytest.mark.parametrize(
    ("over", "values", "problem"),
    [
        ("messages[-1].tool_calls", {"messages": []}, 'channel "messages": no item -1 in a list of 0'),
        ("order.lines", {"order": None}, 'channel "order": null has no field "lines"'),
        ("anything", {"anything": 3}, "anything: is no list, but holds a int"),
    ],
)
def test_what_is_not_there(over: str, values: dict[str, Any], problem: str) -> None:
    with pytest.raises(StateInvalid) as caught:
        items_at(over, values)

    assert caught.value.problems == [problem]


def test_a_reference_has_to_be_loaded_first() -> None:
    with pytest.raises(NotLoaded):
        items_at("order.lines", {"order": ValueRef("d", 1)})


@pytest.mark.parametrize(
    ("over", "problem"),
    [
        ("mesages[-1].tool_calls", 'nodes[0].config.over: no channel "mesages"; did you mean "messages"?'),
        (
            "messages[-1].tool_cals",
            'nodes[0].config.over: messages[-1].tool_cals: no field "tool_cals"; did you mean "tool_calls"?',
        ),
        ("messages[-1].role", "nodes[0].config.over: messages[-1].role does not hold a list"),
        ("numbers.x", "nodes[0].config.over: numbers.x: a value of type {'list': 'int64'} has no part 'x'"),
        ("numbers[", 'nodes[0].config.over: "numbers[" is no path, such as messages[-1].tool_calls'),
        ("a b", 'nodes[0].config.over: "a b" is no path, such as messages[-1].tool_calls'),
        ("texts}{order", 'nodes[0].config.over: "texts}{order" is no path, such as messages[-1].tool_calls'),
    ],
)
def test_places_that_are_not_in_the_state(over: str, problem: str) -> None:
    g = GraphBuilder("g", state=State)
    g.map("each", over=over, node="body", into="texts")
    g.node(lambda item: "x", name="body")
    g.edge(START, "each")
    g.edge("each", END)

    found = [str(each) for each in validate(g.model(), functions=g.functions)]

    assert found[0] == problem


@pytest.mark.parametrize(
    ("over", "into", "problem"),
    [
        ("texts", "messages", "nodes[1].config: what it is mapped over, texts, holds no tool calls"),
        (
            "messages[-1].tool_calls",
            "texts",
            'nodes[1].config: its result is a message, which channel "texts" does not hold',
        ),
        (
            "",
            "",
            "nodes[1].config: a call node runs in a map over tool calls, such as one over messages[-1].tool_calls",
        ),
    ],
)
def test_what_runs_tool_calls_needs_them(over: str, into: str, problem: str) -> None:
    g = GraphBuilder("g", state=State)
    g.agent("a", messages="messages", tools=["calculator"])
    g.edge(START, "a")
    g.edge("a", END)
    model = g.build()
    nodes = {node.id: node for node in model.nodes}
    mapped = nodes["a_calls"].model_copy(
        update={"config": nodes["a_calls"].config.model_copy(update={"over": over, "into": into})}
    )
    edges = model.edges if over else tuple(edge for edge in model.edges if edge.source != "a_calls")
    changed = model.model_copy(
        update={"nodes": (nodes["a"], nodes["a_call"], *((mapped,) if over else ())), "edges": edges}
    )

    assert problem in [str(each) for each in validate(changed)]
