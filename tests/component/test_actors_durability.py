"""When steps are written: `sync`, `async` and `exit` leave the same journal, whatever dies on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel

from actors.errors import StoreUnavailable
from actors.executors import recorder
from actors.ports import Journal
from actors.thread import ThreadActor
from graphs.errors import ValidationError
from graphs.journal import EntryKind, JournalEntry
from graphs.workflow.graph import GraphModel
from runtime import END, START, AsyncLocalRuntime, Durability, Graph, NodeError, RetryPolicy, ThreadState, append
from tests.component.actors_kit import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    executors,
    failed_step,
    history,
    hosts,
    runtime,
    step,
    until,
    world,
)
from tests.component.forks_kit import fork, noting

MODES = list(Durability)


class Log(BaseModel):
    text: str = ""
    count: int = 0
    notes: Annotated[list[str], append] = []


class Watched:
    """The journal of the executors: it counts their appends, and can be made to lose those of one of them."""

    def __init__(self, journal: Journal) -> None:
        self.appends: list[list[EntryKind]] = []
        """Kinds of the entries of each append."""
        self.dead: set[str] = set()
        """Beginnings of op ids: of executors that have died, or of their segments. What they write is lost."""
        self.lost_count = 0
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def append(self, thread_id: str, epoch: int, entries: Any, *, op_id: str) -> Any:
        if op_id.startswith(tuple(self.dead)):
            self.lost_count += 1
            raise StoreUnavailable("its process is dead", url="")
        await asyncio.sleep(0)
        size = await self._journal.append(thread_id, epoch, entries, op_id=op_id)
        self.appends.append([entry.kind for entry in entries])
        return size


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[tuple[AsyncLocalRuntime, Watched]]:
    """A runtime whose executors, which start when a workflow is deployed, write through a `Watched`."""
    async with runtime(**options) as rt:
        journal = Watched(world(rt).store.journal)
        world(rt).store.journal = journal  # type: ignore[assignment]
        yield rt, journal


async def crash(rt: AsyncLocalRuntime, journal: Watched) -> None:
    """Kill the only executor; it writes nothing any more."""
    (address,) = executors(rt)
    journal.dead.add(f"{address}/")
    await world(rt).kill(address)


def chain(*nodes: Any, name: str = "chain") -> Graph:
    g = Graph(name, state=Log)
    previous: str = START
    for node in nodes:
        g.node(node)
        g.edge(previous, node.__name__)
        previous = node.__name__
    g.edge(previous, END)
    return g


async def first(state: Log) -> dict:
    return {"notes": "first"}


async def second(state: Log) -> dict:
    return {"notes": "second"}


async def third(state: Log) -> dict:
    return {"notes": "third"}


async def broken(state: Log) -> dict:
    raise ValueError("broken")


def loop(rounds: int) -> Graph:
    g = Graph("loop", state=Log, max_steps=1_000)

    @g.node
    async def count(state: Log) -> dict:
        return {"count": state.count + 1, "notes": f"n{state.count + 1}"}

    g.edge(START, "count")
    g.edge("count", "count", when=f"state.count < {rounds}")
    g.edge("count", END, default=True)
    return g


def kinds_in_turn() -> Graph:
    """Function, tool, function, model, function: four times the executor changes."""
    g = Graph("kinds", state=Log)
    g.node(first)
    g.tool("compute", tool="calculator", arguments={"expression": "6 * 7"}, into="notes")
    g.node(second)
    g.llm("answer", prompt="{text}", into="notes")
    g.node(third)
    for source, target in pairwise([START, "first", "compute", "second", "answer", "third", END]):
        g.edge(source, target)
    return g


def forking() -> Graph:
    return fork("fork", {"a": noting("a"), "b": noting("b")})


def mapping() -> Graph:
    g = Graph("map", state=Log)
    g.node(first)

    @g.node
    async def spell(item: str) -> str:
        return item.upper()

    g.map("spell_all", over="notes", node="spell", into="notes")
    g.edge(START, "first")
    g.edge("first", "spell_all")
    g.edge("spell_all", END)
    return g


def caught() -> Graph:
    """A failure that is caught, then a node that runs at most once."""
    g = Graph("caught", state=Log)
    g.node(first)
    g.node(broken)
    g.node(third, at_most_once=True)
    for source, target in pairwise([START, "first", "broken", END]):
        g.edge(source, target)
    g.edge("broken", "third", on_error=True)
    g.edge("third", END)
    return g


WORKFLOWS = {
    "chain": chain(first, second, third),
    "failing": chain(first, broken),
    "loop": loop(300),
    "kinds": kinds_in_turn(),
    "fork": forking(),
    "map": mapping(),
    "caught": caught(),
}


def timeless(entry: JournalEntry) -> JournalEntry:
    """`entry` without what differs from run to run."""
    fork = entry.cursor.fork
    cursor = msgspec.structs.replace(
        entry.cursor,
        durability=Durability.SYNC,
        fork=None if fork is None else msgspec.structs.replace(fork, opened_at=0.0),
    )
    calls = tuple(msgspec.structs.replace(call, started_at=0.0, duration_s=0.0) for call in entry.calls)
    return msgspec.structs.replace(entry, at=0.0, started_at=None, by="", cursor=cursor, calls=calls)


async def journals(rt: AsyncLocalRuntime, session_id: str) -> dict[str, list[JournalEntry]]:
    journal = rt.records.store.journal
    ids = [head.thread.id for head in await journal.threads(session_id)]
    return {thread_id: [timeless(entry) for entry in await journal.read(thread_id)] for thread_id in ids}


@pytest.mark.parametrize("name", WORKFLOWS)
async def test_the_journal_is_the_same_in_every_mode(name: str) -> None:
    found = []
    for mode in MODES:
        async with runtime(models={"default": {"provider": "scripted"}}) as rt:
            await rt.deploy(WORKFLOWS[name])
            session = await rt.session(WORKFLOWS[name].build().id, id="s")
            first_turn = await session.run({}, durability=mode)
            second_turn = await session.run({}, durability=mode)
            found.append((first_turn.state, second_turn.state, second_turn.seq, await journals(rt, "s")))
            entries = await rt.records.store.journal.read(session.thread)
            assert {entry.cursor.durability for entry in entries} == {mode}

    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize(
    ("mode", "appends"),
    [
        (Durability.SYNC, [[EntryKind.STEP_FINISHED]] * 2 + [[EntryKind.STEP_FINISHED, EntryKind.TURN_FINISHED]]),
        (Durability.EXIT, [[EntryKind.STEP_FINISHED] * 3 + [EntryKind.TURN_FINISHED]]),
    ],
)
async def test_how_often_a_chain_is_written(mode: Durability, appends: list[list[EntryKind]]) -> None:
    async with watched() as (rt, journal):
        await rt.deploy(WORKFLOWS["chain"])

        await (await rt.session("chain")).run({}, durability=mode)

        assert journal.appends == appends


async def test_async_steps_run_while_the_journal_writes_those_before() -> None:
    gate = Gate()

    async def held(state: Log) -> dict:
        await gate()
        return {}

    async with watched() as (rt, journal):
        await rt.deploy(chain(first, held))
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability="async"))
        await gate.reached()

        await until(lambda: journal.appends)

        assert await history(rt, session.thread) == [STARTED, step("first")]
        await gate.open()
        await running
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), COMPLETED]


async def test_async_waits_for_a_journal_that_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_BEHIND", 4)
    async with watched() as (rt, journal):
        await rt.deploy(loop(20))

        await (await rt.session("loop")).run({}, durability="async")

        assert [len(append) for append in journal.appends] == [4, 4, 4, 4, 5]


@pytest.mark.parametrize(("limit", "value"), [("MAX_KEPT", 4), ("MAX_KEPT_BYTES", 600)])
async def test_exit_does_not_keep_too_much(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(recorder, limit, value)
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(loop(20))
        session = await rt.session("loop")

        result = await session.run({}, durability="exit")

        assert result.seq == 22
        assert 2 <= len(journal.appends) <= 10
        assert max(map(len, journal.appends)) < 10


async def test_branches_begin_with_what_is_written() -> None:
    gate = Gate()
    g = Graph("fork", state=Log)
    g.node(first)
    g.edge(START, "first")
    for name in ("a", "b"):
        g.node(noting(name, gate), name=name)  # type: ignore[arg-type]
        g.edge("first", name)
        g.edge(name, END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("fork")
        running = asyncio.create_task(session.run({}, durability="exit"))
        await gate.reached(2)

        assert await history(rt, session.thread) == [STARTED, step("first")]
        await gate.open()
        assert (await running).state.notes == ["first", "a", "b"]


async def test_the_workflow_says_how_unless_the_call_does() -> None:
    graph = WORKFLOWS["chain"].build()
    graph = GraphModel.model_validate({**graph.model_dump(), "durability": "exit"})
    async with runtime() as rt:
        await rt.deploy(graph)
        session = await rt.session("chain")
        await session.run({})
        thread = await session.submit({}, durability="async")
        await thread.result()

        entries = await rt.records.store.journal.read(session.thread)

        assert [entry.cursor.durability.value for entry in entries] == ["exit"] * 5 + ["async"] * 5


async def test_a_wrong_mode_is_refused() -> None:
    async with runtime() as rt:
        await rt.deploy(WORKFLOWS["chain"])
        session = await rt.session("chain")

        with pytest.raises(ValidationError, match=r"no durability 'asinc'; did you mean .async"):
            await session.run({}, durability="asinc")


class Held:
    """A chain of three nodes, the second of which waits at a gate; it counts the runs of each."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.runs: Counter[str] = Counter()
        self.attempts: list[int] = []

    def graph(self) -> Graph:
        async def first(state: Log) -> dict:
            self.runs["first"] += 1
            return {"notes": "first"}

        async def held(state: Log, ctx: Any) -> dict:
            self.runs["held"] += 1
            self.attempts.append(ctx.attempt)
            await self.gate()
            return {"notes": "held"}

        async def last(state: Log) -> dict:
            self.runs["last"] += 1
            return {"notes": "last"}

        return chain(first, held, last)


