"""Naming points of threads and sessions, and going back to them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import (
    END,
    START,
    AsyncLocalRuntime,
    BusinessRuleViolation,
    Graph,
    LocalRuntime,
    NotFoundError,
    StateInvalid,
    append,
)
from tests.component.actors_kit import Gate, runtime
from tests.component.forks_kit import fork, noting


class Notes(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


def noter(gate: Gate | None = None) -> Graph:
    """One node that notes the text; it fails for `bad`."""
    g = Graph("noter", state=Notes)

    @g.node
    async def note(state: Notes) -> dict[str, Any]:
        if gate is not None:
            await gate()
        if state.text == "bad":
            raise ValueError("bad")
        return {"notes": [state.text]}

    g.edge(START, "note")
    g.edge("note", END)
    return g


def asker() -> Graph:
    """It notes, asks a person, and notes again."""
    g = Graph("asker", state=Notes)
    g.node(noting("before"), name="before")
    g.human("ask", question="What about {text}?", into="notes", answer=str)
    g.node(noting("after"), name="after")
    g.edge(START, "before")
    g.edge("before", "ask")
    g.edge("ask", "after")
    g.edge("after", END)
    return g


async def kinds(rt: AsyncLocalRuntime, thread_id: str, after: int) -> list[tuple[EntryKind, int, str]]:
    entries = await rt.records.store.journal.read(thread_id, after=after)
    return [(entry.kind, entry.cursor.turn, entry.cursor.status.value) for entry in entries]


async def test_a_named_snapshot_is_found_again_and_restored() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        await session.run({"text": "one"})
        thread = await rt.thread(session.thread)

        made = await thread.snapshot(name="before", description="All was well.", tags=["keep"])
        await session.run({"text": "two"})
        await thread.restore(made.id)
        third = await session.run({"text": "three"})

        assert (made.state_id, made.seq, made.checkpoint_type, made.threads) == (session.thread, 3, "named", {})
        assert (made.metadata.name, made.metadata.tags) == ("before", ("keep",))
        assert 50 < made.metadata.size_bytes < 1_000
        assert await session.snapshots() == [made]
        assert (third.turn, third.state.notes) == (3, ["one", "three"])
        assert await kinds(rt, session.thread, 6) == [
            (EntryKind.RESTORED, 2, "completed"),
            (EntryKind.TURN_STARTED, 3, "running"),
            (EntryKind.STEP_FINISHED, 3, "running"),
            (EntryKind.TURN_FINISHED, 3, "completed"),
        ]


async def test_how_a_turn_ended_stays_what_it_was() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        first, second = [await session.submit({"text": text}) for text in ("one", "two")]
        before = await second.result()

        await second.restore(3)

        assert await second.result() == before
        assert (await first.result()).state.notes == ["one"]
        assert (await second.state()).notes == ["one"]
        await session.run({"text": "three"})
        assert await second.result() == before


async def test_a_thread_has_points_to_go_back_to_without_names_too() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        await session.run({"text": "one"})
        await session.run({"text": "bad"})
        thread = await rt.thread(session.thread)
        named = await thread.snapshot(name="broken")

        points = await thread.snapshots()

        assert [(point.seq, point.checkpoint_type, point.id) for point in points] == [
            (3, "automatic", f"{thread.id}@3"),
            (6, "on_failure", f"{thread.id}@6"),
            (6, "named", named.id),
        ]
        await thread.restore(points[0])
        await thread.restore(points[0].id)  # twice is once
        assert (await thread.state()).text == "one"
        assert await kinds(rt, thread.id, 6) == [(EntryKind.RESTORED, 2, "completed")]


async def test_restoring_again_and_again_leads_where_it_says() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        for text in ("one", "two"):
            await session.run({"text": text})
        thread = await rt.thread(session.thread)
        wanted = {seq: await thread.state(at=seq) for seq in (3, 6)}

        for at in (3, 6, 7, 8, 9):  # 7 restores 3, 8 restores 6, 9 restores 7, ...
            await thread.restore(at)

        wanted |= {7: wanted[3], 8: wanted[6], 9: wanted[3], 10: wanted[6], 11: wanted[3]}
        assert {seq: await thread.state(at=seq) for seq in wanted} == wanted
        assert await thread.state() == wanted[3]


async def test_a_running_thread_is_not_restored() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(noter(gate))
        session = await rt.session("noter")
        thread = await session.submit({"text": "one"})
        await gate.reached()
        made = await session.snapshot()

        with pytest.raises(BusinessRuleViolation, match="is running; wait for its result"):
            await thread.restore(1)
        await session.restore(made)  # it is where it was

        await gate.open()
        await thread.result()
        await thread.restore(1)
        assert (await thread.state()) == {"text": "one", "notes": []}
        assert await thread.status() == "completed"


async def test_what_cannot_be_restored_is_refused() -> None:
    async with runtime() as rt:
        await rt.deploy(noter(), fork("forked", {"a": noting("a"), "b": noting("b")}))
        session, other = await rt.session("noter"), await rt.session("forked")
        await session.run({"text": "one"})
        await other.run({})
        thread, child = await rt.thread(session.thread), await rt.thread(f"{other.thread}.1.0")
        ended = await thread.snapshot(expires_s=-1)

        for what, message in (
            (9, "has no seq 9; its last is 3"),
            ("nothing", "snapshot 'nothing' of session .* is not there"),
            (ended.id, "has expired"),
        ):
            with pytest.raises(NotFoundError, match=message):
                await thread.restore(what)
        with pytest.raises(BusinessRuleViolation, match="is of another session"):
            await thread.restore(f"{other.thread}@1")
        with pytest.raises(BusinessRuleViolation, match="is run by a thread above it"):
            await child.restore(1)
        with pytest.raises(NotFoundError, match="has run no turn yet"):
            await (await rt.session("noter")).snapshot()
        assert await session.snapshots() == []


async def test_a_session_goes_back_with_all_its_threads() -> None:
    async with runtime() as rt:
        await rt.deploy(fork("forked", {"a": noting("a"), "b": noting("b")}))
        session = await rt.session("forked")
        await session.run({})
        main = await rt.thread(session.thread)
        alt = await main.branch(at=1, update={"notes": "alt"})
        await alt.result()

        made = await session.snapshot(name="all")
        before = {thread.id: await thread.state() for thread in (main, alt)}
        await session.run({})
        deeper = await alt.branch(at=1, update={"notes": "deeper"})
        await deeper.result()
        await deeper.promote()
        await session.restore(made.id)
        await session.restore(made)

        heads = await session.threads()
        assert made.threads == {head.thread.id: head.seq for head in heads if head.thread.id in made.threads} | {
            main.id: 4,
            alt.id: 4,
        }
        assert len(made.threads) == 6
        assert {thread.id: await thread.state() for thread in (main, alt)} == before
        assert (await deeper.state()).notes == ["alt", "deeper", "a", "b", "join"]
        assert (await rt.thread(f"{main.id}.1.0")).id in made.threads
        points = await (await rt.thread(f"{main.id}.1.0")).snapshots()
        assert [(point.seq, point.checkpoint_type) for point in points] == [(3, "automatic"), (3, "named")]


async def test_a_question_is_asked_again_where_it_was_asked() -> None:
    async with runtime() as rt:
        await rt.deploy(asker())
        session = await rt.session("asker")
        thread = await session.submit({"text": "tea"})
        asked = await thread.result()
        (point,) = await thread.snapshots()
        await thread.answer("yes")
        first = await thread.result()

        await thread.restore(point)
        again = await thread.result()
        await thread.answer("no")
        second = await thread.result()

        assert (point.checkpoint_type, asked.status, again.status) == ("before_interrupt", "paused", "paused")
        assert again.pause == asked.pause
        assert (first.state.notes, second.state.notes) == (["before", "yes", "after"], ["before", "no", "after"])
        assert (first.turn, second.turn) == (1, 1)


async def test_a_paused_thread_that_is_restored_takes_its_next_turn() -> None:
    async with runtime() as rt:
        await rt.deploy(asker())
        session = await rt.session("asker")
        thread = await session.submit({"text": "tea"})
        await thread.result()
        waiting = await session.submit({"text": "coffee"})

        await thread.restore(1)
        result = await waiting.result()

        assert (result.turn, result.status, result.state.notes) == (2, "paused", ["before"])
        assert (await thread.result()).status == "completed"
        await waiting.cancel()


async def test_a_branch_of_a_thread_that_asks_asks_too() -> None:
    async with runtime() as rt:
        await rt.deploy(asker())
        session = await rt.session("asker")
        thread = await session.submit({"text": "tea"})
        await thread.result()

        alt = await thread.branch(update={"text": "coffee"})
        asked = await alt.result()
        await alt.answer("black")
        result = await alt.result()
        await thread.answer("green")
        answered = await thread.branch(at=4, update={"notes": "more"})

        assert (asked.status, asked.pause.question if asked.pause else "") == ("paused", "What about coffee?")
        assert result.state.notes == ["before", "black", "after"]
        assert (await thread.result()).state.notes == ["before", "green", "after"]
        assert (await answered.result()).state.notes == ["before", "green", "more", "after"]


async def test_turns_are_queued_in_order_and_all_or_none() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")

        with pytest.raises(StateInvalid):
            await session.submit_all([{"text": "one"}, {"txt": "two"}])
        threads = await session.submit_all({"text": text} for text in ("one", "two", "three"))
        results = await asyncio.gather(*(thread.result() for thread in threads))

        assert [(result.turn, result.state.notes) for result in results] == [
            (1, ["one"]),
            (2, ["one", "two"]),
            (3, ["one", "two", "three"]),
        ]


def test_the_blocking_face_names_lists_and_restores() -> None:
    with LocalRuntime() as rt:
        rt.deploy(noter())
        session = rt.session("noter")
        session.run({"text": "one"})
        thread = rt.thread(f"{session.id}:0")
        made, whole = thread.snapshot(name="one"), session.snapshot(name="all")
        handles = session.submit_all([{"text": "two"}, {"text": "three"}])
        assert handles[1].result().state.notes == ["one", "two", "three"]

        thread.restore(made)
        assert thread.state().notes == ["one"]
        session.restore(whole)

        assert thread.state().notes == ["one"]
        assert session.snapshots() == [made, whole]
        assert [point.checkpoint_type for point in thread.snapshots()][:1] == ["automatic"]
