"""Agents: a model and tools in a loop."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind, Usage
from graphs.messages import Message, ToolCall
from graphs.workflow.render import mermaid
from graphs.workflow.spec import dump, load, to_document
from runtime import END, START, AsyncLocalRuntime, Graph, GraphInvalid, add, add_messages, tool
from tests.component.actors_kit import COMPLETED, STARTED, Gate, history, joined, runtime, step, tree


class Chat(BaseModel):
    messages: Annotated[list[Message], add_messages] = []
    lang: str = "French"
    done: Annotated[int, add] = 0


def asks(*calls: tuple[str, dict[str, Any]], text: str = "") -> dict[str, Any]:
    """A scripted answer that asks for tools."""
    return {"text": text, "tool_calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}


def models(*replies: Any) -> dict[str, Any]:
    """A model that gives these answers, one after the other, to whatever the user says."""
    return {"default": {"provider": "scripted", "replies": {"": list(replies)}}}


def agent_graph(*tools: Any, **options: Any) -> Graph:
    g = Graph("helper", state=Chat)
    g.agent("helper", messages="messages", tools=tools, **options)
    g.edge(START, "helper")
    g.edge("helper", END)
    return g


async def run(rt: AsyncLocalRuntime, g: Graph, text: str = "go") -> Any:
    await rt.deploy(g)
    session = await rt.session(g.name)
    return await session.run({"messages": [Message(role="user", content=text)]})


def said(result: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in result.state.messages]


async def test_it_works_with_tools_until_it_answers() -> None:
    replies = models(
        asks(("calculator", {"expression": "6 * 7"}), ("double", {"number": 4}), text="Let me see."),
        asks(("double", {"number": 8})),
        "It is 42 and 16.",
    )

    def double(number: int) -> int:
        return 2 * number

    async with runtime(models=replies) as rt:
        result = await run(rt, agent_graph("calculator", double))

        assert result.status == "completed", result.error
        assert said(result) == [
            ("user", "go"),
            ("assistant", "Let me see."),
            ("tool", "42"),
            ("tool", "8"),
            ("assistant", ""),
            ("tool", "16"),
            ("assistant", "It is 42 and 16."),
        ]
        first, second = result.state.messages[1], result.state.messages[2]
        assert first.tool_calls == [
            ToolCall(id="call_0_1", name="calculator", arguments='{"expression":"6 * 7"}'),
            ToolCall(id="call_0_2", name="double", arguments='{"number":4}'),
        ]
        assert (second.tool_call_id, second.name) == ("call_0_1", "calculator")
        assert result.usage == Usage(prompt_tokens=1 + 6 + 7, completion_tokens=3 + 3 + 1 + 1 + 5, calls=3)
        assert await history(rt, result.thread_id) == [
            STARTED,
            step("helper"),
            joined("helper_calls"),
            step("helper"),
            joined("helper_calls"),
            step("helper"),
            COMPLETED,
        ]
        session_id = result.thread_id.partition(":")[0]
        assert await tree(rt, session_id) == dict.fromkeys(("0", "0.2.0", "0.2.1", "0.4.0"), "completed")


async def test_it_is_exported_and_read_as_the_nodes_it_is_made_of() -> None:
    g = agent_graph("calculator", system="You speak {lang}.", max_rounds=3)
    model = g.build()

    assert load(dump(model)) == model
    document = to_document(model)
    assert document["nodes"] == [
        {
            "id": "helper",
            "type": "llm",
            "messages": "messages",
            "system": "You speak {lang}.",
            "into": "messages",
            "tools": ["calculator"],
            "max_rounds": 3,
        },
        {
            "id": "helper_calls",
            "type": "map",
            "over": "messages[-1].tool_calls",
            "node": "helper_call",
            "into": "messages",
            "max_concurrency": 8,
        },
        {"id": "helper_call", "type": "call", "tools": ["calculator"]},
    ]
    assert document["edges"] == [
        {"from": "START", "to": "helper"},
        {
            "from": "helper",
            "route": "has_tool_calls",
            "parameters": {"channel": "messages"},
            "paths": {"tools": "helper_calls", "none": "END"},
        },
        {"from": "helper_calls", "to": "helper"},
    ]
    assert mermaid(model) == (
        """flowchart TD
    start(("START"))
    n0(["helper"])
    n1[/"helper_calls"/]
    n2[["helper_call"]]
    end_((("END")))
    start --> n0
    n0 -->|"has_tool_calls: tools"| n1
    n0 -->|"has_tool_calls: none"| end_
    n1 --> n0
    n1 -.->|"each of messages[-1].tool_calls"| n2
