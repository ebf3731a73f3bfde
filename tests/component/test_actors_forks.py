"""Forks: branches run as threads of their own, in their own time, and are joined as the fork says."""

from __future__ import annotations

import asyncio

import pytest

from runtime import (
    END,
    START,
    BranchFailed,
    Graph,
    Message,
    ThreadState,
)
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    ManualClock,
    failed_step,
    history,
    joined,
    runtime,
    step,
    tree,
    until,
)
from tests.component.forks_kit import Board, failing, fork, noting


async def test_all_branches_are_merged_in_the_order_of_the_edges_whoever_is_first() -> None:
    """Every reducer gets the writes in edge order, though the first branch ends last."""
    gate = Gate()
    g = Graph("order", state=Board)

    @g.node
    async def slow(state: Board) -> dict:
        await gate()
        said = [Message(role="user", content="slow", id="1"), Message(role="user", content="slow only")]
        return {"notes": ["s1", "s2"], "points": 1, "marks": {"x": 1, "slow": 1}, "said": said, "word": "slowest"}

    @g.node
    async def fast(state: Board) -> dict:
        said = [Message(role="user", content="fast", id="1")]
        return {"notes": "f", "points": 10, "marks": {"x": 2, "fast": 2}, "said": said, "word": "fast"}

    for name in ("slow", "fast"):
        g.edge(START, name)
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("order")
        thread = await session.submit({"notes": ["in"], "word": "w"})
        await gate.reached()
        fast_branch = await rt.thread(f"{session.thread}.1.1")
        await fast_branch.result()
        await gate.open()

        result = await thread.result()

        assert result.state == {
            "flag": False,
            "rounds": 0,
            "notes": ["in", "s1", "s2", "f"],
            "points": 11,
            "marks": {"x": 2, "slow": 1, "fast": 2},
            "said": [
                Message(role="user", content="fast", id="1"),
                Message(role="user", content="slow only"),
            ],
            "word": "slowest",
        }
        assert await history(rt, session.thread) == [STARTED, joined("__start__"), COMPLETED]