@pytest.mark.parametrize(("mode", "first_runs"), [("sync", 1), ("async", 1), ("exit", 2)])
async def test_what_is_not_written_runs_again_when_an_executor_dies(mode: str, first_runs: int) -> None:
    """The record shows each step once all the same."""
    work = Held()
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability=mode))
        await work.gate.reached()
        if mode == "async":
            await until(lambda: journal.appends)
        await crash(rt, journal)
        await work.gate.reached(2)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert work.runs == {"first": first_runs, "held": 2, "last": 1}
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]


@pytest.mark.parametrize(("mode", "first_runs"), [("sync", 1), ("async", 1), ("exit", 2)])
async def test_what_is_not_written_runs_again_when_a_host_dies(mode: str, first_runs: int) -> None:
    """What its executor writes afterwards is lost here, and refused as a rule; the record shows each step once."""
    work = Held()
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability=mode))
        await work.gate.reached()
        if mode == "async":
            await until(lambda: journal.appends)
        (executor,) = executors(rt)
        journal.dead.add(f"{executor}/0/")
        await world(rt).kill((await rt.records.thread(session.thread)).host)
        await work.gate.reached(2)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert work.runs == {"first": first_runs, "held": 2, "last": 1}
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]


async def test_what_was_kept_for_a_host_that_lost_its_thread_is_refused() -> None:
    """On exit that is all the turn has done: it has run to its end, and runs again from its beginning."""
    work = Held()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability="exit"))
        await work.gate.reached()
        head = await rt.records.thread(session.thread)
        other = next(host for address, host in hosts(rt).items() if address != head.host)

        await ThreadActor.activate(head.thread, other._services, lost=head.host)
        await work.gate.open()
        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert work.runs == {"first": 2, "held": 2, "last": 2}
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]
        assert (await rt.records.thread(session.thread)).fenced == 1


