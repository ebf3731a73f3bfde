"""Pausing, resuming and aborting whole sessions: the turn under way, those that wait, branches, questions and times."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from actors.protocol import PauseThread, encode
from graphs.errors import BusinessRuleViolation, IllegalTransition
from graphs.journal import EntryKind
from graphs.sessions import SessionState
from runtime import END, START, Graph, Pause, PauseKind, ThreadState
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    STARTED,
    Gate,
    SkippingClock,
    another_driver,
    at_rest,
    history,
    hosts,
    runtime,
    step,
    told_to_end,
    tree,
    until,
    world,
)
from tests.component.test_actors_asked import branches, chain
from tests.component.test_actors_pauses import Ask, asking, paused, resumed


async def nothing_is_open(rt: Any) -> bool:
    journal = rt.records.store.journal
    return not await journal.open_threads() and not await journal.timers()


async def test_a_paused_session_finishes_its_step_and_takes_turns_that_wait() -> None:
    gate, runs = Gate(), Counter()
    async with runtime() as rt:
        await rt.deploy(chain(gate, runs))
        session = await rt.session("chain")
        first, second = await session.submit_all([{}, {}])
        await gate.reached()

        pausing = asyncio.create_task(session.pause("lunch"))
        await until(lambda: told_to_end(rt))
        assert not pausing.done(), "its step is not over"
        await gate.open()
        await pausing
        waiting = await first.result()
        third = await session.submit({})
        await at_rest(rt)
        before, seen = await history(rt, session.thread), Counter(runs)
        states = [await session.state(), await second.status(), await third.status()]
        is_open = not await nothing_is_open(rt)

        await session.resume()
        results = [await thread.result() for thread in (first, second, third)]

        assert (waiting.status, waiting.pause.kind, waiting.pause.reason) == ("paused", PauseKind.SESSION, "lunch")
        assert before == [STARTED, step("first"), step("held"), paused(None)]
        assert seen == {"first": 1, "held": 1}
        assert states == [SessionState.PAUSED, ThreadState.PENDING, ThreadState.PENDING]
        assert not is_open
        assert [result.status for result in results] == [ThreadState.COMPLETED] * 3
        assert runs == dict.fromkeys(("first", "held", "last"), 3)
        assert await session.state() is SessionState.ACTIVE
        assert await nothing_is_open(rt)


async def test_who_waits_for_a_turn_of_a_paused_session_is_told_when_it_is_over() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        await session.pause()
        running = asyncio.create_task(session.run({}))
        await until(lambda: session.thread in rt.records.store.journal.records)
        await at_rest(rt)
        assert not running.done()

        await session.resume()

        assert (await running).status is ThreadState.COMPLETED


async def test_pausing_resuming_and_aborting_twice_is_doing_it_once() -> None:
    gate = Gate()
    async with runtime() as rt, another_driver(rt) as driver:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        thread = await session.submit({})
        await gate.reached()
        other = await driver.session(id=session.id)
        pausing = [asyncio.create_task(each.pause("lunch")) for each in (session, other)]
        await until(lambda: told_to_end(rt))
        await gate.open()
        await asyncio.gather(*pausing)
        await session.pause("again")
        reason = (await rt.records.session(session.id)).reason
        await asyncio.gather(session.resume(), other.resume())
        await session.resume()
        done = await thread.result()
        await asyncio.gather(session.abort("over"), other.abort("really"))
        await session.abort("yes")

        assert reason == "lunch"
        assert done.status is ThreadState.COMPLETED
        entries = await history(rt, session.thread)
        assert entries == [STARTED, step("first"), step("held"), paused(None), resumed("last"), step("last"), COMPLETED]
        assert await session.state() is SessionState.ABORTED
        for change in (session.pause, session.resume, session.complete):
            with pytest.raises(IllegalTransition, match=r"an? aborted session cannot become"):
                await change()


async def test_a_fork_and_a_what_if_branch_pause_with_their_session() -> None:
    gate, slow = Gate(), Gate()
    g = Graph("fork", state=Ask)

    @g.node
    async def a(state: Ask) -> dict:
        await gate()
        return {"notes": "a"}

    @g.node
    async def b(state: Ask) -> dict:
        await slow()
        return {"notes": "b"}

    for name in ("a2", "b2"):
        g.node(_note(name), name=name)
    g.node(_note("end"), name="end")
    for name in "ab":
        g.edge(START, name)
        g.edge(name, f"{name}2")
        g.edge(f"{name}2", "end")
    g.edge("end", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("fork")
        thread = await session.submit({})
        await gate.reached()
        branch = await thread.branch(at=1)
        await gate.reached(2)
        pausing = asyncio.create_task(session.pause())
        await until(lambda: told_to_end(rt) == 4)
        await gate.open()
        await slow.open()
        await pausing
        await at_rest(rt)
        stopped = await tree(rt, session.id)
        notes = {head.thread.id: head.seq for head in await session.threads()}

        await session.resume()
        results = [await thread.result(), await branch.result()]

        assert set(stopped.values()) == {"paused"}
        assert len(stopped) == 6
        assert max(notes.values()) <= 3, "nothing began"
        assert [sorted(result.state.notes) for result in results] == [["a", "a2", "b", "b2", "end"]] * 2


def _note(name: str) -> Any:
    async def node(state: Ask) -> dict:
        return {"notes": name}

    node.__qualname__ = f"note_{name}"
    return node


async def test_an_answer_in_a_paused_session_is_kept_and_goes_on_with_it() -> None:
    async with runtime() as rt:
        await rt.deploy(asking())
        session = await rt.session("asking")
        asked = await session.run({})
        thread = await rt.thread(session.thread)
        await session.pause()
        await thread.answer("yes")
        await at_rest(rt)
        between = (await thread.status(), (await thread.state()).answer, await nothing_is_open(rt))
        with pytest.raises(BusinessRuleViolation, match="its session is paused; resume that"):
            await thread.resume()

        await session.resume()
        result = await thread.result()

        assert asked.pause.kind is PauseKind.HUMAN
        assert between == (ThreadState.PAUSED, "yes", True)
        assert result.status is ThreadState.COMPLETED
        assert (await history(rt, session.thread)).count(step("before")) == 1


async def test_a_time_that_comes_does_not_wake_a_paused_session() -> None:
    g = Graph("wait", state=Ask)
    g.wait("wait", seconds=60)
    g.edge(START, "wait")
    g.edge("wait", END)
    clock = SkippingClock()
    async with runtime() as rt:
        world(rt).clock.now = clock.now
        await rt.deploy(g)
        session = await rt.session("wait")
        thread = await session.submit({})
        journal = rt.records.store.journal
        await until(lambda: journal.status(session.thread) is ThreadState.PAUSED)
        timers = await journal.timers()
        await session.pause()
        clock.advance(120)
        await at_rest(rt)
        between = (await thread.status(), await journal.timers())

        await session.resume()
        result = await thread.result()

        assert [thread_id for thread_id, _ in timers] == [session.thread]
        assert between == (ThreadState.PAUSED, [])
        assert result.status is ThreadState.COMPLETED


async def test_a_thread_that_was_paused_by_itself_stays_paused_when_its_session_goes_on() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        thread = await session.submit({})
        await gate.reached()
        pausing = asyncio.create_task(thread.pause("mine"))
        await until(lambda: told_to_end(rt))
        await gate.open()
        await pausing
        await session.pause()
        await session.resume()
        await at_rest(rt)
        between = await thread.result()
        await session.pause()
        await thread.resume()
        await at_rest(rt)
        still = await thread.result()
        await session.resume()

        assert between.pause.kind is PauseKind.ASKED
        assert still.pause.kind is PauseKind.SESSION
        assert (await thread.result()).status is ThreadState.COMPLETED


async def test_an_aborted_session_cancels_what_runs_and_what_waits_and_takes_no_more() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        threads = await session.submit_all([{}, {}, {}])
        waiting = [asyncio.create_task(thread.result()) for thread in threads]
        await gate.reached()
        branch = await threads[0].branch(at=1)
        await gate.reached(2)

        await session.abort("enough")
        results = await asyncio.gather(*waiting, branch.result())

        assert [result.status for result in results] == [ThreadState.CANCELLED] * 4
        assert {result.error.message for result in results} == {"cancelled: enough"}
        entries = await history(rt, session.thread)
        assert entries == [STARTED, step("first"), CANCELLED, STARTED, CANCELLED, STARTED, CANCELLED]
        assert await session.state() is SessionState.ABORTED
        with pytest.raises(BusinessRuleViolation, match="is aborted and takes no more turns") as refused:
            await session.submit({})
        assert refused.value.fields == {"session_id": session.id, "state": "aborted"}
        with pytest.raises(BusinessRuleViolation, match="is aborted"):
            await threads[0].branch(at=1)
        assert await nothing_is_open(rt)


async def test_a_paused_session_is_aborted_with_the_turns_that_wait_in_it() -> None:
    async with runtime() as rt:
        await rt.deploy(asking())
        session = await rt.session("asking")
        await session.run({})
        await session.pause()
        running = asyncio.create_task(session.run({}))
        await until(lambda: len(rt.records.store.sessions.interactions[session.id]) == 2)
        await session.abort("enough")

        assert (await running).status is ThreadState.CANCELLED
        assert await tree(rt, session.id) == {"0": "cancelled"}
        assert await nothing_is_open(rt)


async def test_no_branch_begins_in_a_paused_session() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        await session.run({})
        thread = await rt.thread(session.thread)
        await session.pause()
        with pytest.raises(BusinessRuleViolation, match="is paused; resume it first"):
            await thread.branch(at=1)
        await session.resume()

        assert (await (await thread.branch(at=1)).result()).status is ThreadState.COMPLETED


async def test_a_waiting_turn_of_a_paused_session_is_cancelled_at_once() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        await session.pause()
        first, second = await session.submit_all([{}, {}])
        with pytest.raises(BusinessRuleViolation, match=r"turn 2 of thread \S+ waits behind what is paused"):
            await second.cancel()
        await first.cancel()
        await second.cancel()
        await at_rest(rt)
        statuses = [(await thread.result()).status for thread in (first, second)]
        await session.resume()

        assert statuses == [ThreadState.CANCELLED] * 2
        assert await history(rt, session.thread) == [STARTED, CANCELLED] * 2


@pytest.mark.parametrize("change", ["pause", "abort"])
async def test_it_is_carried_out_though_hosts_die_meanwhile(change: str) -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        first, second = await session.submit_all([{}, {}])
        await gate.reached()
        changing = asyncio.create_task(getattr(session, change)("enough"))
        await until(lambda: rt.records.store.journal._index.state(session.id).halted)
        for address in list(hosts(rt)):
            await world(rt).kill(address)
        await gate.open()
        await changing
        await at_rest(rt)
        statuses = [await first.status(), await second.status()]
        if change == "pause":
            await session.resume()

        assert [(await thread.result()).status.value for thread in (first, second)] == (
            ["completed"] * 2 if change == "pause" else ["cancelled"] * 2
        )
        assert statuses == (["paused", "pending"] if change == "pause" else ["cancelled"] * 2)
        assert await nothing_is_open(rt)


async def test_branches_paused_late_with_a_session_that_was_resumed_go_on() -> None:
    """As hosts were asked to before the one of the thread above died, which its next one knows nothing of."""
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(branches(dict.fromkeys("ab", gate)))
        session = await rt.session("branches")
        running = asyncio.create_task(session.run({}))
        await gate.reached(2)
        pause = Pause(kind=PauseKind.SESSION, reason="lunch")
        late = []
        for index in (0, 1):
            head = await rt.records.store.journal.head(f"{session.thread}.1.{index}")
            request = PauseThread(thread_id=head.thread.id, pause=pause)
            late.append(asyncio.create_task(hosts(rt)[head.host].handle(encode(request))))
        await until(lambda: told_to_end(rt) == 2)
        await gate.open()
        await asyncio.gather(*late)

        assert (await running).state.notes == ["a", "a2", "b", "b2"]
        assert await history(rt, f"{session.thread}.1.0") == [
            STARTED,
            step("a"),
            paused(None),
            resumed("a2"),
            step("a2"),
            COMPLETED,
        ]
        assert await nothing_is_open(rt)


async def test_a_branch_that_is_begun_just_when_its_session_is_paused_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        done = await session.run({})
        thread, store = await rt.thread(session.thread), rt.records.store
        activate = store.journal.activate

        async def paused_before(thread_id: str, host: str, **options: Any) -> Any:
            if thread_id != session.thread:
                await store.sessions.change(session.id, SessionState.PAUSED, reason="lunch", at=1.0, host=host)
            return await activate(thread_id, host, **options)

        monkeypatch.setattr(store.journal, "activate", paused_before)
        with pytest.raises(BusinessRuleViolation, match=r"no thread can begin in session \S+, which is paused"):
            await thread.branch(at=done.seq)
        monkeypatch.undo()

        assert await tree(rt, session.id) == {"0": "completed"}
        await session.resume()


async def test_a_branch_begins_though_somebody_has_looked_for_it_before_it_was_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        done = await session.run({})
        thread, journal = await rt.thread(session.thread), rt.records.store.journal
        activate = journal.activate

        async def looked_for(thread_id: str, host: str, **options: Any) -> Any:
            if thread_id != session.thread:
                monkeypatch.undo()
                await activate(thread_id, host, create=options["create"])
            return await activate(thread_id, host, **options)

        monkeypatch.setattr(journal, "activate", looked_for)
        branch = await thread.branch(at=done.seq)

        assert (await branch.result(timeout_s=5)).status is ThreadState.COMPLETED
        assert (await history(rt, branch.id))[0] == (EntryKind.BRANCHED, None, "completed")
