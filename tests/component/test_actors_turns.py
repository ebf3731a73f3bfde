"""Turns of a session's main thread: which nodes run, in which order, and what they leave in the state."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest
from pydantic import BaseModel

from graphs.errors import RoutingError
from runtime import (
    END,
    START,
    Graph,
    GraphInvalid,
    Message,
    NotFoundError,
    StateInvalid,
    StepLimitExceeded,
    ThreadResult,
    ThreadState,
    Usage,
    add,
    add_messages,
    append,
)
from tests.component.actors_kit import COMPLETED, FAILED, STARTED, Gate, history, runtime, step


class Trail(BaseModel):
    kind: str = ""
    number: int = 0
    trail: Annotated[list[str], append] = []
    total: Annotated[int, add] = 0


def walker(g: Graph, *names: str) -> None:
    """Nodes that leave their name in the trail."""
    for name in names:

        async def visit(state: Trail, name: str = name) -> dict:
            return {"trail": name}

        g.node(visit, name=name)


def chain(*names: str, graph: str = "chain") -> Graph:
    g = Graph(graph, state=Trail)
    walker(g, *names)
    for source, target in zip((START, *names), (*names, END), strict=True):
        g.edge(source, target)
    return g


async def test_a_chain_runs_in_order() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a", "b", "c"))
        session = await rt.session("chain", user_id="ada")

        result = await session.run({"kind": "x"})

        assert result == ThreadResult(
            thread_id=session.thread,
            turn=1,
            status=ThreadState.COMPLETED,
            state={"kind": "x", "number": 0, "trail": ["a", "b", "c"], "total": 0},
            usage=Usage(),
            seq=5,
            error=None,
        )
        assert await history(rt, session.thread) == [STARTED, step("a"), step("b"), step("c"), COMPLETED]


async def test_a_sync_and_an_async_node_and_one_that_wants_a_dict_see_the_same_state() -> None:
    g = Graph("views", state=Trail)

    @g.node
    def sync(state: Trail) -> dict:
        return {"trail": f"sync {state.kind}"}

    @g.node
    async def asynchronous(state: Trail) -> dict:
        return {"trail": f"async {state.kind}"}

    @g.node
    async def mapping(state: dict) -> dict:
        return {"trail": f"dict {state['kind']}"}

    @g.node(reads=["number"])
    async def narrow(state: Trail) -> dict:
        return {"trail": f"narrow {state.kind!r} {state.number}"}

    @g.node
    async def silent(state: Trail) -> None:
        return None

    for source, target in zip(
        (START, "sync", "asynchronous", "mapping", "narrow", "silent"),
        ("sync", "asynchronous", "mapping", "narrow", "silent", END),
        strict=True,
    ):
        g.edge(source, target)
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("views")).run({"kind": "k", "number": 7})

        assert result.state.trail == ["sync k", "async k", "dict k", "narrow '' 7"]


@pytest.mark.parametrize(
    ("kind", "trail"), [("math", ["ask", "compute"]), ("chat", ["ask", "answer"]), ("?", ["ask", "shrug"])]
)
async def test_a_condition_chooses_the_way_and_the_default_is_for_the_rest(kind: str, trail: list[str]) -> None:
    g = Graph("choice", state=Trail)
    walker(g, "ask", "compute", "answer", "shrug")
    g.edge(START, "ask")
    g.edge("ask", "compute", when="state.kind == 'math'")
    g.edge("ask", "answer", when=lambda state: state.kind == "chat")
    g.edge("ask", "shrug", default=True)
    for name in ("compute", "answer", "shrug"):
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("choice")).run({"kind": kind})

        assert (result.status, result.state.trail) == (ThreadState.COMPLETED, trail)


async def test_a_route_function_chooses_by_its_answer() -> None:
    g = Graph("routes", state=Trail)
    walker(g, "look", "small", "big", "done")
    g.edge(START, "look")
    g.route("look", "threshold", {"reached": "big", "below": "small"}, channel="number", value=10)
    g.route("small", lambda state: "again" if state.number < 0 else "end", {"again": "big", "end": "done"})
    g.edge("big", "done")
    g.edge("done", END)
    async with runtime() as rt:
        await rt.deploy(g)

        trails = {n: (await (await rt.session("routes")).run({"number": n})).state.trail for n in (-1, 1, 10)}

        assert trails == {
            -1: ["look", "small", "big", "done"],
            1: ["look", "small", "done"],
            10: ["look", "big", "done"],
        }


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (lambda state: "nowhere", "answered 'nowhere', which is not in its path map (end)"),
        (lambda state: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda state: [], "gave no answer; it must give at least one"),
    ],
)
async def test_a_route_that_goes_wrong_fails_the_turn_after_its_step_was_recorded(route, message: str) -> None:
    g = Graph("astray", state=Trail)
    walker(g, "a")
    g.edge(START, "a")
    g.route("a", route, {"end": END})
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("astray")

        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert type(result.error) is RoutingError
        assert message in result.error.message
        assert result.state.trail == ["a"]
        assert await history(rt, session.thread) == [STARTED, step("a"), FAILED]


async def test_a_loop_ends_when_its_condition_says_so() -> None:
    g = Graph("loop", state=Trail)

    @g.node
    async def count(state: Trail) -> dict:
        return {"number": state.number + 1, "total": state.number}

    g.edge(START, "count")
    g.edge("count", "count", when="state.number < 5")
    g.edge("count", END, default=True)
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("loop")).run({})

        assert result.state == {"kind": "", "number": 5, "trail": [], "total": 10}
        assert result.seq == 7


async def test_a_loop_without_end_is_stopped_at_max_steps() -> None:
    g = Graph("runaway", state=Trail, max_steps=4)

    @g.node
    async def count(state: Trail) -> dict:
        return {"number": state.number + 1}

    g.edge(START, "count")
    g.edge("count", "count", when="state.number >= 0")
    g.edge("count", END, default=True)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("runaway")

        first = await session.run({})
        second = await session.run({"number": 100})

        assert first.status is ThreadState.FAILED
        assert type(first.error) is StepLimitExceeded
        assert first.error.message == "runaway@1.0.0 ran 4 steps in one turn; end the loop or raise max_steps"
        assert first.error.fields == {"max_steps": 4, "node": "count"}
        assert first.state.number == 4
        assert second.state.number == 104, "each turn may take as many steps"
        assert await history(rt, session.thread) == [STARTED, *[step("count")] * 4, FAILED] * 2


async def test_the_state_stays_from_turn_to_turn() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a"))
        session = await rt.session("chain")

        results = [await session.run({"kind": kind, "trail": [kind], "total": 2}) for kind in ("x", "y")]

        assert [(r.turn, r.seq, r.state) for r in results] == [
            (1, 3, {"kind": "x", "number": 0, "trail": ["x", "a"], "total": 2}),
            (2, 6, {"kind": "y", "number": 0, "trail": ["x", "a", "y", "a"], "total": 4}),
        ]


class Chat(BaseModel):
    messages: Annotated[list[Message], add_messages] = []


async def test_a_conversation_grows_and_tokens_are_those_of_the_turn() -> None:
    g = Graph("chat", state=Chat)
    g.llm("answer", messages="messages", into="messages")
    g.edge(START, "answer")
    g.edge("answer", END)
    async with runtime(models={"default": {"provider": "scripted"}}) as rt:
        await rt.deploy(g)
        session = await rt.session("chat")

        results = [await session.run({"messages": {"role": "user", "content": text}}) for text in ("one", "two words")]

        said = [(message.role, message.content) for message in results[1].state.messages]
        assert said == [
            ("user", "one"),
            ("assistant", "scripted: one"),
            ("user", "two words"),
            ("assistant", "scripted: two words"),
        ]
        assert [result.usage for result in results] == [
            Usage(prompt_tokens=1, completion_tokens=2, calls=1),
            Usage(prompt_tokens=5, completion_tokens=3, calls=1),
        ]


async def test_a_failed_turn_leaves_the_session_usable() -> None:
    g = Graph("moody", state=Trail)

    @g.node
    async def picky(state: Trail) -> dict:
        if state.kind == "bad":
            raise ValueError("not this one")
        return {"trail": state.kind}

    g.edge(START, "picky")
    g.edge("picky", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("moody")

        results = [await session.run({"kind": kind}) for kind in ("good", "bad", "better")]

        assert [(r.status, r.state.trail) for r in results] == [
            (ThreadState.COMPLETED, ["good"]),
            (ThreadState.FAILED, ["good"]),
            (ThreadState.COMPLETED, ["good", "better"]),
        ]
        assert [r.error and r.error.message for r in results] == [None, "not this one", None]


async def test_turns_of_one_session_run_one_at_a_time_and_in_order() -> None:
    gate = Gate()
    running: list[str] = []
    most = 0
    g = Graph("queue", state=Trail)

    @g.node
    async def work(state: Trail) -> dict:
        nonlocal most
        running.append(state.kind)
        most = max(most, len(running))
        await gate()
        running.remove(state.kind)
        return {"trail": state.kind}

    g.edge(START, "work")
    g.edge("work", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("queue")
        kinds = [f"turn {number}" for number in range(1, 6)]
        threads = [await session.submit({"kind": kind}, priority="high") for kind in kinds]
        await gate.reached()

        statuses = [await thread.status() for thread in threads]
        await gate.open()
        results = [await thread.result() for thread in reversed(threads)]

        assert statuses == [ThreadState.RUNNING, *[ThreadState.PENDING] * 4]
        assert [thread.turn for thread in threads] == [1, 2, 3, 4, 5]
        assert [result.state.trail for result in reversed(results)] == [kinds[: n + 1] for n in range(5)]
        assert most == 1


async def test_turns_that_many_ask_for_at_once_all_run_once() -> None:
    runs: list[str] = []
    g = Graph("busy", state=Trail)

    @g.node
    async def work(state: Trail) -> dict:
        runs.append(state.kind)
        await asyncio.sleep(0)
        return {"trail": state.kind}

    g.edge(START, "work")
    g.edge("work", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("busy")

        async def driver(name: str) -> None:
            for number in range(20):
                await session.run({"kind": f"{name}{number}"})

        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(driver(name))

        (head,) = await session.threads()
        assert head.cursor.turn == 80
        assert sorted(runs) == sorted(f"{name}{number}" for name in "abcd" for number in range(20))
        assert (await (await rt.thread(session.thread)).state()).trail == runs


async def test_an_input_that_does_not_fit_names_everything_that_is_wrong() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a"))
        session = await rt.session("chain")

        with pytest.raises(StateInvalid) as caught:
            await session.run({"knd": "x", "number": "many", "trail": [1]})

        assert caught.value.problems == [
            'knd: no such channel; did you mean "kind"?',
            "number: Input should be a valid integer, unable to parse string as an integer",
            "trail[0]: Input should be a valid string",
        ]
        assert await session.threads() == [], "nothing was started"


async def test_unknown_names_are_answered_with_the_nearest() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a", graph="triage"))

        with pytest.raises(NotFoundError, match=r"no workflow 'triag' is deployed; did you mean \"triage\"\?"):
            await rt.session("triag")
        with pytest.raises(NotFoundError, match="no session 'nobody'"):
            await rt.session(id="nobody")
        with pytest.raises(NotFoundError, match="no thread 'nobody:0'"):
            await rt.thread("nobody:0")
        with pytest.raises(NotFoundError, match=r'no tool "calculater"; did you mean "calculator"\?'):
            await rt.tools.execute("calculater", {})


async def test_a_graph_that_names_unknown_tools_and_models_is_refused_with_all_problems() -> None:
    g = Graph("wrong", state=Trail)
    g.tool("compute", tool="calculater", arguments={"expression": "1"}, into="kind")
    g.llm("answer", prompt="{kind}", model="defalt", into="kind")
    g.edge(START, "compute")
    g.edge("compute", "answer")
    g.edge("answer", END)
    async with runtime() as rt:
        with pytest.raises(GraphInvalid) as caught:
            await rt.deploy(g)

        assert caught.value.problems == [
            'nodes[0].config.tool: no tool "calculater"; did you mean "calculator"?',
            'nodes[1].config.model: no model "defalt"; did you mean "default"?',
        ]


async def test_unknown_options_are_errors() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a"))
        session = await rt.session("chain")

        with pytest.raises(TypeError, match="unexpected keyword argument 'prioritee'"):
            await session.run({}, prioritee="high")
        with pytest.raises(TypeError, match="unexpected keyword argument 'user'"):
            await rt.session("chain", user="ada")


async def test_a_session_is_found_again_and_keeps_its_build() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a"))
        session = await rt.session("chain", user_id="ada", metadata={"topic": "x"})
        await session.run({})
        await rt.deploy(chain("b"))

        again = await rt.session(id=session.id)
        old = await again.run({})
        new = await (await rt.session("chain")).run({})

        assert again.record == session.record
        assert old.state.trail == ["a", "a"]
        assert new.state.trail == ["b"]
