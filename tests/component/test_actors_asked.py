"""Pausing and resuming on request: what runs is recorded, nothing else begins, and all of it goes on where it was."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from graphs.errors import BusinessRuleViolation
from runtime import END, START, Graph, Pause, PauseKind, ResultTimeout, ThreadState
from tests.component.actors_kit import (
    COMPLETED,
    STARTED,
    Gate,
    at_rest,
    history,
    hosts,
    joined,
    runtime,
    step,
    told_to_end,
    tree,
    until,
    world,
)
from tests.component.test_actors_pauses import Ask, asking, paused, resumed


def chain(gate: Gate, runs: Counter[str] | None = None, **options: Any) -> Graph:
    """START -> first -> held -> last -> END; `held` waits at the gate."""
    counted: Counter[str] = Counter() if runs is None else runs
    g = Graph("chain", state=Ask, **options)

    @g.node
    async def first(state: Ask) -> dict:
        counted["first"] += 1
        return {"notes": "first"}

    @g.node
    async def held(state: Ask) -> dict:
        counted["held"] += 1
        await gate()
        return {"notes": "held"}

    @g.node
    async def last(state: Ask) -> dict:
        counted["last"] += 1
        return {"notes": "last"}

    g.edge(START, "first")
    g.edge("first", "held")
    g.edge("held", "last")
    g.edge("last", END)
    return g


def branches(gates: dict[str, Gate], runs: Counter[str] | None = None) -> Graph:
    """For each gate, by its name, a branch START -> a -> a2 -> END; `a` waits at the gate."""
    counted: Counter[str] = Counter() if runs is None else runs
    g = Graph("branches", state=Ask)
    for name, gate in gates.items():

        async def node(state: Ask, name: str = name, gate: Gate = gate) -> dict:
            counted[name] += 1
            await gate()
            return {"notes": name}

        async def after(state: Ask, name: str = name) -> dict:
            counted[f"{name}2"] += 1
            return {"notes": f"{name}2"}

        g.node(node, name=name)
        g.node(after, name=f"{name}2")
        g.edge(START, name)
        g.edge(name, f"{name}2")
        g.edge(f"{name}2", END)
    return g


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_running_thread_pauses_after_its_step_and_goes_on_behind_it(durability: str) -> None:
    gate, runs = Gate(), Counter()
    async with runtime() as rt:
        await rt.deploy(chain(gate, runs))
        session = await rt.session("chain")
        thread = await session.submit({}, durability=durability)
        await gate.reached()

        pausing = asyncio.create_task(thread.pause("lunch"))
        await until(lambda: told_to_end(rt))
        assert not pausing.done(), "its step is not over"
        await gate.open()
        await pausing
        waiting = await thread.result()
        await at_rest(rt)
        before = await history(rt, session.thread)
        await thread.resume()
        result = await thread.result()

        assert waiting.pause == Pause(kind=PauseKind.ASKED, reason="lunch")
        assert before == [STARTED, step("first"), step("held"), paused(None)]
        assert await history(rt, session.thread) == [*before, resumed("last"), step("last"), COMPLETED]
        assert result.state.notes == ["first", "held", "last"]
        assert set(runs.values()) == {1}


async def test_a_thread_at_rest_is_neither_paused_nor_resumed() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate), asking())
        session = await rt.session("chain")
        thread = await session.submit({})
        await thread.result()
        asked = await (await rt.session("asking")).submit({})
        await asked.result()

        for handle, what in ((thread, "it is completed"), (asked, "asks 'Refund")):
            with pytest.raises(BusinessRuleViolation, match=what):
                await handle.pause()
            with pytest.raises(BusinessRuleViolation, match=what):
                await handle.resume()


async def test_a_turn_that_is_over_before_it_could_pause_says_so() -> None:
    gate = Gate()
    g = Graph("one", state=Ask)

    @g.node
    async def only(state: Ask) -> dict:
        await gate()
        return {}

    g.edge(START, "only")
    g.edge("only", END)
    async with runtime() as rt:
        await rt.deploy(g)
        thread = await (await rt.session("one")).submit({})
        await gate.reached()

        pausing = asyncio.create_task(thread.pause())
        await asyncio.sleep(0.01)
        await gate.open()

        with pytest.raises(BusinessRuleViolation, match="it is completed"):
            await pausing


async def test_a_turn_that_has_not_begun_is_paused_before_its_first_step() -> None:
    gate = Gate()
    async with runtime(hosts={"min": 1, "max": 1, "capacity": 1}) as rt:
        await rt.deploy(chain(gate))
        first = await (await rt.session("chain")).submit({})
        await gate.reached()
        session = await rt.session("chain")
        thread = await session.submit({})

        pausing = asyncio.create_task(thread.pause())
        await until(lambda: any(actor._stops.asked for host in hosts(rt).values() for actor in host._sessions.values()))
        await gate.open()
        await pausing
        await first.result()

        assert await history(rt, session.thread) == [STARTED, paused(None)]
        await thread.resume()
        assert (await thread.result()).status is ThreadState.COMPLETED


async def test_a_fork_pauses_with_its_branches_and_all_go_on() -> None:
    gate, runs = Gate(), Counter()
    async with runtime() as rt:
        await rt.deploy(branches(dict.fromkeys("abc", gate), runs))
        session = await rt.session("branches")
        thread = await session.submit({})
        await gate.reached(3)

        pausing = asyncio.create_task(thread.pause("all"))
        await until(lambda: told_to_end(rt) == 3)
        await gate.open()
        await pausing
        await at_rest(rt)
        resting = await tree(rt, session.id)
        for address in list(hosts(rt)):
            await world(rt).kill(address)
        await thread.resume()
        result = await thread.result()

        assert resting == dict.fromkeys(["0", "0.1.0", "0.1.1", "0.1.2"], "paused")
        assert result.state.notes == ["a", "a2", "b", "b2", "c", "c2"]
        assert set(runs.values()) == {1}
        assert await history(rt, session.thread) == [
            STARTED,
            paused(None),
            resumed(None),
            joined("__start__"),
            COMPLETED,
        ]


@pytest.mark.parametrize("resumed", ["the branch", "the thread"])
async def test_one_branch_is_paused_while_others_run_and_the_join_waits_for_it(resumed: str) -> None:
    gates = {name: Gate() for name in "ab"}
    async with runtime() as rt:
        await rt.deploy(branches(gates))
        session = await rt.session("branches")
        thread = await session.submit({})
        for gate in gates.values():
            await gate.reached()
        branch = await rt.thread(f"{session.thread}.1.0")

        pausing = asyncio.create_task(branch.pause("this one"))
        await asyncio.sleep(0.02)
        await gates["a"].open()
        await pausing
        await gates["b"].open()
        waiting = await thread.result()
        await at_rest(rt)
        await thread.pause("paused as it is")
        await (branch if resumed == "the branch" else thread).resume()
        result = await thread.result()

        assert (waiting.pause.kind, waiting.pause.reason) == (PauseKind.BRANCHES, "this one")
        assert result.state.notes == ["a", "a2", "b", "b2"]


async def test_a_thread_paused_on_request_is_cancelled() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        thread = await session.submit({})
        await gate.reached()
        pausing = asyncio.create_task(thread.pause())
        await asyncio.sleep(0.01)
        await gate.open()
        await pausing

        await thread.cancel("no more")

        assert (await thread.result()).status is ThreadState.CANCELLED


async def test_pausing_twice_is_pausing_once() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        thread = await session.submit({})
        await gate.reached()
        pausing = [asyncio.create_task(thread.pause(reason)) for reason in ("one", "two")]
        await asyncio.sleep(0.01)
        await gate.open()
        await asyncio.gather(*pausing)
        await thread.pause("three")

        assert (await history(rt, session.thread))[-1] == paused(None)
        await thread.resume()
        assert (await thread.result()).status is ThreadState.COMPLETED


async def test_a_turn_nobody_accepted_in_time_is_not_said_to_run() -> None:
    async with runtime(hosts={"min": 1, "max": 1}) as rt:
        await rt.deploy(chain(Gate()))
        session = await rt.session("chain")
        (host,) = hosts(rt).values()
        accept = host._repository.accept
        host._repository.accept = lambda *args, **more: asyncio.Event().wait()

        with pytest.raises(ResultTimeout, match="if the turn was accepted it runs"):
            await session.run({}, timeout_s=0.05)

        host._repository.accept = accept
        for actor in list(host._sessions.values()):
            await actor.close()