async def test_what_was_kept_by_executors_before_outlives_the_one_that_dies() -> None:
    """Steps of the model before it are kept by the thread: only those of the dead executor run again."""
    work = Held()
    g = Graph("kinds", state=Log)
    g.tool("compute", tool="calculator", arguments={"expression": "6 * 7"}, into="notes")

    @g.node
    async def held(state: Log) -> dict:
        work.runs["held"] += 1
        await work.gate()
        return {"notes": "held"}

    g.edge(START, "compute")
    g.edge("compute", "held")
    g.edge("held", END)
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(g)
        session = await rt.session("kinds")
        running = asyncio.create_task(session.run({}, durability="exit"))
        await work.gate.reached()
        assert await history(rt, session.thread) == [STARTED]
        await crash(rt, journal)
        await work.gate.reached(2)
        await work.gate.open()

        result = await running

        assert result.state.notes == ["42", "held"]
        assert journal.appends == [
            [EntryKind.STEP_FINISHED, EntryKind.STEP_FINISHED, EntryKind.TURN_FINISHED],
        ]
        assert await history(rt, session.thread) == [STARTED, step("compute"), step("held"), COMPLETED]


async def test_a_step_that_takes_every_executor_with_it_is_found_in_every_mode() -> None:
    """After a death steps are written one by one, so that the one at fault is known."""
    victims: list[asyncio.Task[None]] = []
    for mode in MODES:
        async with watched(executors={"function": {"processes": 1}}) as (rt, journal):

            async def poison(state: Log) -> dict:
                victims.append(asyncio.create_task(crash(rt, journal)))
                await asyncio.Event().wait()
                return {}

            await rt.deploy(chain(first, poison, second))
            session = await rt.session("chain")

            result = await session.run({}, durability=mode)
            await asyncio.gather(*victims)

            assert result.status is ThreadState.FAILED
            assert type(result.error) is NodeError
            assert (result.error.node, result.error.code) == ("poison", "ExecutorDied")
            assert await history(rt, session.thread) == [STARTED, step("first"), failed_step("poison"), FAILED]


