"""Watching threads: events in order, live and from the record, and waiting for results."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from runtime import (
    END,
    START,
    BranchesJoined,
    BranchesStarted,
    Event,
    Graph,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    ResultTimeout,
    ThreadFinished,
    ThreadState,
    Token,
    TurnStarted,
    Usage,
    append,
)
from tests.component.actors_kit import Gate, executors, hosts, runtime, until

SCRIPTED = {"default": {"provider": "scripted", "latency": {"mean_s": 0.05}}}


class Log(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []
    numbers: list[int] = []


def noting(name: str, gate: Gate | None = None) -> Any:
    async def node(state: Log) -> dict:
        if gate is not None:
            await gate()
        return {"notes": f"{name} {state.text}".strip()}

    return node


def chain(*names: str, gates: dict[str, Gate] | None = None) -> Graph:
    g = Graph("chain", state=Log)
    for name in names:
        g.node(noting(name, (gates or {}).get(name)), name=name)
    for source, target in zip((START, *names), (*names, END), strict=True):
        g.edge(source, target)
    return g


def brief(event: Event) -> tuple[Any, ...]:
    """Kind, path and seq, and the node if it has one."""
    node = getattr(event, "node", None)
    path = event.thread_id.partition(":")[2]
    return (type(event).__name__, path, event.seq, *([] if node is None else [node]))


async def test_events_of_a_turn_in_full() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a"))
        thread = await (await rt.session("chain")).submit({"text": "x"})

        started, finished, ended = [event async for event in thread.events()]

        assert started == TurnStarted(thread_id=thread.id, seq=1, at=started.at, turn=1)
        assert finished == NodeFinished(
            thread_id=thread.id,
            seq=2,
            at=finished.at,
            node="a",
            delta={"notes": ["a x"]},
            attempt=1,
            started_at=finished.started_at,
            by=finished.by,
            usage=Usage(),
        )
        assert finished.by in executors(rt)
        assert ended == ThreadFinished(
            thread_id=thread.id, seq=3, at=finished.at, turn=1, status=ThreadState.COMPLETED, usage=Usage(), error=None
        )


async def test_they_come_as_it_happens_and_a_slow_node_is_announced() -> None:
    gates = {"b": Gate()}
    async with runtime() as rt:
        await rt.deploy(chain("a", "b", gates=gates))
        thread = await (await rt.session("chain")).submit({})
        seen: list[Event] = []
        async with asyncio.timeout(10):
            async for event in thread.events():
                seen.append(event)
                if isinstance(event, NodeStarted):
                    await gates["b"].open()

        assert [brief(event) for event in seen] == [
            ("TurnStarted", "0", 1),
            ("NodeFinished", "0", 2, "a"),
            ("NodeStarted", "0", 3, "b"),
            ("NodeFinished", "0", 3, "b"),
            ("ThreadFinished", "0", 4),
        ]


async def test_events_after_a_seq_and_of_a_later_turn() -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a", "b"))
        session = await rt.session("chain")
        first = await session.submit({"text": "1"})
        second = await session.submit({"text": "2"})
        await second.result()
        whole = [("TurnStarted", 1), ("NodeFinished", 2), ("NodeFinished", 3), ("ThreadFinished", 4)]
        later = [(name, seq + 4) for name, seq in whole]

        async def seen(thread: Any, **options: Any) -> list[tuple[str, int]]:
            return [brief(event)[::2][:2] async for event in thread.events(**options)]

        assert await seen(first) == whole
        assert await seen(first, after=2) == whole[2:]
        assert await seen(second) == whole + later
        assert await seen(second, after=3) == [whole[3], *later]
        assert await seen(second, after=6) == later[2:]
        assert await seen(await rt.thread(session.thread), after=4) == later


async def test_tokens_come_before_the_step_they_belong_to() -> None:
    g = Graph("talk", state=Log)
    g.llm("ask", prompt="tell me more", into="text")
    g.edge(START, "ask")
    g.edge("ask", END)
    async with runtime(models=SCRIPTED) as rt:
        await rt.deploy(g)
        thread = await (await rt.session("talk")).submit({})

        events = [event async for event in thread.events()]

        assert "".join(event.text for event in events if isinstance(event, Token)) == "scripted: tell me more"
        assert [name for name, *_ in map(brief, events)] == [
            "TurnStarted",
            "NodeStarted",
            *["Token"] * 4,
            "NodeFinished",
            "ThreadFinished",
        ]
        assert {event.seq for event in events[1:-1]} == {2}
        tokens = Usage(prompt_tokens=3, completion_tokens=4, calls=1)
        assert (events[-2].usage, events[-1].usage) == (tokens, tokens)


def tree() -> Graph:
    """A fork of two, one of which maps two numbers."""
    g = Graph("tree", state=Log)
    for name in ("split", "a", "join"):
        g.node(noting(name), name=name)
    g.node(lambda number: number + 1, name="body")
    g.map("each", over="numbers", node="body", into="numbers")
    g.edge(START, "split")
    g.edge("split", "a")
    g.edge("split", "each")
    g.edge("a", "join")
    g.edge("each", "join")
    g.edge("join", END)
    return g


async def test_events_of_all_threads_below_come_before_the_join() -> None:
    async with runtime() as rt:
        await rt.deploy(tree())
        session = await rt.session("tree")
        thread = await session.submit({"numbers": [1, 2]})

        live = [
            brief(event)
            async for event in thread.events(children=True)
            if not isinstance(event, NodeStarted)  # announced if a node takes its time
        ]
        again = [brief(event) async for event in thread.events(children=True)]
        alone = [brief(event) async for event in thread.events()]

        def of(path: str, events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
            return [event for event in events if event[1] == path]

        for events in (live, again):
            assert of("0", events) == alone
            for path in ("0.2.1.1.0", "0.2.1.1.1"):
                assert of(path, events) == [
                    ("TurnStarted", path, 1),
                    ("NodeFinished", path, 2, "body"),
                    ("ThreadFinished", path, 3),
                ]
                assert events.index(("ThreadFinished", path, 3)) < events.index(("BranchesJoined", "0.2.1", 2, "each"))
            assert events.index(("ThreadFinished", "0.2.1", 3)) < events.index(("BranchesJoined", "0", 3, "split"))
            assert len(events) == 6 + 3 + 4 + 2 * 3
        assert [name for name, *_ in alone] == [
            "TurnStarted",
            "NodeFinished",
            "BranchesStarted",
            "BranchesJoined",
            "NodeFinished",
            "ThreadFinished",
        ]


async def test_a_fork_says_which_threads_it_starts_and_what_they_brought() -> None:
    async with runtime() as rt:
        await rt.deploy(tree())
        session = await rt.session("tree")
        thread = await session.submit({"numbers": [1]})

        events = [event async for event in thread.events()]

        (started,) = [event for event in events if isinstance(event, BranchesStarted)]
        (done,) = [event for event in events if isinstance(event, BranchesJoined)]
        assert (started.node, started.threads) == ("split", (f"{thread.id}.2.0", f"{thread.id}.2.1"))
        assert (done.node, done.delta) == ("split", {"notes": ["a"], "numbers": [2]})


async def test_branches_that_never_began_hold_nothing_up() -> None:
    g = Graph("strict", state=Log)

    def body(number: int) -> int:
        raise ValueError("bad")

    g.node(body, name="body")
    g.map("each", over="numbers", node="body", into="numbers", max_concurrency=1)
    g.edge(START, "each")
    g.edge("each", END)
    async with runtime() as rt:
        await rt.deploy(g)
        thread = await (await rt.session("strict")).submit({"numbers": [1, 2, 3]})

        async with asyncio.timeout(10):
            events = [event async for event in thread.events(children=True)]

        failures = [event for event in events if isinstance(event, NodeFailed)]
        assert [(brief(event), event.error.message) for event in failures] == [
            (("NodeFailed", "0.1.0", 2, "body"), "bad"),
            (("NodeFailed", "0", 2, "each"), "branch 0 of 'each' failed: bad"),
        ]


async def test_two_watchers_see_the_same() -> None:
    gates = {"b": Gate()}
    async with runtime() as rt:
        await rt.deploy(chain("a", "b", "c", gates=gates))
        thread = await (await rt.session("chain")).submit({})
        early = asyncio.create_task(_all(thread.events()))
        await gates["b"].reached()
        late = asyncio.create_task(_all(thread.events(after=1)))
        await asyncio.sleep(0)
        await gates["b"].open()

        first, second = await early, await late

        recorded = [event for event in first if not isinstance(event, NodeStarted)]
        assert [event for event in second if not isinstance(event, NodeStarted)] == recorded[1:]


async def test_a_watcher_may_leave_at_any_time() -> None:
    gates = {"b": Gate()}
    async with runtime() as rt:
        await rt.deploy(chain("a", "b", gates=gates))
        thread = await (await rt.session("chain")).submit({})

        async with aclosing(thread.events(children=True)) as events:
            async for event in events:
                if isinstance(event, NodeFinished):
                    break
        await gates["b"].open()

        assert (await thread.result()).status is ThreadState.COMPLETED


async def test_what_goes_wrong_in_watching_reaches_the_watcher_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with runtime() as rt:
        await rt.deploy(chain("a"))
        thread = await (await rt.session("chain")).submit({})
        await thread.result()

        async def broken(ref: str) -> Any:
            raise LookupError("gone")

        monkeypatch.setattr(rt.records, "schema", broken)
        with pytest.raises(LookupError, match="gone"):
            await _all(thread.events())


async def test_a_result_that_takes_too_long_can_be_asked_for_again() -> None:
    gates = {"a": Gate()}
    async with runtime() as rt:
        await rt.deploy(chain("a", gates=gates))
        session = await rt.session("chain")
        thread = await session.submit({})
        await gates["a"].reached()

        with pytest.raises(ResultTimeout) as caught:
            await thread.result(timeout_s=0.01)
        running = asyncio.create_task(session.run({}))
        await until(
            lambda: any(2 in actor._turns._accepted for host in hosts(rt).values() for actor in host._sessions.values())
        )
        running.cancel()
        await asyncio.wait([running])
        await gates["a"].open()

        assert caught.value.fields == {"thread_id": thread.id, "timeout_s": 0.01}
        assert (await thread.result()).status is ThreadState.COMPLETED
        second = await rt.thread(thread.id)
        second.turn = 2
        assert (await second.result(timeout_s=10)).turn == 2, "the turn whose driver went away ran all the same"


async def test_a_result_can_be_asked_for_at_once_though_hosts_are_full() -> None:
    gates = {"a": Gate()}
    async with runtime(hosts={"min": 1, "max": 1, "capacity": 1}) as rt:
        await rt.deploy(chain("a", gates=gates))
        blocking = await (await rt.session("chain")).submit({})
        await gates["a"].reached()
        thread = await (await rt.session("chain")).submit({"text": "x"})

        result = asyncio.create_task(thread.result())
        events = asyncio.create_task(_all(thread.events()))
        await asyncio.sleep(0)
        await gates["a"].open()

        assert (await result).state.notes == ["a x"]
        assert isinstance((await events)[-1], ThreadFinished)
        await blocking.result()


async def _all(events: Any) -> list[Event]:
    async with asyncio.timeout(10):
        return [event async for event in events]
