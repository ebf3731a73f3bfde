"""Threads that wait for a person or for a time: nothing is held meanwhile, nothing runs again, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.protocol import Adopt, encode
from graphs.errors import BusinessRuleViolation, Cancelled
from graphs.journal import EntryKind
from runtime import (
    END,
    START,
    AsyncLocalRuntime,
    Graph,
    Pause,
    Paused,
    PauseKind,
    Resumed,
    StateInvalid,
    ThreadFinished,
    ThreadState,
    append,
)
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    STARTED,
    Gate,
    ManualClock,
    another_driver,
    at_rest,
    failed_step,
    history,
    hosts,
    leftovers,
    runtime,
    step,
    until,
    world,
)


class Ask(BaseModel):
    text: str = ""
    amount: int = 0
    delay_s: float = 0
    answer: str = ""
    notes: Annotated[list[str], append] = []


class Reply(BaseModel):
    answer: str
    amount: int


def paused(node: str | None) -> tuple[EntryKind, str | None, str]:
    return EntryKind.PAUSED, node, "paused"


def resumed(node: str | None) -> tuple[EntryKind, str | None, str]:
    return EntryKind.RESUMED, node, "running"


def asking(runs: Counter[str] | None = None, gate: Gate | None = None, **human: Any) -> Graph:
    """START -> before -> ask -> after -> (a node that waits at `gate`) -> END."""
    counted: Counter[str] = Counter() if runs is None else runs
    g = Graph("asking", state=Ask)

    @g.node
    async def before(state: Ask) -> dict:
        counted["before"] += 1
        return {"notes": f"before {state.text}"}

    @g.node
    async def after(state: Ask) -> dict:
        counted["after"] += 1
        return {"notes": f"after {state.answer}"}

    g.human("ask", **({"question": "Refund {text}?", "into": "answer"} | human))
    g.edge(START, "before")
    g.edge("before", "ask")
    g.edge("ask", "after")
    if gate is not None:
        g.node(gated(gate), name="held")
        g.edge("after", "held")
    g.edge("after" if gate is None else "held", END)
    return g


def gated(gate: Gate) -> Any:
    async def node(state: Ask) -> dict:
        await gate()
        return {}

    return node


ASKED = [STARTED, step("before"), paused("ask")]
ANSWERED = [*ASKED, resumed("ask"), step("after"), COMPLETED]


async def test_a_question_waits_for_its_answer_and_nothing_is_held() -> None:
    runs: Counter[str] = Counter()
    async with runtime() as rt:
        await rt.deploy(asking(runs))
        session = await rt.session("asking")

        waiting = await session.run({"text": "ada"})
        await at_rest(rt)
        before = await history(rt, session.thread)
        thread = await rt.thread(session.thread)
        again = await thread.result()
        await thread.answer("yes")
        result = await thread.result()

        assert waiting == again
        assert (waiting.status, waiting.error) == (ThreadState.PAUSED, None)
        assert waiting.pause == Pause(kind=PauseKind.HUMAN, node="ask", question="Refund ada?")
        assert before == ASKED
        assert (result.status, result.pause) == (ThreadState.COMPLETED, None)
        assert (result.state.answer, result.state.notes) == ("yes", ["before ada", "after yes"])
        assert await history(rt, session.thread) == ANSWERED
        assert runs == {"before": 1, "after": 1}


async def test_a_wrong_answer_is_refused_with_all_its_problems_and_the_thread_waits_on() -> None:
    async with runtime() as rt:
        await rt.deploy(asking(answer=Reply, into=None))
        session = await rt.session("asking")
        thread = await session.submit({})
        await thread.result()

        with pytest.raises(StateInvalid) as refused:
            await thread.answer({"amount": "many"})
        status = await thread.status()
        await thread.answer(Reply(answer="fine", amount=3))
        result = await thread.result()

        assert len(refused.value.problems) == 2
        assert status is ThreadState.PAUSED
        assert (result.state.answer, result.state.amount) == ("fine", 3)
        assert await history(rt, session.thread) == ANSWERED


async def test_only_what_is_asked_can_be_answered() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(asking(gate=gate))
        session = await rt.session("asking")
        thread = await session.submit({})
        await thread.result()
        await thread.answer("once")
        await gate.reached()

        with pytest.raises(BusinessRuleViolation, match="it is running"):
            await thread.answer("twice")
        await gate.open()
        await thread.result()
        with pytest.raises(BusinessRuleViolation, match="it is completed"):
            await thread.answer("late")

        assert (await thread.state()).answer == "once"


async def test_the_same_answer_twice_answers_once_and_another_one_is_refused() -> None:
    async with runtime() as rt:
        await rt.deploy(asking())
        session = await rt.session("asking")
        thread = await session.submit({})
        await thread.result()
        sent: list[Any] = []
        ask = rt._ask_host

        async def twice(home: Any, request: Any, expected: Any) -> Any:
            sent.append(request)
            await ask(home, request, expected)
            return await ask(home, request, expected)

        rt._ask_host = twice
        await thread.answer("yes")
        rt._ask_host = ask
        await thread.result()
        repeated = await ask(await rt._home(session.thread), sent[0], object)

        assert repeated is not None
        assert await history(rt, session.thread) == ANSWERED


async def test_of_two_people_who_answer_at_once_one_is_told_so() -> None:
    async with runtime() as rt, another_driver(rt) as second:
        await rt.deploy(asking())
        session = await rt.session("asking")
        thread = await session.submit({})
        await thread.result()
        other = await second.thread(session.thread)

        outcomes = await asyncio.gather(thread.answer("a"), other.answer("b"), return_exceptions=True)
        result = await thread.result()

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BusinessRuleViolation", "NoneType"]
        assert result.state.answer == ("a" if outcomes[0] is None else "b")
        assert await history(rt, session.thread) == ANSWERED


async def test_turns_submitted_meanwhile_wait_behind_it() -> None:
    async with runtime() as rt, another_driver(rt) as second:
        await rt.deploy(asking())
        session = await rt.session("asking")
        first = await session.submit({"text": "1"})
        await first.result()
        behind = asyncio.create_task(session.run({"text": "2"}))
        third = await (await second.session(id=session.id)).submit({"text": "3"})
        await until(lambda: not leftovers(rt))
        status = await third.status()
        before = await history(rt, session.thread)

        await first.answer("one")
        second_turn = await behind
        await (await rt.thread(session.thread)).answer("two")
        last = await third.result()

        assert status is ThreadState.PENDING
        assert before == ASKED
        assert (second_turn.turn, second_turn.status) == (2, ThreadState.PAUSED)
        assert (last.turn, last.pause.question) == (3, "Refund 3?")
        assert (await history(rt, session.thread)) == [*ANSWERED, *ANSWERED, *ASKED]


async def test_an_answer_reaches_a_thread_whose_host_is_gone() -> None:
    async with runtime() as rt, another_driver(rt) as second:
        await rt.deploy(asking())
        session = await rt.session("asking")
        thread = await session.submit({"text": "x"})
        await thread.result()
        for address in list(hosts(rt)):
            await world(rt).kill(address)

        await (await second.thread(session.thread)).answer("yes")
        result = await (await second.thread(session.thread)).result()

        assert result.state.notes == ["before x", "after yes"]
        assert await history(rt, session.thread) == ANSWERED


async def test_a_host_that_dies_after_the_answer_was_recorded_loses_nothing() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(asking(gate=gate))
        session = await rt.session("asking")
        thread = await session.submit({"text": "x"})
        await thread.result()
        await thread.answer("yes")
        await gate.reached()

        await world(rt).kill((await rt.records.thread(session.thread)).host)
        await gate.open()
        result = await thread.result()

        assert (result.status, result.state.answer) == (ThreadState.COMPLETED, "yes")
        assert (await history(rt, session.thread))[:5] == [*ASKED, resumed("ask"), step("after")]


async def test_a_paused_turn_can_be_cancelled_and_the_next_one_runs() -> None:
    async with runtime() as rt:
        await rt.deploy(asking())
        session = await rt.session("asking")
        thread = await session.submit({"text": "1"})
        await thread.result()
        behind = await session.submit({"text": "2"})

        await thread.cancel("not needed")
        result, after = await thread.result(), await behind.result()

        assert (result.status, type(result.error)) == (ThreadState.CANCELLED, Cancelled)
        assert after.pause.question == "Refund 2?"
        assert await history(rt, session.thread) == [*ASKED, CANCELLED, *ASKED]


async def test_a_question_that_cannot_be_made_fails_its_node() -> None:
    async with runtime() as rt:
        await rt.deploy(asking(question="{notes[7]}"))
        session = await rt.session("asking")

        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert result.error.fields["node"] == "ask"
        assert (await history(rt, session.thread))[2] == failed_step("ask")


async def test_watchers_see_the_pause_and_what_the_answer_wrote() -> None:
    async with runtime() as rt:
        await rt.deploy(asking())
        session = await rt.session("asking")
        thread = await session.submit({"text": "x"})
        seen: list[Any] = []

        async def watch() -> None:
            async for event in thread.events():
                seen.append(event)
                if isinstance(event, Paused):
                    await thread.answer("yes")

        await asyncio.wait_for(watch(), 10)

        pause, go_on = (next(event for event in seen if isinstance(event, kind)) for kind in (Paused, Resumed))
        assert (pause.pause.question, go_on.node, go_on.delta) == ("Refund x?", "ask", {"answer": "yes"})
        assert isinstance(seen[-1], ThreadFinished)


# --- waiting for a time ---------------------------------------------------------------------------------------------


def waiting(seconds: float | str = 60.0) -> Graph:
    g = Graph("waiting", state=Ask)

    @g.node
    async def before(state: Ask) -> dict:
        return {"notes": "before"}

    @g.node
    async def after(state: Ask) -> dict:
        return {"notes": "after"}

    g.wait("sleep", seconds=seconds)
    g.edge(START, "before")
    g.edge("before", "sleep")
    g.edge("sleep", "after")
    g.edge("after", END)
    return g


SLEEPING = [STARTED, step("before"), paused("sleep")]
SLEPT = [*SLEEPING, resumed("sleep"), step("after"), COMPLETED]


async def adopt(rt: AsyncLocalRuntime, *threads: str) -> None:
    """What the supervisor does when a time has come."""
    await next(iter(hosts(rt).values())).handle(encode(Adopt(threads=threads)))


@pytest.mark.parametrize(("seconds", "given"), [(60.0, {}), ("delay_s", {"delay_s": 60.0})])
async def test_a_thread_waits_for_a_time_and_whoever_runs_it_waits_along(seconds: Any, given: Any) -> None:
    clock = ManualClock()
    async with runtime(clock=clock) as rt:
        await rt.deploy(waiting(seconds))
        session = await rt.session("waiting")
        running = asyncio.create_task(session.run(given))
        await until(lambda: session_paused(rt, session.thread))
        await at_rest(rt)
        due = clock.now() + 60
        (timer,) = await rt.records.store.journal.timers(limit=10)
        clock.advance(58)
        await adopt(rt, session.thread)
        await at_rest(rt)
        before = await history(rt, session.thread)

        clock.advance(2)
        await adopt(rt, session.thread)
        result = await running

        assert timer == (session.thread, due)
        assert before == SLEEPING
        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["before", "after"])
        assert await history(rt, session.thread) == SLEPT


def session_paused(rt: AsyncLocalRuntime, thread_id: str) -> bool:
    record = rt.records.store.journal.records.get(thread_id)
    return record is not None and record.head(thread_id).cursor.status is ThreadState.PAUSED


async def test_a_time_that_is_none_fails_the_node() -> None:
    async with runtime() as rt:
        await rt.deploy(waiting("delay_s"))
        session = await rt.session("waiting")

        result = await session.run({"delay_s": -1})

        assert (result.status, result.error.problems) == (
            ThreadState.FAILED,
            ["delay_s: must be a number of seconds, not -1.0"],
        )
