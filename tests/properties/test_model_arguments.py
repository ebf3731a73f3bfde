"""Whatever a model writes as the arguments of a tool: it is told what is wrong, and the tool sees nothing of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from actors.executors.calls import answer_call
from actors.executors.permissions import Permissions
from actors.executors.results import Results
from actors.executors.runner import NodeContext
from actors.executors.toolbox import Toolbox
from actors.stores.memory import MemoryStore
from actors.tools.factory import ToolFactory
from actors.values import Values
from graphs.messages import Message, ToolCall
from graphs.workflow.node import CallConfig
from graphs.workflow.plan import Plan
from runtime import END, START, Graph, add_messages

called: list[tuple[str, int]] = []


async def probe(text: str, count: int = 1) -> str:
    """Note that it was called."""
    called.append((text, count))
    return "done"


class Chat(BaseModel):
    messages: Annotated[list[Message], add_messages] = []


def _plan() -> Plan:
    g = Graph("helper", state=Chat)
    g.agent("helper", messages="messages", tools=[probe])
    g.edge(START, "helper")
    g.edge("helper", END)
    return Plan(g.build(), g.schema, g.functions)


STORE = MemoryStore()
PLAN = _plan()
CONFIG = PLAN.nodes["helper_call"].config
assert isinstance(CONFIG, CallConfig)
TOOLBOX, PERMISSIONS, RESULTS = Toolbox(ToolFactory()), Permissions(STORE.sessions), Results(Values(STORE.values))
CONTEXT = NodeContext(thread_id="s:0.2.0", session_id="s", workflow="helper@1", node="helper_call", seq=2, attempt=1)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
)
objects = st.dictionaries(st.sampled_from(["text", "count", "Text", "x"]), anything, max_size=3).filter(
    lambda found: (
        not isinstance(found.get("text"), str | int | float)
        or isinstance(found.get("text"), bool)
        or bool(found.keys() - {"text", "count"})
    )
)
wrong = st.one_of(
    st.text(max_size=20).filter(lambda text: not _fits(text)), anything.map(json.dumps), objects.map(json.dumps)
)


def _fits(text: str) -> bool:
    """Whether it could be right after all."""
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False


async def answered(call: ToolCall) -> Message:
    return await answer_call(TOOLBOX, PERMISSIONS, RESULTS, PLAN, CONFIG, {"item": call, "messages": []}, CONTEXT)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(arguments=wrong, name=st.sampled_from(["probe", "probe", "Probe", ""]))
def test_wrong_arguments_are_told_and_reach_nothing(runner: asyncio.Runner, arguments: str, name: str) -> None:
    message = runner.run(answered(ToolCall(id="c", name=name, arguments=arguments)))

    assert (message.role, message.tool_call_id, message.name) == ("tool", "c", name)
    assert message.content.startswith(f"Error: {name}: " if name == "probe" else ("Error: ", "Error: no tool"))
    assert called == []


async def test_right_arguments_reach_the_tool() -> None:
    try:
        message: Any = await answered(ToolCall(id="c", name="probe", arguments='{"text": "a", "count": 2}'))
        assert (message.content, called) == ("done", [("a", 2)])
    finally:
        called.clear()