async def test_a_fast_branch_does_not_wait_for_its_slow_sibling() -> None:
    gate = Gate()
    g = Graph("pace", state=Board)
    g.node(noting("slow", gate), name="slow")
    for name in ("fast1", "fast2", "fast3"):
        g.node(noting(name), name=name)
    g.edge(START, "slow")
    g.edge(START, "fast1")
    g.edge("fast1", "fast2")
    g.edge("fast2", "fast3")
    g.edge("fast3", END)
    g.edge("slow", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("pace")
        thread = await session.submit({})
        await gate.reached()

        fast = await (await rt.thread(f"{session.thread}.1.1")).result()
        slow_status = await (await rt.thread(f"{session.thread}.1.0")).status()
        await gate.open()
        await thread.result()

        assert (fast.status, fast.state.notes) == (ThreadState.COMPLETED, ["fast1", "fast2", "fast3"])
        assert slow_status is ThreadState.RUNNING
        journal = rt.records.store.journal
        last_of_fast = (await journal.read(f"{session.thread}.1.1"))[-1]
        step_of_slow = (await journal.read(f"{session.thread}.1.0"))[1]
        assert last_of_fast.at <= step_of_slow.at


async def test_any_takes_the_first_that_succeeds_and_cancels_the_rest() -> None:
    gate = Gate()
    g = fork("race", {"slow": noting("slow", gate), "bad": failing(), "fast": noting("fast")}, join="any")
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("race")

        result = await session.run({})

        assert result.state.notes == ["fast", "join"]
        main = session.thread
        assert await history(rt, main) == [STARTED, joined("split"), step("join"), COMPLETED]
        assert await tree(rt, session.id) == {
            "0": "completed",
            "0.1.0": "cancelled",
            "0.1.1": "failed",
            "0.1.2": "completed",
        }
        assert await history(rt, f"{main}.1.0") == [STARTED, CANCELLED]
        cancelled = await rt.records.store.journal.head(f"{main}.1.0")
        assert cancelled is not None
        assert cancelled.cursor.error is not None
        assert cancelled.cursor.error.message == "cancelled: the fork at 'split' went on without it"


async def test_n_of_m_waits_for_so_many() -> None:
    gates = [Gate() for _ in range(4)]
    g = fork("quorum", {f"b{index}": noting(f"b{index}", gate) for index, gate in enumerate(gates)}, join=2)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("quorum")
        thread = await session.submit({})
        for gate in gates:
            await gate.reached()

        await gates[3].open()
        await (await rt.thread(f"{session.thread}.1.3")).result()
        status = await thread.status()
        await gates[1].open()
        result = await thread.result()

        assert status is ThreadState.RUNNING
        assert result.state.notes == ["b1", "b3", "join"]
        assert await tree(rt, session.id) == {
            "0": "completed",
            "0.1.0": "cancelled",
            "0.1.1": "completed",
            "0.1.2": "cancelled",
            "0.1.3": "completed",
        }


async def test_a_deadline_goes_on_with_what_has_finished() -> None:
    gate, clock = Gate(), ManualClock()
    g = fork("late", {"slow": noting("slow", gate), "fast": noting("fast")}, deadline_s=30)
    async with runtime(clock=clock) as rt:
        await rt.deploy(g)
        session = await rt.session("late")
        thread = await session.submit({})
        await gate.reached()
        fast = f"branch {session.thread}.1.1"
        await until(lambda: fast not in {task.get_name() for task in asyncio.all_tasks()})
        clock.advance(29)
        status = await thread.status()
        clock.advance(1)

        result = await thread.result()

        assert status is ThreadState.RUNNING
        assert result.state.notes == ["fast", "join"]
        assert await tree(rt, session.id) == {"0": "completed", "0.1.0": "cancelled", "0.1.1": "completed"}


async def test_a_deadline_with_nothing_to_go_on_with_fails() -> None:
    gate, clock = Gate(), ManualClock()
    g = fork("too_late", {"slow": noting("slow", gate), "slower": noting("slower", gate)}, deadline_s=30)
    async with runtime(clock=clock) as rt:
        await rt.deploy(g)
        session = await rt.session("too_late")
        thread = await session.submit({})
        await gate.reached(2)
        clock.advance(30)

        result = await thread.result()

        assert result.status is ThreadState.FAILED
        assert type(result.error) is BranchFailed
        assert result.error.message == "no branch of 'split' finished within 30.0 s; raise deadline_s"
        assert await history(rt, session.thread) == [STARTED, failed_step("split"), FAILED]
        assert await tree(rt, session.id) == {"0": "failed", "0.1.0": "cancelled", "0.1.1": "cancelled"}


async def test_a_branch_that_fails_fails_the_thread_and_the_others_are_cancelled() -> None:
    gate = Gate()
    g = fork("strict", {"slow": noting("slow", gate), "bad": failing("no luck"), "fast": noting("fast")})
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("strict")

        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert type(result.error) is BranchFailed
        assert result.error.message == "branch 1 of 'split' failed: no luck"
        assert result.error.fields == {
            "node": "split",
            "index": 1,
            "cause": {"code": "ValueError", "message": "no luck", "fields": {"node": "bad"}},
        }
        assert result.state.notes == []
        assert await history(rt, session.thread) == [STARTED, failed_step("split"), FAILED]
        paths = await tree(rt, session.id)
        assert (paths["0.1.0"], paths["0.1.1"]) == ("cancelled", "failed")


@pytest.mark.parametrize("policy", ["skip", "collect"])
async def test_a_branch_that_fails_may_be_left_out(policy: str) -> None:
    g = fork("lenient", {"a": noting("a"), "bad": failing(), "b": noting("b")}, on_branch_error=policy)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("lenient")

        result = await session.run({})

        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["a", "b", "join"])


async def test_all_branches_may_be_left_out() -> None:
    g = fork("hopeless", {"bad": failing(), "worse": failing()}, on_branch_error="skip")
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("hopeless")).run({})

        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["join"])


