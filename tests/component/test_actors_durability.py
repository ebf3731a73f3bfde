"""When steps are written: `sync`, `async` and `exit` leave the same journal, whatever dies on the way."""

from __future__ import annotations

import asyncio
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
from graphs.errors import ValidationError
from graphs.journal import EntryKind, JournalEntry
from graphs.workflow.graph import GraphModel
from runtime import END, START, AsyncLocalRuntime, Durability, Graph, append
from tests.component.actors_kit import (
    COMPLETED,
    STARTED,
    Gate,
    executors,
    history,
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
