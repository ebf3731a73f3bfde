"""Queues of threads that follow each other, of any workflows."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.errors import BusinessRuleViolation, NotFoundError, StateInvalid, ValidationError
from runtime import END, START, Graph, LocalRuntime, ThreadState, append
from tests.component.actors_kit import Gate, another_driver, at_rest, hosts, runtime, tree, until, world
from tests.component.test_actors_pauses import asking


class Note(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


class Point(BaseModel):
    x: int = 0


class Shape(BaseModel):
    points: list[Point] = []
    size: int = 0


def noting(gate: Gate | None = None, seen: list[str] | None = None) -> Graph:
    g = Graph("note", state=Note)

    @g.node
    async def note(state: Note) -> dict:
        if seen is not None:
            seen.append(f"begin {state.text}")
        if gate is not None:
            await gate()
        if seen is not None:
            seen.append(f"end {state.text}")
        if state.text == "bad":
            raise ValueError("broken")
        return {"notes": f"noted {state.text}"}

    g.edge(START, "note")
    g.edge("note", END)
    return g


def measuring() -> Graph:
    g = Graph("measure", state=Shape)

    @g.node
    async def measure(state: Shape) -> dict:
        return {"size": sum(point.x for point in state.points)}

    g.edge(START, "measure")
    g.edge("measure", END)
    return g


async def test_workflows_run_one_after_the_other_each_with_its_input_in_a_thread_of_its_own() -> None:
    gate, seen = Gate(), []
    async with runtime() as rt, another_driver(rt) as driver:
        await rt.deploy(noting(gate, seen), measuring())
        session = await rt.session("note")
        big = "x" * 400_000
        queue = await session.queue(
            [("note", {"text": "1"}), ("measure", {"points": [Point(x=2), Point(x=3)]}), ("note", {"text": big})],
            name="evening",
        )
        await gate.reached()
        begun = [thread is not None for thread in await queue.threads()]
        (found,) = await (await driver.session(id=session.id)).queues()
        waiting = asyncio.create_task(found.result(3))
        await gate.open()
        results = await queue.results()

        assert begun == [True, False, False]
        assert [result.status for result in results] == [ThreadState.COMPLETED] * 3
        assert results[0].state.notes == ["noted 1"]
        assert results[1].state.size == 5
        assert (await waiting).state.notes == [f"noted {big}"]
        assert seen == ["begin 1", "end 1", f"begin {big}", f"end {big}"]
        heads = {head.thread.id: head.thread for head in await session.threads()}
        threads = [heads[thread.id] for thread in await queue.threads() if thread is not None]
        assert [(thread.thread_type, thread.metadata.name) for thread in threads] == [
            ("sequential", "1-note"),
            ("sequential", "2-measure"),
            ("sequential", "3-note"),
        ]
        assert heads[queue.id].metadata.name == "evening"
        assert (await queue.thread.result()).status is ThreadState.COMPLETED


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
async def test_what_comes_after_a_failure_is_said_before(on_failure: str) -> None:
    seen: list[str] = []
    async with runtime() as rt:
        await rt.deploy(noting(seen=seen))
        session = await rt.session("note")
        queue = await session.queue([("note", {"text": text}) for text in ("1", "bad", "3")], on_failure=on_failure)
        results = await queue.results()

        if on_failure == "continue":
            assert [result.status.value for result in results] == ["completed", "failed", "completed"]
            assert (await queue.thread.result()).status is ThreadState.COMPLETED
            return
        assert [result.status.value for result in results] == ["completed", "failed"]
        assert (await queue.thread.result()).status is ThreadState.FAILED
        assert seen[-1] == "end bad"
        with pytest.raises(BusinessRuleViolation, match=r"item 3 of queue .* never began: the queue is failed"):
            await queue.result(3)


async def test_nothing_is_recorded_of_a_queue_that_is_wrong() -> None:
    async with runtime() as rt:
        await rt.deploy(noting())
        session = await rt.session("note")
        for items, error in (
            ([("note", {}), ("nowhere", {})], NotFoundError),
            ([("note", {}), ("note", {"text": 3})], StateInvalid),
            ([], ValidationError),
        ):
            with pytest.raises(error):
                await session.queue(items)
        with pytest.raises(ValidationError, match="no on_failure 'go'"):
            await session.queue([("note", {})], on_failure="go")
        await session.abort()
        with pytest.raises(BusinessRuleViolation, match="is aborted; begin a new session"):
            await session.queue([("note", {})])

        assert await session.threads() == []


async def test_a_long_queue_leaves_each_workflow_all_its_steps() -> None:
    g = Graph("two", state=Note, max_steps=2)
    for name in ("a", "b"):
        g.node(_node(name), name=name)
    g.edge(START, "a")
    g.edge("a", "b")
    g.edge("b", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("two")
        results = await (await session.queue([("two", {})] * 7)).results()

        assert [result.state.notes for result in results] == [["a", "b"]] * 7


def _node(name: str) -> Any:
    async def node(state: Note) -> dict:
        return {"notes": name}

    node.__qualname__ = f"node_{name}"
    return node


async def test_it_goes_on_when_hosts_die_and_is_paused_and_aborted_with_its_session() -> None:
    gate, seen = Gate(), []
    async with runtime() as rt:
        await rt.deploy(noting(gate, seen))
        session = await rt.session("note")
        queue = await session.queue([("note", {"text": text}) for text in "12"])
        await gate.reached()
        for address in list(hosts(rt)):
            await world(rt).kill(address)
        await gate.reached(2)
        pausing = asyncio.create_task(session.pause())
        await until(lambda: rt.records.store.journal._index.state(session.id).halted)
        await gate.open()
        await pausing
        await at_rest(rt)
        paused = await tree(rt, session.id)
        await session.resume()
        results = await queue.results()

        assert set(paused.values()) <= {"paused", "completed"}
        assert len(paused) == 2
        assert [result.state.notes for result in results] == [["noted 1"], ["noted 2"]]
        assert seen.count("begin 2") == 1


async def test_a_question_in_it_is_answered_and_cancelling_it_cancels_what_is_under_way() -> None:
    async with runtime() as rt:
        await rt.deploy(noting(), asking())
        session = await rt.session("note")
        queue = await session.queue([("asking", {"text": "a"}), ("asking", {"text": "b"}), ("note", {})])
        asked = await queue.result(1)
        (first, *_) = await queue.threads()
        assert first is not None
        await first.answer("yes")
        second = await queue.result(2)
        await queue.thread.cancel("enough")

        assert asked.pause.question == "Refund a?"
        assert second.pause.question == "Refund b?"
        assert (await queue.result(1)).state.answer == "yes"
        assert (await queue.result(2)).status is ThreadState.CANCELLED
        with pytest.raises(BusinessRuleViolation, match="never began: the queue is cancelled"):
            await queue.result(3)


def test_the_blocking_face() -> None:
    with LocalRuntime() as rt:
        rt.deploy(noting())
        session = rt.session("note")
        queue = session.queue([("note", {"text": text}) for text in "12"], on_failure="continue")

        assert [result.state.notes for result in queue.results()] == [["noted 1"], ["noted 2"]]
        assert queue.result(2, timeout_s=5).status is ThreadState.COMPLETED
        assert [thread.id for thread in queue.threads() if thread is not None] == [
            f"{queue.id}.1.0",
            f"{queue.id}.2.0",
        ]
        assert [each.id for each in session.queues()] == [queue.thread.id]
