"""Maps: an item is a thread, so many run at a time, and the results stand in the order of the items."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.network import Network
from actors.protocol import RunBranch, encode
from runtime import END, START, BranchFailed, Graph, GraphInvalid, ThreadState, Usage, append
from tests.component.actors_kit import (
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    failed_step,
    history,
    joined,
    runtime,
    step,
    tree,
)

SCRIPTED = {"default": {"provider": "scripted"}}


class Batch(BaseModel):
    text: str = "hello"
    numbers: list[int] = []
    words: list[str] = []
    squares: list[int] = []
    maybe: list[int | None] = []
    answers: Annotated[list[str], append] = []
    states: list[dict[str, Any]] = []


def mapping(name: str, node: Any, **options: Any) -> Graph:
    """START -> each -> END, where each runs `node` on the numbers."""
    g = Graph(name, state=Batch)
    g.node(node, name="body")
    g.map("each", **{"over": "numbers", "into": "squares", "node": "body", **options})
    g.edge(START, "each")
    g.edge("each", END)
    return g


async def test_a_function_is_run_for_each_item() -> None:
    async def square(number: int) -> int:
        return number * number

    async with runtime() as rt:
        await rt.deploy(mapping("squares", square))
        session = await rt.session("squares")

        result = await session.run({"numbers": [3, 1, 2]})

        assert result.state.squares == [9, 1, 4]
        main = session.thread
        assert await history(rt, main) == [STARTED, joined("each"), COMPLETED]
        assert await history(rt, f"{main}.1.0") == [STARTED, step("body"), COMPLETED]
        assert await tree(rt, session.id) == dict.fromkeys(["0", "0.1.0", "0.1.1", "0.1.2"], "completed")
        names = {head.thread.metadata.name for head in await session.threads()}
        assert names == {"", "each[0]", "each[1]", "each[2]"}
        assert (await (await rt.thread(f"{main}.1.1")).state()) == {
            **result.state,
            "squares": [],
            "item": 1,
            "result": 1,
        }


async def test_a_function_is_sent_its_item_and_answers_with_its_result_whatever_else_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: dict[str, list[int]] = {"RunBranch": [], "BranchDone": []}
    ask = Network.ask

    async def measured(self: Network, address: str, message: Any, expected: Any) -> Any:
        reply = await ask(self, address, message, expected)
        if isinstance(message, RunBranch):
            sizes["RunBranch"].append(len(encode(message)))
            sizes["BranchDone"].append(len(encode(reply)))
        return reply

    monkeypatch.setattr(Network, "ask", measured)
    async with runtime() as rt:
        await rt.deploy(mapping("squares", lambda number: number * number))
        content = {"numbers": [1, 2], "words": [random.Random(1).randbytes(5_000).hex()]}

        result = await (await rt.session("squares")).run(content)

        assert result.state.squares == [1, 4]
        assert {kind: (len(each), max(each) < 1_500) for kind, each in sizes.items()} == {
            "RunBranch": (2, True),
            "BranchDone": (2, True),
        }


async def test_a_map_of_nothing_goes_on_at_once() -> None:
    async with runtime() as rt:
        await rt.deploy(mapping("none", lambda number: number))
        session = await rt.session("none")

        result = await session.run({"squares": [1]})

        assert (result.status, result.state.squares) == (ThreadState.COMPLETED, [])
        assert await history(rt, session.thread) == [STARTED, joined("each"), COMPLETED]


async def test_an_llm_and_a_tool_see_the_state_and_the_item() -> None:
    g = Graph("templates", state=Batch)
    g.llm("ask", prompt="{text} {item}", into="answers")
    g.tool("compute", tool="calculator", arguments={"expression": "{item} * 2"}, into="answers")
    g.map("ask_all", over="words", node="ask", into="answers")
    g.map("compute_all", over="numbers", node="compute", into="squares")
    g.edge(START, "ask_all")
    g.edge("ask_all", "compute_all")
    g.edge("compute_all", END)
    async with runtime(models=SCRIPTED) as rt:
        await rt.deploy(g)

        result = await (await rt.session("templates")).run({"words": ["Ada", "Bob"], "numbers": [4, 5]})

        assert result.state.answers == ["scripted: hello Ada", "scripted: hello Bob"]
        assert result.state.squares == [8, 10]
        assert result.usage == Usage(prompt_tokens=4, completion_tokens=6, calls=2)


async def test_no_more_than_max_concurrency_run_at_a_time() -> None:
    running = most = 0
    gate = Gate()

    async def body(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate()
        running -= 1
        return number

    async with runtime() as rt:
        await rt.deploy(mapping("narrow", body, max_concurrency=3))
        session = await rt.session("narrow")
        thread = await session.submit({"numbers": list(range(20))})
        await gate.reached(3)
        begun = await tree(rt, session.id)
        await gate.open()

        result = await thread.result()

        assert begun == dict.fromkeys(["0", "0.1.0", "0.1.1", "0.1.2"], "running")
        assert result.state.squares == list(range(20))
        assert most == 3


class Item(BaseModel):
    number: int = 0
    label: str = ""
    square: int = 0


def squaring() -> Graph:
    child = Graph("squaring", state=Item)

    @child.node
    async def square(state: Item) -> dict:
        if state.number < 0:
            raise ValueError("negative")
        return {"square": state.number**2}

    child.edge(START, "square")
    child.edge("square", END)
    return child


def over_workflow(name: str, **options: Any) -> Graph:
    g = Graph(name, state=Batch)
    g.map("each", **{"over": "numbers", "workflow": squaring(), "item": "number", "into": "squares", **options})
    g.edge(START, "each")
    g.edge("each", END)
    return g


async def test_a_workflow_is_run_for_each_item_on_channels_that_are_named() -> None:
    async with runtime() as rt:
        (ref,) = await rt.deploy(over_workflow("named", result="square"))
        session = await rt.session("named")

        result = await session.run({"numbers": [3, 4]})

        assert result.state.squares == [9, 16]
        main, first, _ = await session.threads()
        assert main.thread.workflow == ref
        assert first.thread.workflow.startswith("squaring@1.0.0+")
        assert first.thread.base is None


async def test_without_names_the_item_is_the_input_and_the_whole_state_the_result() -> None:
    g = over_workflow("whole", over="states", into="states", item=None)
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("whole")).run({"states": [{"number": 3, "label": "x"}, {"number": 2}]})

        assert result.state.states == [
            {"number": 3, "label": "x", "square": 9},
            {"number": 2, "label": "", "square": 4},
        ]


async def test_an_item_that_does_not_fit_names_the_problem() -> None:
    g = over_workflow("misfit", over="states", into="states", item=None)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("misfit")

        result = await session.run({"states": [{"number": 1}, {"nmber": 1}]})

        assert result.status is ThreadState.FAILED
        assert type(result.error) is BranchFailed
        assert result.error.message == (
            "branch 1 of 'each' failed: input: nmber: no such channel; did you mean \"number\"?"
        )
        assert (result.error.index, result.error.cause["code"]) == (1, "StateInvalid")
        assert await history(rt, session.thread) == [STARTED, failed_step("each"), FAILED]


@pytest.mark.parametrize(
    ("policy", "into", "expected"),
    [("skip", "squares", [1, 9]), ("collect", "maybe", [1, None, 9])],
)
async def test_items_that_fail_may_be_left_out(policy: str, into: str, expected: list[int | None]) -> None:
    async with runtime() as rt:
        await rt.deploy(over_workflow("lenient", result="square", on_branch_error=policy, into=into))

        result = await (await rt.session("lenient")).run({"numbers": [1, -1, 3]})

        assert (result.status, result.state[into]) == (ThreadState.COMPLETED, expected)


async def test_an_item_that_fails_fails_the_map_and_no_more_are_begun() -> None:
    begun: list[int] = []

    async def body(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("one is bad")
        return number

    async with runtime() as rt:
        await rt.deploy(mapping("strict", body, max_concurrency=1))
        session = await rt.session("strict")

        result = await session.run({"numbers": [0, 1, 2, 3]})

        assert result.status is ThreadState.FAILED
        assert result.error is not None
        assert result.error.message == "branch 1 of 'each' failed: one is bad"
        assert begun == [0, 1]
        assert await tree(rt, session.id) == {"0": "failed", "0.1.0": "completed", "0.1.1": "failed"}


async def test_a_result_that_does_not_fit_the_list_fails_the_item() -> None:
    async def body(number: int) -> Any:
        return "many" if number == 2 else number

    async with runtime() as rt:
        await rt.deploy(mapping("wrong", body))

        result = await (await rt.session("wrong")).run({"numbers": [1, 2]})

        assert result.status is ThreadState.FAILED
        assert result.error is not None
        assert result.error.message.startswith(
            "branch 1 of 'each' failed: node 'body' returned: result: Input should be"
        )


async def test_a_map_in_a_map() -> None:
    class Row(BaseModel):
        parts: list[int] = []

    class Table(BaseModel):
        rows: list[list[int]] = []

    inner = Graph("inner", state=Row)
    inner.map("again", over="parts", workflow=squaring(), item="number", result="square", into="parts")
    inner.edge(START, "again")
    inner.edge("again", END)
    outer = Graph("outer", state=Table)
    outer.map("each", over="rows", workflow=inner, item="parts", result="parts", into="rows")
    outer.edge(START, "each")
    outer.edge("each", END)
    async with runtime() as rt:
        await rt.deploy(outer)
        session = await rt.session("outer")

        result = await session.run({"rows": [[1, 2], [3]]})

        assert result.state.rows == [[1, 4], [9]]
        assert set(await tree(rt, session.id)) == {"0", "0.1.0", "0.1.1", "0.1.0.1.0", "0.1.0.1.1", "0.1.1.1.0"}


async def test_a_channel_called_item_or_result_is_refused() -> None:
    class Clash(BaseModel):
        item: str = ""
        numbers: list[int] = []

    g = Graph("clash", state=Clash)
    g.node(lambda number: number, name="body")
    g.map("each", over="numbers", node="body", into="numbers")
    g.edge(START, "each")
    g.edge("each", END)
    async with runtime() as rt:
        with pytest.raises(GraphInvalid, match='the thread of an item has a channel "item" of its own'):
            await rt.deploy(g)


async def test_a_map_over_anything_needs_a_list_when_it_comes_to_it() -> None:
    class Loose(BaseModel):
        things: Any = None
        out: list[Any] = []

    g = Graph("loose", state=Loose)
    g.node(lambda thing: thing, name="body")
    g.map("each", over="things", node="body", into="out")
    g.edge(START, "each")
    g.edge("each", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("loose")

        results = [await session.run({"things": things}) for things in (None, ["a", 1], 5)]

        assert [result.status.value for result in results] == ["completed", "completed", "failed"]
        assert results[1].state.out == ["a", 1]
        assert results[2].error is not None
        assert results[2].error.message == "map 'each' needs a list in channel 'things', which holds int"


async def test_a_map_of_a_graph_in_a_file_with_short_types(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(
        """\
id: short
state:
  words: {list: string}
  answers: {list: string}
nodes:
  - {id: shout, type: llm, prompt: "say {item}", into: answers}
  - {id: each, type: map, over: words, node: shout, into: answers}
edges:
  - {from: START, to: each}
  - {from: each, to: END}
"""
    )
    async with runtime(models=SCRIPTED) as rt:
        await rt.deploy(path)

        result = await (await rt.session("short")).run({"words": ["a", "b"]})

        assert result.state.answers == ["scripted: say a", "scripted: say b"]


async def test_more_items_than_one_batch() -> None:
    async def body(number: int) -> int:
        return -number

    async with runtime() as rt:
        await rt.deploy(mapping("many", body, max_concurrency=16))

        result = await (await rt.session("many")).run({"numbers": list(range(300))})

        assert result.state.squares == [-number for number in range(300)]
