"""States that somebody updates between turns: recorded with who it was, and what the next turn begins with."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import (
    END,
    START,
    BusinessRuleViolation,
    Graph,
    HistoryOperation,
    LocalRuntime,
    NotFoundError,
    Restored,
    StateChange,
    StateInvalid,
    append,
)
from runtime.states import StateBuilderService
from tests.component.actors_kit import Gate, runtime


class Notes(BaseModel):
    text: str = ""
    notes: Annotated[list[str], append] = []


def noter(gate: Gate | None = None) -> Graph:
    g = Graph("noter", state=Notes)

    @g.node
    async def note(state: Notes) -> dict[str, Any]:
        if gate is not None:
            await gate()
        return {"notes": state.text}

    g.edge(START, "note")
    g.edge("note", END)
    return g


def asking() -> Graph:
    g = Graph("asking", state=Notes)
    g.human("ask", question="What?", answer=str, into="text")
    g.edge(START, "ask")
    g.edge("ask", END)
    return g


async def test_an_update_is_recorded_with_who_made_it_and_the_next_turn_begins_with_it() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter", user_id="ada")
        first = await session.run({"text": "one"})
        thread = await rt.thread(session.thread)

        await thread.update({"text": "mended", "notes": "by hand"}, user_id="eve")
        await thread.update({"text": "again"})

        assert await thread.state() == {"text": "again", "notes": ["one", "by hand"]}
        assert await thread.state(at=4) == {"text": "mended", "notes": ["one", "by hand"]}
        assert await thread.state(at=3) == first.state
        assert await thread.result() == first, "how a turn ended stays what it was"
        by_eve, by_ada = await thread.history(after=3)
        assert (by_eve.operation, by_eve.user_id, by_eve.node) == (HistoryOperation.UPDATE, "eve", None)
        assert by_eve.changes == (
            StateChange(field_path="text", old_value="one", new_value="mended"),
            StateChange(field_path="notes[1]", new_value="by hand", operation=HistoryOperation.CREATE),
        )
        assert (by_ada.operation, by_ada.user_id, by_ada.seq) == (HistoryOperation.UPDATE, "ada", 5)
        second = await session.run({"text": "two"})
        assert (second.turn, second.state.notes) == (2, ["one", "by hand", "two"])


async def test_the_same_update_twice_is_two_updates_and_a_restore_takes_both_back() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        await session.run({"text": "one"})
        thread = await rt.thread(session.thread)

        for _ in range(2):
            await thread.update({"notes": "more"})
        assert (await thread.state()).notes == ["one", "more", "more"]
        branch = await thread.branch(at=4, update={"notes": "elsewhere"})
        assert (await branch.result()).state.notes == ["one", "more", "elsewhere"]
        await thread.restore(3)

        assert (await thread.state()).notes == ["one"]
        journal = await rt.records.store.journal.read(thread.id, after=3)
        assert [(entry.kind, entry.origin, len(entry.deltas)) for entry in journal] == [
            (EntryKind.RESTORED, (thread.id, 3), 1),
            (EntryKind.RESTORED, (thread.id, 4), 1),
            (EntryKind.RESTORED, (thread.id, 3), 0),
        ]


async def test_watchers_see_what_was_written() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        await session.run({"text": "one"})
        thread = await rt.thread(session.thread)

        await thread.update({"notes": "more"})
        (event,) = [event async for event in thread.events(after=3)]

        assert isinstance(event, Restored)
        assert (event.delta, event.origin, event.turn, event.status) == (
            {"notes": ["more"]},
            (thread.id, 3),
            1,
            "completed",
        )


async def test_what_a_turn_would_begin_with_is_told_without_running_it() -> None:
    async with runtime() as rt:
        await rt.deploy(noter())
        session = await rt.session("noter")
        states = StateBuilderService(rt.records)

        assert await states.build_workflow_state("noter", {"text": "x"}) == {"text": "x", "notes": []}
        assert await states.build_session_state(session.id) == {"text": "", "notes": []}
        await session.run({"text": "one"})
        built = await states.build_session_state(session.id, {"notes": "two"})

        assert built == {"text": "one", "notes": ["one", "two"]}
        assert await (await rt.thread(session.thread)).state() == {"text": "one", "notes": ["one"]}
        with pytest.raises(NotFoundError, match="nobody"):
            await states.build_session_state("nobody")
        with pytest.raises(StateInvalid, match="txt"):
            await states.build_workflow_state("noter", {"txt": "x"})


async def test_what_cannot_be_updated_is_refused() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(noter(gate), asking())
        session = await rt.session("noter")
        with pytest.raises(NotFoundError, match="no thread"):
            await (await rt.thread(session.thread)).update({"text": "x"})
        thread = await session.submit({"text": "one"})
        await gate.reached()
        with pytest.raises(BusinessRuleViolation, match="is running; wait for its result"):
            await thread.update({"text": "x"})
        await gate.open()
        await thread.result()
        with pytest.raises(StateInvalid) as caught:
            await thread.update({"txt": "x", "text": 1})
        assert len(caught.value.problems) == 2

        paused = await (await rt.session("asking")).submit({})
        await paused.result()
        with pytest.raises(BusinessRuleViolation, match="is paused; update it when its turn is over"):
            await paused.update({"text": "x"})

        assert (await thread.state(), (await paused.state()).text) == ({"text": "one", "notes": ["one"]}, "")


def test_a_thread_is_updated_from_the_blocking_driver() -> None:
    with LocalRuntime() as rt:
        rt.deploy(noter())
        session = rt.session("noter")
        thread = session.submit({"text": "one"})
        thread.result()

        thread.update({"text": "two"}, user_id="eve")

        assert (thread.state().text, thread.history()[-1].user_id) == ("two", "eve")
