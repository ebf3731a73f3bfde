"""Pauses in branches, maps and subworkflows: all of them rest together, and one answer lets them go on."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.errors import BusinessRuleViolation
from graphs.journal import EntryKind
from runtime import END, START, AsyncLocalRuntime, Graph, PauseKind, ThreadState, append
from tests.component.actors_kit import (
    COMPLETED,
    STARTED,
    Gate,
    ManualClock,
    at_rest,
    history,
    hosts,
    joined,
    runtime,
    step,
    tree,
    until,
    world,
)
from tests.component.test_actors_pauses import adopt, paused, resumed


class Case(BaseModel):
    text: str = ""
    names: list[str] = []
    answers: list[str] = []
    answer: str = ""
    notes: Annotated[list[str], append] = []


def asks(g: Graph, name: str, source: str, target: str, **edge: Any) -> None:
    """`source` -> a human node -> a note of the answer -> `target`."""
    g.human(name, question=f"{name}?", answer=Answered, into=None)
    g.edge(source, name, **edge)
    g.edge(name, target)


class Answered(BaseModel):
    notes: list[str]


def noting(name: str, gate: Gate | None = None) -> Any:
    async def node(state: Case) -> dict:
        if gate is not None:
            await gate()
        return {"notes": name}

    node.__qualname__ = f"noting_{name}"
    return node


def forking(gate: Gate | None = None, **policy: Any) -> Graph:
    """START -> split -> {ask a, ask b, note c} -> join -> END; c waits at the gate."""
    g = Graph("forking", state=Case)
    g.fork("split", **policy)
    g.edge(START, "split")
    g.node(noting("join"), name="join")
    g.edge("join", END)
    asks(g, "a", "split", "join")
    asks(g, "b", "split", "join")
    g.node(noting("c", gate), name="c")
    g.edge("split", "c")
    g.edge("c", "join")
    return g


def notes(*names: str) -> dict:
    return {"notes": list(names)}


async def test_a_fork_whose_branches_are_paused_rests_with_them() -> None:
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        main = session.thread

        waiting = await session.run({})
        await at_rest(rt)
        resting = await tree(rt, session.id)
        await (await rt.thread(f"{main}.1.1")).answer(notes("b"))
        half = await (await rt.thread(main)).result()
        await at_rest(rt)
        await (await rt.thread(f"{main}.1.0")).answer(notes("a"))
        result = await (await rt.thread(main)).result()

        assert (waiting.status, waiting.pause.kind, waiting.pause.question) == (
            ThreadState.PAUSED,
            PauseKind.BRANCHES,
            "a?",
        )
        assert resting == {"0": "paused", "0.1.0": "paused", "0.1.1": "paused", "0.1.2": "completed"}
        assert (half.status, half.pause.question) == (ThreadState.PAUSED, "a?")
        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["a", "b", "c", "join"])
        assert await history(rt, f"{main}.1.0") == [STARTED, paused("a"), resumed("a"), COMPLETED]
        assert await history(rt, main) == [
            STARTED,
            *[paused("split"), resumed(None)] * 2,
            joined("split"),
            step("join"),
            COMPLETED,
        ]


async def test_an_answer_counts_while_other_branches_run() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(forking(gate))
        session = await rt.session("forking")
        main = session.thread
        running = asyncio.create_task(session.run({}))
        await gate.reached()
        for index, name in enumerate("ab"):
            child = f"{main}.1.{index}"
            await until(lambda child=child: is_paused(rt, child))
            await (await rt.thread(child)).answer(notes(name))
            assert (await (await rt.thread(child)).result(timeout_s=10)).status is ThreadState.COMPLETED
        await gate.open()
        result = await running

        assert result.state.notes == ["a", "b", "c", "join"]
        assert await history(rt, main) == [STARTED, joined("split"), step("join"), COMPLETED]


def is_paused(rt: AsyncLocalRuntime, thread_id: str) -> bool:
    record = rt.records.store.journal.records.get(thread_id)
    return record is not None and record.head(thread_id).cursor.status is ThreadState.PAUSED


async def test_who_answers_the_parent_is_told_where_the_question_is() -> None:
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        await session.run({})

        with pytest.raises(BusinessRuleViolation, match=r"threads below it are paused.*'split'"):
            await (await rt.thread(session.thread)).answer("?")


async def test_the_first_of_several_wins_and_the_questions_of_the_others_are_over() -> None:
    async with runtime() as rt:
        g = Graph("race", state=Case)
        g.fork("split", join="any")
        g.edge(START, "split")
        asks(g, "a", "split", END)
        asks(g, "b", "split", END)
        await rt.deploy(g)
        session = await rt.session("race")
        await session.run({})

        await (await rt.thread(f"{session.thread}.1.1")).answer(notes("b"))
        result = await (await rt.thread(session.thread)).result()

        assert result.state.notes == ["b"]
        assert await tree(rt, session.id) == {"0": "completed", "0.1.0": "cancelled", "0.1.1": "completed"}


async def test_a_paused_tree_is_cancelled_whole() -> None:
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        await session.run({})

        await (await rt.thread(session.thread)).cancel("never mind")

        assert await tree(rt, session.id) == {
            "0": "cancelled",
            "0.1.0": "cancelled",
            "0.1.1": "cancelled",
            "0.1.2": "completed",
        }
        assert (await (await rt.thread(session.thread)).result()).error.reason == "never mind"


async def test_a_paused_branch_that_is_cancelled_lets_its_parent_go_on() -> None:
    async with runtime() as rt:
        await rt.deploy(forking(on_branch_error="skip"))
        session = await rt.session("forking")
        await session.run({})

        await (await rt.thread(f"{session.thread}.1.0")).cancel("not this one")
        await (await rt.thread(session.thread)).result()
        await at_rest(rt)
        await (await rt.thread(f"{session.thread}.1.1")).answer(notes("b"))
        result = await (await rt.thread(session.thread)).result()

        assert result.state.notes == ["b", "c", "join"]


async def test_items_that_are_paused_let_others_begin() -> None:
    async with runtime() as rt:
        item = Graph("item", state=Case)
        item.human("ask", question="{text}?", into="answer")
        item.edge(START, "ask")
        item.edge("ask", END)
        g = Graph("each", state=Case)
        g.map("map", over="names", workflow=item, item="text", result="answer", into="answers", max_concurrency=1)
        g.edge(START, "map")
        g.edge("map", END)
        await rt.deploy(g)
        session = await rt.session("each")
        main = session.thread

        waiting = await session.run({"names": ["x", "y", "z"]})
        asked = await tree(rt, session.id)
        for index in (2, 0, 1):
            await at_rest(rt)
            await (await rt.thread(f"{main}.1.{index}")).answer(f"answer {index}")
        await at_rest(rt)
        result = await (await rt.thread(main)).result()

        assert waiting.pause.question == "x?"
        assert asked == dict.fromkeys(["0", "0.1.0", "0.1.1", "0.1.2"], "paused")
        assert result.state.answers == ["answer 0", "answer 1", "answer 2"]


# --- deep below -----------------------------------------------------------------------------------------------------


def nested(gate: Gate | None = None) -> Graph:
    """A fork of a branch that runs a workflow that forks into a question and a note, and of a note."""
    inner = Graph("inner", state=Case)
    inner.human("ask", question="{text}?", into="answer")
    inner.node(noting("quick"), name="quick")
    inner.node(noting("done"), name="done")
    for name in ("ask", "quick"):
        inner.edge(START, name)
        inner.edge(name, "done")
    inner.edge("done", END)
    g = Graph("nested", state=Case)
    g.subworkflow("sub", workflow=inner, input={"text": "text"}, output={"answer": "answer", "notes": "notes"})
    g.node(noting("side", gate), name="side")
    g.node(noting("end"), name="end")
    for name in ("sub", "side"):
        g.edge(START, name)
        g.edge(name, "end")
    g.edge("end", END)
    return g


ASKING = "0.1.0.1.0.1.0"
NESTED_RESULT = ("yes", ["quick", "done", "side", "end"])


@pytest.mark.parametrize("sibling", ["over", "running"])
async def test_a_question_deep_below_is_answered_where_it_is(sibling: str) -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(nested(gate))
        session = await rt.session("nested")
        thread = await session.submit({"text": "deep"})
        deep = f"{session.id}:{ASKING}"
        await gate.reached()
        if sibling == "over":
            await gate.open()
            waiting = await thread.result()
            assert (waiting.pause.kind, waiting.pause.question) == (PauseKind.BRANCHES, "deep?")
            await at_rest(rt)
            assert set((await tree(rt, session.id)).values()) == {"paused", "completed"}
        else:
            await until(lambda: is_paused(rt, f"{session.id}:0.1.0"))

        await (await rt.thread(deep)).answer("yes")
        await until(lambda: rt.records.store.journal.records[f"{session.id}:0.1.0"].head("").cursor.status.finished)
        await gate.open()
        result = await thread.result()

        assert (result.state.answer, result.state.notes) == NESTED_RESULT
        assert set((await tree(rt, session.id)).values()) == {"completed"}
        assert (await history(rt, deep))[:3] == [STARTED, paused("ask"), resumed("ask")]


async def test_hosts_that_die_between_question_and_answer_lose_nothing() -> None:
    async with runtime() as rt:
        await rt.deploy(nested())
        session = await rt.session("nested")
        thread = await session.submit({"text": "deep"})
        await thread.result()
        await at_rest(rt)
        for address in list(hosts(rt)):
            await world(rt).kill(address)

        await (await rt.thread(f"{session.id}:{ASKING}")).answer("yes")
        result = await thread.result()

        assert (result.state.answer, result.state.notes) == NESTED_RESULT


async def test_an_answer_whose_host_died_right_after_recording_it_is_acted_on() -> None:
    """Then nobody but the index of open threads knows that the tree may go on."""
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        main = session.thread
        await session.run({})
        await at_rest(rt)
        journal = rt.records.store.journal
        append = journal.append
        recorded = asyncio.Event()

        async def once(thread_id: str, epoch: int, entries: Any, **more: Any) -> Any:
            answer = await append(thread_id, epoch, entries, **more)
            if entries[-1].kind is EntryKind.RESUMED and not recorded.is_set():
                recorded.set()
                await asyncio.Event().wait()
            return answer

        for host in hosts(rt).values():
            host._services.journal.append = once
        answering = asyncio.create_task((await rt.thread(f"{main}.1.0")).answer(notes("a")))
        await recorded.wait()
        journal.append = append
        assert list(await journal.open_threads()) == [main]
        answering.cancel()
        for address in list(hosts(rt)):
            await world(rt).kill(address)
        await until(lambda: hosts(rt))
        await adopt(rt, main)
        await until(lambda: journal.records[f"{main}.1.0"].head("").cursor.status.finished)
        await at_rest(rt)
        await (await rt.thread(f"{main}.1.1")).answer(notes("b"))

        assert (await (await rt.thread(main)).result()).state.notes == ["a", "b", "c", "join"]


# --- times ----------------------------------------------------------------------------------------------------------


def timed(**policy: Any) -> Graph:
    """START -> split -> {wait 10 s, wait 30 s} -> join -> END."""
    g = Graph("timed", state=Case)
    g.fork("split", **policy)
    g.edge(START, "split")
    for name, seconds in (("a", 10.0), ("b", 30.0)):
        g.wait(f"wait_{name}", seconds=seconds)
        g.node(noting(name), name=name)
        g.edge("split", f"wait_{name}")
        g.edge(f"wait_{name}", name)
        g.edge(name, "join")
    g.node(noting("join"), name="join")
    g.edge("join", END)
    return g


async def test_the_earliest_time_below_lets_the_tree_go_on() -> None:
    clock = ManualClock()
    async with runtime(clock=clock) as rt:
        await rt.deploy(timed())
        session = await rt.session("timed")
        main, start = session.thread, clock.now()
        running = asyncio.create_task(session.run({}))
        due = []
        for seconds in (10, 20):
            await until(lambda: is_paused(rt, main))
            due += [at - start for _, at in await rt.records.store.journal.timers(limit=9)]
            clock.advance(seconds)
            await adopt(rt, main)
            await until(lambda: not is_paused(rt, main) or clock.now() < rt_due(rt, main))
        result = await running

        assert due == [10, 30]
        assert result.state.notes == ["a", "b", "join"]


def rt_due(rt: AsyncLocalRuntime, thread_id: str) -> float:
    pause = rt.records.store.journal.records[thread_id].head(thread_id).cursor.pause
    return 0.0 if pause is None or pause.until is None else pause.until


async def test_a_deadline_counts_from_when_the_fork_was_opened_whatever_dies() -> None:
    clock = ManualClock()
    async with runtime(clock=clock) as rt:
        await rt.deploy(timed(deadline_s=20))
        session = await rt.session("timed")
        main = session.thread
        running = asyncio.create_task(session.run({}))
        await until(lambda: is_paused(rt, main))
        clock.advance(12)
        await adopt(rt, main)
        await until(lambda: is_paused(rt, main) and rt_due(rt, main) > clock.now())
        assert rt_due(rt, main) == clock.now() + 8
        for address in list(hosts(rt)):
            await world(rt).kill(address)
        await until(lambda: hosts(rt))
        clock.advance(8)
        await adopt(rt, main)
        result = await running

        assert result.state.notes == ["a", "join"]
        assert (await tree(rt, session.id))["0.1.1"] == "cancelled"