"""
    )


async def test_what_goes_wrong_with_a_tool_is_told_to_the_model() -> None:
    replies = models(
        asks(
            ("calculator", {"expression": "1 / 0"}),
            ("calculator", {"expresion": "1", "digits": 2}),
            ("calculater", {}),
            ("fail", {}),
        ),
        "Sorry.",
    )

    def fail() -> str:
        raise RuntimeError("out of order")

    async with runtime(models=replies) as rt:
        result = await run(rt, agent_graph("calculator", fail))

    assert said(result)[2:] == [
        ("tool", "Error: calculator: division by zero"),
        (
            "tool",
            "Error: calculator: expression: is required; "
            'expresion: no such parameter; did you mean "expression"?; digits: no such parameter',
        ),
        ("tool", 'Error: no tool "calculater"; did you mean "calculator"?'),
        ("tool", "Error: RuntimeError: out of order"),
        ("assistant", "Sorry."),
    ]


async def test_what_goes_wrong_with_a_tool_fails_the_agent_if_it_is_to() -> None:
    replies = models(asks(("calculator", {"expression": "1 / 0"})), "Never.")
    g = Graph("helper", state=Chat)
    g.agent("helper", messages="messages", tools=["calculator"], on_tool_error="fail")

    @g.node
    def mend(state: Chat, ctx: Any) -> dict[str, Any]:
        return {"messages": [Message(role="assistant", content=f"mended: {ctx.error.message}")]}

    g.edge(START, "helper")
    g.edge("helper", END)
    g.edge("helper", "mend", on_error=True)
    g.edge("mend", END)

    async with runtime(models=replies) as rt:
        result = await run(rt, g)

    assert result.status == "completed"
    assert said(result)[2:] == [
        ("assistant", "mended: branch 0 of 'helper_calls' failed: calculator: division by zero")
    ]


async def test_after_so_many_rounds_it_has_to_answer() -> None:
    replies = models(asks(("calculator", {"expression": "1"})))

    async with runtime(models=replies) as rt:
        result = await run(rt, agent_graph("calculator", max_rounds=2))

    assert result.status == "failed"
    assert result.error is not None
    assert result.error.message == (
        'model "default": it asked for tools once more, though it had to answer after 2 rounds; raise max_rounds'
    )
    assert [role for role, _ in said(result)] == ["user", "assistant", "tool", "assistant", "tool"]


async def test_rounds_count_from_the_last_message_of_the_user() -> None:
    replies = models(asks(("calculator", {"expression": "1"})), "One.")

    async with runtime(models=replies) as rt:
        await rt.deploy(agent_graph("calculator", max_rounds=1))
        session = await rt.session("helper")
        for turn in (1, 2, 3):
            result = await session.run({"messages": [Message(role="user", content="go")]})
            assert (result.status, len(result.state.messages)) == ("completed", 4 * turn)


async def test_the_calls_of_one_answer_run_at_the_same_time() -> None:
    gate = Gate()

    async def wait(name: str) -> str:
        await gate()
        return name

    replies = models(asks(*(("wait", {"name": name}) for name in "abc")), "All.")

    async with runtime(models=replies) as rt:
        running = asyncio.create_task(run(rt, agent_graph(wait)))
        await gate.reached(3)
        await gate.open()
        result = await running

    assert said(result)[2:] == [("tool", "a"), ("tool", "b"), ("tool", "c"), ("assistant", "All.")]


async def test_what_follows_an_agent_is_chosen_after_its_last_answer() -> None:
    replies = models(asks(("calculator", {"expression": "1"})), "yes")
    g = Graph("helper", state=Chat)
    g.agent("helper", messages="messages", tools=["calculator"])
    for name, amount in (("few", 1), ("many", 100)):
        g.node(lambda state, amount=amount: {"done": amount}, name=name)
        g.edge(name, END)
    g.edge(START, "helper")
    g.edge("helper", "few", when="size(state.messages) == 4")
    g.edge("helper", "many", default=True)

    async with runtime(models=replies) as rt:
        result = await run(rt, g)

    assert (result.status, result.state.done) == ("completed", 1)


async def test_conditions_after_an_agent_may_exclude_each_other() -> None:
    class Picked(BaseModel):
        messages: Annotated[list[Message], add_messages] = []
        picked: str = ""

    g = Graph("helper", state=Picked)
    g.agent("helper", messages="messages", tools=["calculator"])
    for name in ("a", "b"):
        g.llm(name, prompt="x", into="picked", model="scripted")
        g.edge(name, END)
    g.edge(START, "helper")
    g.edge("helper", "a", when="state.picked == 'a'")
    g.edge("helper", "b", when="state.picked == 'b'")
    g.edge("helper", END, default=True)

    model = g.build()

    assert [(edge.id, edge.source) for edge in model.edges][3:6] == [
        ("helper_end->a", "helper_end"),
        ("helper_end->b", "helper_end"),
        ("helper_end->END", "helper_end"),
    ]


async def test_a_tool_that_runs_at_most_once_is_recorded_before_it_is_called() -> None:
    @tool(at_most_once=True)
    def pay(amount: int) -> str:
        return f"paid {amount}"

    replies = models(asks(("pay", {"amount": 3}), ("calculator", {"expression": "1"})), "Done.")

    async with runtime(models=replies) as rt:
        result = await run(rt, agent_graph(pay, "calculator"))
        kinds = [[kind for kind, _, _ in await history(rt, f"{result.thread_id}.2.{index}")] for index in (0, 1)]

    assert said(result)[2:4] == [("tool", "paid 3"), ("tool", "1")]
    assert kinds == [
        [EntryKind.TURN_STARTED, EntryKind.STEP_STARTED, EntryKind.STEP_FINISHED, EntryKind.TURN_FINISHED],
        [EntryKind.TURN_STARTED, EntryKind.STEP_FINISHED, EntryKind.TURN_FINISHED],
    ]


async def test_two_tools_of_one_name_cannot_be_told_apart() -> None:
    def calculator(text: str) -> str:
        return text

    async with runtime() as rt:
        with pytest.raises(GraphInvalid) as caught:
            await rt.deploy(agent_graph("calculator", calculator))

    assert caught.value.problems[0] == (
        'nodes[0].config.tools[1]: models know it as "calculator", as they do tools[0]; rename one of the two'
    )


async def test_registered_tools_go_by_their_names() -> None:
    def shout(text: str) -> str:
        return text.upper()

    replies = models(asks(("shout", {"text": "hey"})), "Done.")

    async with runtime(models=replies) as rt:
        rt.tools.register(shout)
        result = await run(rt, agent_graph("shout"))

    assert said(result)[2] == ("tool", "HEY")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tools": ["calculater"]}, 'nodes[0].config.tools[0]: no tool "calculater"; did you mean "calculator"?'),
        ({"messages": "message"}, 'nodes[0].config.messages: no channel "message"; did you mean "messages"?'),
        (
            {"messages": "lang"},
            'nodes[0].config.into: calls of tools are in messages, which channel "lang" does not hold; use another',
        ),
        ({"tools": []}, "nodes[0].config.max_rounds: is for a model that is offered tools in a conversation; drop it"),
        ({"tools": ["calculator", "calculator"]}, 'nodes[0].config.tools[1]: "calculator" is there twice; remove one'),
    ],
)
async def test_what_is_wrong_with_an_agent(options: dict[str, Any], problem: str) -> None:
    g = Graph("helper", state=Chat)
    g.agent("helper", **{"messages": "messages", "tools": ["calculator"], **options})
    g.edge(START, "helper")
    g.edge("helper", END)

    async with runtime() as rt:
        with pytest.raises(GraphInvalid) as caught:
            await rt.deploy(g)

    assert caught.value.problems[0] == problem