@pytest.mark.parametrize("mode", MODES)
async def test_an_append_is_lost(mode: Durability) -> None:
    """The segment ends, and the thread goes on from its journal."""
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(loop(100))
        session = await rt.session("loop")
        (address,) = executors(rt)
        journal.dead.add(f"{address}/")
        running = asyncio.create_task(session.run({}, durability=mode))
        await until(lambda: journal.lost_count)
        journal.dead.clear()

        result = await running

        assert result.state.notes == [f"n{number}" for number in range(1, 101)]
        assert await history(rt, session.thread) == [STARTED, *[step("count")] * 100, COMPLETED]


@pytest.mark.parametrize("mode", MODES)
async def test_a_cancelled_turn_records_what_was_done(mode: Durability) -> None:
    work = Held()
    async with runtime() as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        thread = await session.submit({}, durability=mode)
        await work.gate.reached()

        await thread.cancel()

        assert await history(rt, session.thread) == [STARTED, step("first"), CANCELLED]
        assert (await thread.result()).state.notes == ["first"]
        assert (await rt.records.thread(session.thread)).epoch == 1


@pytest.mark.parametrize("mode", MODES)
async def test_cancelled_branches_record_what_was_done(mode: Durability) -> None:
    work = Held()
    g = Graph("fork", state=Log)
    for name in ("a", "b"):
        g.node(noting(name), name=name)  # type: ignore[arg-type]
        g.node(noting(f"{name}2", work.gate), name=f"{name}2")  # type: ignore[arg-type]
        g.edge(START, name)
        g.edge(name, f"{name}2")
        g.edge(f"{name}2", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("fork")
        thread = await session.submit({}, durability=mode)
        await work.gate.reached(2)

        await thread.cancel()

        assert await history(rt, session.thread) == [STARTED, CANCELLED]
        assert await history(rt, f"{session.thread}.1.0") == [STARTED, step("a"), CANCELLED]
        assert await history(rt, f"{session.thread}.1.1") == [STARTED, step("b"), CANCELLED]


@pytest.mark.parametrize("mode", MODES)
async def test_a_turn_is_cancelled_though_its_executor_does_not_answer(
    mode: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node takes no notice; the thread waits for it only so long."""
    monkeypatch.setattr("actors.thread.CUT_OFF_S", 0.05)
    gate, entered = Gate(), asyncio.Event()

    async def unmoved(state: Log) -> dict:
        entered.set()
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await gate()
        return {"notes": "too late"}

    async with runtime() as rt:
        await rt.deploy(chain(first, unmoved))
        session = await rt.session("chain")
        thread = await session.submit({}, durability=mode)
        await entered.wait()

        await thread.cancel()

        assert (await history(rt, session.thread))[-1] == CANCELLED
        assert step("unmoved") not in await history(rt, session.thread)
        await gate.open()


@pytest.mark.parametrize("mode", MODES)
async def test_a_segment_is_ended_after_the_step_it_is_at(mode: Durability) -> None:
    work = Held()
    async with runtime(executors={"function": {"processes": 1}}) as rt:
        await rt.deploy(work.graph())
        session = await rt.session("chain")
        running = asyncio.create_task(session.run({}, durability=mode))
        await work.gate.reached()
        head = await rt.records.thread(session.thread)
        (executor,) = executors(rt).values()

        await hosts(rt)[head.host]._services.executors.end(session.thread, head.epoch)
        await until(lambda: next(iter(executor._running.values())).end)
        await work.gate.open()
        result = await running

        assert result.state.notes == ["first", "held", "last"]
        assert next(executor._segments_count) == 2, "the last step was a segment of its own"
        assert await history(rt, session.thread) == [STARTED, step("first"), step("held"), step("last"), COMPLETED]


async def test_runs_of_a_step_are_counted_across_executors() -> None:
    """All runs in an executor that died count as one: what it had tried before died with it."""
    gate, attempts = Gate(), list[int]()
    g = Graph("retries", state=Log)

    @g.node(retry=RetryPolicy(max_attempts=3, backoff_s=0))
    async def flaky(state: Log, ctx: Any) -> dict:
        attempts.append(ctx.attempt)
        assert ctx.idempotency_key == f"{ctx.thread_id}:2"
        if len(attempts) == 2:
            await gate()
        if len(attempts) < 5:
            raise ConnectionError("the line went dead")
        return {"notes": "done"}

    g.edge(START, "flaky")
    g.edge("flaky", END)
    async with watched(executors={"function": {"processes": 1}}) as (rt, journal):
        await rt.deploy(g)
        session = await rt.session("retries")
        running = asyncio.create_task(session.run({}))
        await gate.reached()
        await crash(rt, journal)

        result = await running

        assert result.state.notes == ["done"]
        assert attempts == [1, 2, 2, 3, 4]
        entries = await rt.records.store.journal.read(session.thread)
        assert [entry.attempt for entry in entries if entry.node == "flaky"] == [4]


@pytest.mark.parametrize("mode", MODES)
async def test_a_pause_stores_what_was_before_it(mode: Durability) -> None:
    """All processes die while it waits: only what comes after the answer runs."""
    runs: Counter[str] = Counter()

    async def before(state: Log) -> dict:
        runs["before"] += 1
        return {"notes": "before"}

    async def after(state: Log) -> dict:
        runs["after"] += 1
        return {"notes": state.text}

    g = Graph("asking", state=Log)
    g.node(before)
    g.human("ask", question="What now?", into="text")
    g.node(after)
    for source, target in pairwise([START, "before", "ask", "after", END]):
        g.edge(source, target)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("asking")
        waiting = await session.run({}, durability=mode)
        stored = await history(rt, session.thread)
        for address in [*executors(rt), *hosts(rt)]:
            await world(rt).kill(address)
        thread = await rt.thread(session.thread)

        await thread.answer("go on")
        result = await thread.result()

        paused = (EntryKind.PAUSED, "ask", "paused")
        assert waiting.status is ThreadState.PAUSED
        assert stored == [STARTED, step("before"), paused]
        assert result.state.notes == ["before", "go on"]
        assert runs == {"before": 1, "after": 1}
        entries = await rt.records.store.journal.read(session.thread)
        assert {entry.cursor.durability for entry in entries} == {mode}
