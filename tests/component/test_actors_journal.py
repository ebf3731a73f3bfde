"""What is recorded of a thread, and that a thread rebuilt from it is the thread that was."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.replay import replay
from actors.thread import ThreadActor
from graphs.errors import NotFoundError
from graphs.journal import START as BEGIN
from graphs.journal import Cursor, EntryKind, JournalEntry
from runtime import END, START, AsyncLocalRuntime, Graph, ThreadState, Usage, add, append
from tests.component.actors_kit import (
    COMPLETED,
    FAILED,
    STARTED,
    Gate,
    executors,
    history,
    hosts,
    joined,
    runtime,
    step,
)

SCRIPTED = {"default": {"provider": "scripted"}}


class Notes(BaseModel):
    text: str = ""
    count: int = 0
    notes: Annotated[list[str], append] = []
    total: Annotated[int, add] = 0


def counting(steps: int, *, max_steps: int = 1_000) -> Graph:
    """A loop of so many steps, each of which leaves a note."""
    g = Graph("counting", state=Notes, max_steps=max_steps)

    @g.node
    async def count(state: Notes) -> dict:
        return {"count": state.count + 1, "notes": f"n{state.count + 1}", "total": 2}

    g.edge(START, "count")
    g.edge("count", "count", when=f"state.count % {steps} != 0")
    g.edge("count", END, default=True)
    return g


def forking() -> Graph:
    g = Graph("forking", state=Notes)

    def note(text: str) -> Any:
        async def node(state: Notes) -> dict:
            return {"notes": text}

        return node

    for name in ("split", "left", "left2", "right", "join"):
        g.node(note(name), name=name)
    g.edge(START, "split")
    g.edge("split", "left")
    g.edge("split", "right")
    g.edge("left", "left2")
    g.edge("left2", "join")
    g.edge("right", "join")
    g.edge("join", END)
    return g


async def entries(rt: AsyncLocalRuntime, thread_id: str) -> list[JournalEntry]:
    return await rt.records.store.journal.read(thread_id)


async def test_every_field_of_the_entries_of_a_chain() -> None:
    g = Graph("chain", state=Notes)

    @g.node
    async def a(state: Notes) -> dict:
        return {"notes": "a"}

    @g.node
    async def b(state: Notes) -> dict:
        raise ValueError("b is broken")

    g.edge(START, "a")
    g.edge("a", "b")
    g.edge("b", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("chain")
        await session.run({"text": "x"})
        schema = await rt.records.schema(session.record.workflow_id)

        found = await entries(rt, session.thread)

        error = found[2].error
        assert error is not None
        assert (error.code, error.message, error.fields) == ("ValueError", "b is broken", {"node": "b"})
        running = Cursor(turn=1, status=ThreadState.RUNNING)
        expected = [
            (EntryKind.TURN_STARTED, None, Cursor(turn=1, status=ThreadState.RUNNING, node="a"), None),
            (EntryKind.STEP_FINISHED, "a", Cursor(turn=1, status=ThreadState.RUNNING, node="b", steps=1), None),
            (EntryKind.STEP_FAILED, "b", Cursor(turn=1, status=running.status, steps=2, error=error), error),
            (EntryKind.TURN_FINISHED, None, Cursor(turn=1, status=ThreadState.FAILED, steps=2, error=error), error),
        ]
        assert [(entry.kind, entry.node, entry.cursor, entry.error) for entry in found] == expected
        assert [entry.seq for entry in found] == [1, 2, 3, 4]
        assert [[schema.decode_delta(delta) for delta in entry.deltas] for entry in found] == [
            [{"text": "x"}],
            [{"notes": ["a"]}],
            [],
            [],
        ]
        assert found[0].by in hosts(rt)
        assert {entry.by for entry in found[1:]} <= set(executors(rt))
        assert found[1].started_at is not None
        assert found[0].at <= found[1].started_at <= found[1].at
        assert {entry.attempt for entry in found} == {1}


async def test_the_journals_of_a_fork_and_its_branches() -> None:
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")

        result = await session.run({})

        main = session.thread
        assert result.state.notes == ["split", "left", "left2", "right", "join"]
        assert {head.thread.id: await history(rt, head.thread.id) for head in await session.threads()} == {
            main: [STARTED, step("split"), joined("split"), step("join"), COMPLETED],
            f"{main}.2.0": [STARTED, step("left"), step("left2"), COMPLETED],
            f"{main}.2.1": [STARTED, step("right"), COMPLETED],
        }
        parent, *branches = [head.thread for head in await session.threads()]
        assert [(branch.base, branch.metadata.name) for branch in branches] == [
            ((main, 2), "left"),
            ((main, 2), "right"),
        ]
        assert {branch.metadata.parent_thread_id for branch in branches} == {parent.id}


async def test_the_end_of_a_turn_travels_with_its_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async with runtime() as rt:
        await rt.deploy(counting(3))
        session = await rt.session("counting")
        journal = rt.records.store.journal
        appends: list[list[EntryKind]] = []
        append_entries = type(journal).append

        async def noted(self: Any, thread_id: str, epoch: int, new: list[JournalEntry], **options: Any) -> Any:
            appends.append([entry.kind for entry in new])
            return await append_entries(self, thread_id, epoch, new, **options)

        monkeypatch.setattr(type(journal), "append", noted)
        await session.run({})

        assert appends == [
            [EntryKind.TURN_STARTED],
            [EntryKind.STEP_FINISHED],
            [EntryKind.STEP_FINISHED],
            [EntryKind.STEP_FINISHED, EntryKind.TURN_FINISHED],
        ]


async def test_a_snapshot_every_64_entries() -> None:
    async with runtime() as rt:
        await rt.deploy(counting(70))
        session = await rt.session("counting")
        journal = rt.records.store.journal
        seqs = []
        for _ in range(2):
            await session.run({})
            snapshot = await journal.snapshot(session.thread)
            assert snapshot is not None
            seqs.append((snapshot.seq, snapshot.cursor.turn, snapshot.cursor.steps))
        longer = counting(100)
        longer.version = "2.0.0"
        await rt.deploy(longer)
        other = await rt.session("counting")
        thread = await other.submit({})
        kept = set()
        async for _ in thread.events():
            snapshot = await journal.snapshot(other.thread)
            kept.add(None if snapshot is None else snapshot.seq)

        assert seqs == [(64, 1, 63), (128, 2, 55)]
        assert kept <= {None, 64}
        assert (await journal.snapshot(other.thread)).seq == 64


async def test_the_state_at_every_seq_is_that_of_the_steps_until_then() -> None:
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        await session.run({"text": "one"})
        await session.run({"text": "two", "total": 5})
        thread = await rt.thread(session.thread)
        schema = await rt.records.schema(session.record.workflow_id)
        state = schema.initial()
        expected = [state]
        for entry in await entries(rt, session.thread):
            for delta in entry.deltas:
                state = schema.apply(state, schema.decode_delta(delta))
            expected.append(state)

        found = [await thread.state(at=seq) for seq in range(len(expected))]

        assert found == expected
        assert expected[-1]["notes"] == ["split", "left", "left2", "right", "join"] * 2
        assert await thread.state() == expected[-1]
        with pytest.raises(NotFoundError, match="has no seq 99"):
            await thread.state(at=99)


async def test_a_branch_has_the_state_of_its_parent_and_what_it_wrote() -> None:
    async with runtime() as rt:
        await rt.deploy(forking())
        session = await rt.session("forking")
        await session.run({"text": "x"})
        branch = await rt.thread(f"{session.thread}.2.0")

        notes = [(await branch.state(at=seq)).notes for seq in range(5)]

        assert notes == [["split"], ["split"], ["split", "left"], *[["split", "left", "left2"]] * 2]


async def test_a_thread_that_is_loaded_again_is_the_one_that_was() -> None:
    g = Graph("tokens", state=Notes)
    g.llm("ask", prompt="say {text}", into="notes")

    @g.node
    async def fail(state: Notes) -> dict:
        raise ValueError("no")

    g.edge(START, "ask")
    g.edge("ask", "fail", when="state.text == 'bad'")
    g.edge("ask", END, default=True)
    g.edge("fail", END)
    async with runtime(models=SCRIPTED) as rt:
        await rt.deploy(g, counting(100), forking())
        for workflow, inputs in (
            ("tokens", [{"text": "a"}, {"text": "bad"}, {"text": "c d"}]),
            ("counting", [{}, {"text": "again"}]),
            ("forking", [{}, {}]),
        ):
            session = await rt.session(workflow)
            for content in inputs:
                result = await session.run(content)
                host = next(iter(hosts(rt).values()))
                (head, *_) = await session.threads()
                loaded = await ThreadActor.activate(head.thread, host._services)

                assert loaded.seq == result.seq
                assert loaded.state == result.state
                assert loaded.usage == result.usage
                assert (loaded.cursor.turn, loaded.cursor.status) == (result.turn, result.status)


async def test_tokens_before_a_snapshot_within_the_turn_count() -> None:
    """A snapshot in the middle of a turn keeps what the turn has used until then."""
    gate = Gate()
    g = Graph("chatty", state=Notes, max_steps=200)
    g.llm("ask", prompt="hi", into="text")

    @g.node
    async def count(state: Notes) -> dict:
        if state.count == 70:
            await gate()
        return {"count": state.count + 1}

    g.edge(START, "ask")
    g.edge("ask", "count")
    g.edge("count", "count", when="state.count < 80")
    g.edge("count", END, default=True)
    async with runtime(models=SCRIPTED) as rt:
        await rt.deploy(g)
        session = await rt.session("chatty")
        thread = await session.submit({})
        await gate.reached()
        (head,) = await session.threads()
        journal = rt.records.store.journal

        snapshot = await journal.snapshot(session.thread)
        middle = await replay(journal, head.thread, rt.records.schema)
        await gate.open()
        result = await thread.result()

        tokens = Usage(prompt_tokens=1, completion_tokens=2, calls=1)
        assert snapshot is not None
        assert (snapshot.seq, snapshot.usage) == (64, tokens)
        assert (middle.seq, middle.usage) == (72, tokens)
        assert result.usage == tokens


async def test_a_run_past_its_limit_is_in_the_journal() -> None:
    async with runtime() as rt:
        await rt.deploy(counting(10, max_steps=3))
        session = await rt.session("counting")

        await session.run({})

        assert await history(rt, session.thread) == [STARTED, *[step("count")] * 3, FAILED]
        (head,) = await session.threads()
        assert head.cursor.error is not None
        assert head.cursor.error.code == "StepLimitExceeded"
        assert head.cursor.node is None
        assert BEGIN not in {entry.node for entry in await entries(rt, session.thread)}
