"""Tools that users write: in graphs, registered with a driver, and run outside of any thread."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.errors import ToolError
from graphs.errors import BusinessRuleViolation, GraphInvalid, NotFoundError, ValidationError
from graphs.tools import ToolType
from graphs.workflow.spec import dump, load
from runtime import END, START, Graph, LocalRuntime, append, tool
from tests.component.actors_kit import COMPLETED, STARTED, another_driver, history, runtime, step


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


class Texts(BaseModel):
    texts: list[str] = []
    notes: list[list[str]] = []


@tool(tags=("text",))
def shout(text: str, times: int = 1) -> str:
    """Say it louder."""
    return text.upper() + "!" * times


@tool(name="keyed")
async def with_key(text: str, idempotency_key: str | None = None) -> str:
    """Answer with the key."""
    return f"{text} {idempotency_key}"


def untyped(text) -> str:
    return str(text)


def graph(used: Any, **arguments: Any) -> Graph:
    g = Graph("tools", state=Log)
    g.tool("use", tool=used, arguments={"text": "{text}", **arguments}, into="notes")
    g.edge(START, "use")
    g.edge("use", END)
    return g


async def test_a_function_in_a_graph_is_called_as_a_tool() -> None:
    def local(text: str) -> str:
        """It has no name by which it could be imported."""
        return text * 2

    async with runtime() as rt:
        for used, note in ((shout, "HI!!"), (with_key, "hi {thread}:2"), (local, "hihi")):
            await rt.deploy(graph(used, **({"times": 2} if used is shout else {})))
            session = await rt.session("tools")

            result = await session.run({"text": "hi"})

            assert result.state["notes"] == [note.format(thread=session.thread)]
            assert await history(rt, session.thread) == [STARTED, step("use"), COMPLETED]
        assert rt.tools.own == {}, "what a graph brings along is its own"


async def test_a_wrong_argument_names_the_parameter_and_calls_nothing() -> None:
    called = []

    @tool
    def note(text: str, times: int) -> str:
        """Note it."""
        called.append(text)
        return text

    async with runtime() as rt:
        await rt.deploy(graph(note, times="often", tmes=1))
        result = await (await rt.session("tools")).run({"text": "hi"})

        assert type(result.error) is ToolError
        assert result.error.problems == [
            "times: must be a number, got 'often'",
            'tmes: no such parameter; did you mean "times"?',
        ]
        assert called == []


async def test_a_registered_tool_is_named_by_graphs_and_comes_along() -> None:
    async with runtime() as rt:
        with pytest.raises(GraphInvalid, match=r'nodes\[0\]\.config\.tool: no tool "shout"'):
            await rt.deploy(graph("shout"))
        assert rt.tools.register(shout).id == "shout@1.0.0"
        outer = Graph("outer", state=Texts)
        outer.map("each", over="texts", workflow=graph("shout"), item="text", result="notes", into="notes")
        outer.edge(START, "each")
        outer.edge("each", END)

        [ref] = await rt.deploy(outer)

        async with another_driver(rt) as other:
            session = await other.session(ref)
            assert (await session.run({"texts": ["a", "b"]})).state["notes"] == [["A!"], ["B!"]]


async def test_tools_are_listed_by_tag_type_and_name() -> None:
    async with runtime() as rt:
        rt.tools.register(shout)
        rt.tools.register(with_key)

        def names(**filters: Any) -> list[str]:
            return [found.name for found in rt.tools.list(**filters)]

        assert {"calculator", "keyed", "shout", "text_stats"} <= set(names())
        assert names(tool_type="native") == ["keyed", "shout"]
        assert names(tags=["text"], tool_type=ToolType.NATIVE) == ["shout"]
        assert names(name_contains="KEY") == ["keyed"]


async def test_tools_run_outside_of_threads() -> None:
    async with runtime() as rt:
        rt.tools.register(shout)
        rt.tools.register(with_key)

        assert (await rt.tools.execute("shout", {"text": "hi", "times": "2"})).output == "HI!!"
        assert (await rt.tools.execute("keyed", {"text": "hi"})).output == "hi None"
        assert (await rt.tools.execute("calculator", {"expression": "2**10"})).output == 1024
        wrong = await rt.tools.execute("shout", {"times": []})
        assert wrong.error is not None
        assert wrong.error.fields["problems"] == ["text: is required", "times: must be a number, got []"]
        with pytest.raises(NotFoundError, match=r'no tool "shot"; did you mean "shout"\?'):
            await rt.tools.execute("shot", {})


async def test_what_cannot_be_a_tool_is_refused() -> None:
    def calculator(expression: str) -> str:
        return expression

    async with runtime() as rt:
        with pytest.raises(ValidationError, match="text: has no type hint"):
            rt.tools.register(untyped)
        with pytest.raises(BusinessRuleViolation, match='"calculator" is a builtin tool'):
            rt.tools.register(calculator)
        with pytest.raises(GraphInvalid) as caught:
            await rt.deploy(graph(untyped))
        assert caught.value.problems == [
            "nodes[0].config.tool: text: has no type hint; write one, such as `str`",
        ]
        assert rt.tools.own == {}


def test_a_graph_with_a_function_as_tool_goes_through_yaml() -> None:
    model = graph(shout).build()

    assert load(dump(model, "yaml"), "yaml") == model
    assert model.nodes[0].config.tool == f"{__name__}:shout"
    with pytest.raises(GraphInvalid, match="neither the name of a tool nor a function"):
        graph(3)


def test_the_blocking_face() -> None:
    with LocalRuntime() as rt:
        assert rt.tools.register(shout).name == "shout"
        assert [found.name for found in rt.tools.list(tool_type="native")] == ["shout"]
        assert rt.tools.execute("shout", {"text": "hi"}).output == "HI!"