async def test_any_fails_when_nobody_can_succeed_any_more() -> None:
    g = fork("no_winner", {"bad": failing("first"), "worse": failing("second")}, join="any")
    async with runtime() as rt:
        await rt.deploy(g)

        result = await (await rt.session("no_winner")).run({})

        assert result.status is ThreadState.FAILED
        assert type(result.error) is BranchFailed


async def test_a_fork_in_a_branch_joins_before_the_branch_goes_on() -> None:
    g = Graph("nested", state=Board)
    for name in ("a", "a1", "a2", "a_join", "b", "end"):
        g.node(noting(name), name=name)
    for source, target in [
        (START, "a"),
        (START, "b"),
        ("a", "a1"),
        ("a", "a2"),
        ("a1", "a_join"),
        ("a2", "a_join"),
        ("a_join", "end"),
        ("b", "end"),
        ("end", END),
    ]:
        g.edge(source, target)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("nested")

        result = await session.run({})

        assert result.state.notes == ["a", "a1", "a2", "a_join", "b", "end"]
        assert await tree(rt, session.id) == dict.fromkeys(
            ["0", "0.1.0", "0.1.1", "0.1.0.2.0", "0.1.0.2.1"], "completed"
        )


async def test_a_fork_in_a_loop_starts_new_branches_each_time() -> None:
    g = Graph("rounds", state=Board)

    @g.node
    async def begin(state: Board) -> dict:
        return {"rounds": state.rounds + 1}

    for name in ("a", "b", "join"):
        g.node(noting(name), name=name)
    g.edge(START, "begin")
    g.edge("begin", "a")
    g.edge("begin", "b")
    g.edge("a", "join")
    g.edge("b", "join")
    g.edge("join", "begin", when="state.rounds < 3")
    g.edge("join", END, default=True)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("rounds")

        result = await session.run({})

        assert result.state.notes == ["a", "b", "join"] * 3
        assert set(await tree(rt, session.id)) == {"0", *(f"0.{seq}.{i}" for seq in (2, 5, 8) for i in (0, 1))}


async def test_a_branch_that_begins_at_the_join_has_nothing_to_do() -> None:
    g = Graph("shortcut", state=Board)
    for name in ("a", "join"):
        g.node(noting(name), name=name)
    g.edge(START, "a")
    g.edge(START, "join")
    g.edge("a", "join")
    g.edge("join", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("shortcut")

        result = await session.run({})

        assert result.state.notes == ["a", "join"]
        assert await tree(rt, session.id) == {"0": "completed"}


async def test_of_a_race_to_the_join_the_one_who_stands_there_wins() -> None:
    gate = Gate()
    g = Graph("walkover", state=Board)
    g.fork("split", join="any")
    g.node(noting("a", gate), name="a")
    g.node(noting("join"), name="join")
    g.edge(START, "split")
    g.edge("split", "a")
    g.edge("split", "join")
    g.edge("a", "join")
    g.edge("join", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("walkover")

        result = await session.run({})

        assert result.state.notes == ["join"]
        assert (await tree(rt, session.id))["0.1.1"] == "completed"


async def test_the_policy_of_a_fork_counts_for_a_branch_that_is_taken_alone() -> None:
    g = Graph("lonely", state=Board)
    g.fork("split", on_branch_error="skip")
    g.node(failing(), name="bad")
    g.node(noting("b"), name="b")
    g.node(noting("join"), name="join")
    g.edge(START, "split")
    g.edge("split", "bad")
    g.edge("split", "b", when="state.flag")
    g.edge("bad", "join")
    g.edge("b", "join")
    g.edge("join", END)
    async with runtime() as rt:
        await rt.deploy(g)

        results = [await (await rt.session("lonely")).run({"flag": flag}) for flag in (False, True)]

        assert [(r.status, r.state.notes) for r in results] == [
            (ThreadState.COMPLETED, ["join"]),
            (ThreadState.COMPLETED, ["b", "join"]),
        ]
