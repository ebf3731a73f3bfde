"""What-if branches: from any seq, with an update, run, compared and promoted."""

from __future__ import annotations

import random
import string
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import (
    END,
    START,
    AsyncLocalRuntime,
    Branched,
    BusinessRuleViolation,
    Graph,
    LocalRuntime,
    NotFoundError,
    ResultTimeout,
    StateInvalid,
    add,
    append,
)
from runtime.handles import AsyncThread
from tests.component.actors_kit import Gate, history, hosts, runtime, tree, world
from tests.component.forks_kit import fork, noting

BRANCHED = (EntryKind.BRANCHED, None, "running")


class Ticket(BaseModel):
    text: str = ""
    kind: str = ""
    notes: Annotated[list[str], append] = []
    total: Annotated[int, add] = 0


class Numbers(BaseModel):
    numbers: list[int] = []
    doubled: list[int] = []


def triage(**gates: Gate) -> Graph:
    """`classify`, then `compute` or `chat`, then `close`."""
    g = Graph("triage", state=Ticket)

    @g.node
    async def classify(state: Ticket) -> dict[str, Any]:
        return {"kind": "math" if state.text.isdigit() else "chat", "total": 1}

    @g.node
    async def compute(state: Ticket) -> dict[str, Any]:
        if "compute" in gates:
            await gates["compute"]()
        return {"notes": [f"computed {state.text}"], "total": 10}

    @g.node
    async def chat(state: Ticket) -> dict[str, Any]:
        if "chat" in gates:
            await gates["chat"]()
        return {"notes": [f"chatted about {state.text}"], "total": 100}

    @g.node
    async def close(state: Ticket) -> dict[str, Any]:
        return {"notes": ["closed"]}

    g.edge(START, "classify")
    g.edge("classify", "compute", when="state.kind == 'math'")
    g.edge("classify", "chat", default=True)
    g.edge("compute", "close")
    g.edge("chat", "close")
    g.edge("close", END)
    return g


async def done(rt: AsyncLocalRuntime, text: str = "42") -> AsyncThread:
    session = await rt.session("triage", user_id="ada")
    thread = await session.submit({"text": text})
    await thread.result(timeout_s=10)
    return thread


async def test_a_branch_with_an_update_chooses_its_way_anew() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)

        alt = await thread.branch(at=2, update={"kind": "chat"}, name="what if it were chat")
        result = await alt.result(timeout_s=10)

        assert (result.thread_id, result.turn, result.status) == (alt.id, 1, "completed")
        assert result.state == {"text": "42", "kind": "chat", "notes": ["chatted about 42", "closed"], "total": 101}
        assert await thread.state() == {"text": "42", "kind": "math", "notes": ["computed 42", "closed"], "total": 11}
        assert await history(rt, alt.id) == [
            BRANCHED,
            (EntryKind.STEP_FINISHED, "chat", "running"),
            (EntryKind.STEP_FINISHED, "close", "running"),
            (EntryKind.TURN_FINISHED, None, "completed"),
        ]
        head = await rt.records.thread(alt.id)
        assert (head.thread.base, head.thread.thread_type) == ((thread.id, 2), "branch")
        assert (head.thread.metadata.name, head.thread.metadata.parent_thread_id) == ("what if it were chat", thread.id)
        assert [await alt.state(at=seq) for seq in (1, 4)] == [
            {"text": "42", "kind": "chat", "notes": [], "total": 1},
            result.state,
        ]


async def test_a_branch_without_an_update_goes_on_as_its_base_did() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)

        results = [await (await thread.branch(at=seq)).result(timeout_s=10) for seq in (1, 2, 3, 4, 5)]

        assert [result.state for result in results] == [await thread.state()] * 5
        assert [result.seq for result in results] == [5, 4, 3, 2, 1]


async def test_a_branch_of_a_branch_that_has_just_begun_chooses_anew_too() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)

        first = await thread.branch(at=2, update={"kind": "chat"})
        await first.result(timeout_s=10)
        second = await first.branch(at=1, update={"kind": "math", "notes": "back"})
        third = await second.branch(at=2)

        wanted = {"text": "42", "kind": "math", "notes": ["back", "computed 42", "closed"], "total": 11}
        assert (await second.result(timeout_s=10)).state == wanted
        assert (await third.result(timeout_s=10)).state == wanted


async def test_a_running_thread_is_branched_where_it_is() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(triage(compute=gate))
        session = await rt.session("triage")
        thread = await session.submit({"text": "42"})
        await gate.reached()

        alt = await thread.branch(update={"kind": "chat"})

        assert (await alt.result(timeout_s=10)).state.notes == ["chatted about 42", "closed"]
        assert await thread.status() == "running"
        with pytest.raises(BusinessRuleViolation, match="is running; wait for its result"):
            await alt.promote()
        await gate.open()
        assert (await thread.result(timeout_s=10)).state.notes == ["computed 42", "closed"]


async def test_what_cannot_be_branched_is_refused_and_leaves_nothing() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)

        for at in (0, 6, -1):
            with pytest.raises(NotFoundError, match=f"{thread.id} has no seq {at}; its last is 5"):
                await thread.branch(at=at)
        with pytest.raises(StateInvalid) as caught:
            await thread.branch(at=2, update={"kynd": "chat", "total": "many"})
        assert len(caught.value.problems) == 2
        with pytest.raises(NotFoundError, match="no thread"):
            await rt.thread("nobody:0~1-ab")
        assert await tree(rt, thread.id.partition(":")[0]) == {"0": "completed"}


async def test_a_promoted_branch_is_what_the_next_turn_begins_with() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)
        session = await rt.session(id=thread.id.partition(":")[0])
        alt = await thread.branch(at=2, update={"kind": "chat"})
        await alt.result(timeout_s=10)

        await alt.promote()
        await alt.promote()

        assert await thread.state() == await alt.state()
        entries = await rt.records.store.journal.read(thread.id, after=5)
        assert [(entry.kind, entry.origin, entry.cursor.turn, entry.cursor.status) for entry in entries] == [
            (EntryKind.RESTORED, (alt.id, 4), 1, "completed")
        ]
        second = await session.run({"text": "7"}, timeout_s=10)
        assert second.turn == 2
        assert second.state.notes == ["chatted about 42", "closed", "computed 7", "closed"]
        assert second.state.total == 112
        assert (await thread.result(timeout_s=10)).state.notes == ["computed 42", "closed"]  # how turn 1 ended


async def test_a_branch_of_a_branch_is_promoted_to_it_and_then_to_the_session() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)
        first = await thread.branch(at=2, update={"kind": "chat"})
        await first.result(timeout_s=10)
        second = await first.branch(at=2, update={"notes": "twice"})
        await second.result(timeout_s=10)

        await second.promote()
        assert await first.state() == await second.state()
        assert (await thread.state()).notes == ["computed 42", "closed"]
        await first.promote()

        assert (await thread.state()).notes == ["chatted about 42", "twice", "closed"]
        with pytest.raises(BusinessRuleViolation, match="is no what-if branch"):
            await thread.promote()


async def test_a_branch_is_cancelled_as_any_thread() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(triage(chat=gate))
        thread = await done(rt)
        alt = await thread.branch(at=2, update={"kind": "chat"})
        await gate.reached()

        with pytest.raises(ResultTimeout):
            await alt.result(timeout_s=0.01)
        with pytest.raises(BusinessRuleViolation, match="is still running"):
            await alt.promote()
        await alt.cancel("enough")

        result = await (await rt.thread(alt.id)).result(timeout_s=10)
        assert (result.status, result.error.code if result.error is None else str(result.error)) == (
            "cancelled",
            "cancelled: enough",
        )
        assert (await thread.state()).notes == ["computed 42", "closed"]


async def test_a_branch_goes_on_where_its_host_left_it() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(triage(chat=gate))
        thread = await done(rt)
        alt = await thread.branch(at=2, update={"kind": "chat"})
        await gate.reached()

        (host,) = [address for address, each in hosts(rt).items() if alt.id in each._sessions]
        await world(rt).kill(host)
        await gate.open()

        result = await alt.result(timeout_s=10)
        assert result.state.notes == ["chatted about 42", "closed"]
        assert await history(rt, alt.id) == [
            BRANCHED,
            (EntryKind.STEP_FINISHED, "chat", "running"),
            (EntryKind.STEP_FINISHED, "close", "running"),
            (EntryKind.TURN_FINISHED, None, "completed"),
        ]


async def test_a_branch_from_within_a_fork_has_a_fork_of_its_own() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(fork("forked", {"a": noting("a"), "b": noting("b", gate)}))
        thread = await (await rt.session("forked")).submit({})
        await gate.reached()

        alt = await thread.branch(at=1, update={"notes": "changed"})
        plain = await thread.branch(at=1)
        await gate.reached(3)
        await gate.open()

        assert (await thread.result(timeout_s=10)).state.notes == ["a", "b", "join"]
        assert (await plain.result(timeout_s=10)).state.notes == ["a", "b", "join"]
        assert (await alt.result(timeout_s=10)).state.notes == ["changed", "a", "b", "join"]
        paths = [thread_id.partition(":")[2] for thread_id in (thread.id, alt.id, plain.id)]
        assert await tree(rt, thread.id.partition(":")[0]) == {
            path: "completed" for base in paths for path in (base, f"{base}.1.0", f"{base}.1.1")
        }


async def test_a_parallel_thread_is_branched_and_promoted_to_the_session() -> None:
    async with runtime() as rt:
        await rt.deploy(fork("forked", {"a": noting("a"), "b": noting("b")}))
        thread = await (await rt.session("forked")).submit({"notes": "begin"})
        await thread.result(timeout_s=10)
        child = await rt.thread(f"{thread.id}.1.1")

        alt = await child.branch(at=1, update={"word": "what if"})

        assert (await alt.result(timeout_s=10)).state.notes == ["begin", "b"], "it ends where its base does"
        await alt.promote()
        state = await thread.state()
        assert (state.notes, state.word) == (["begin", "b"], "what if")


async def test_an_item_of_a_map_is_branched_but_its_state_is_no_session_s() -> None:
    g = Graph("mapped", state=Numbers)

    @g.node
    async def double(item: int) -> int:
        return item * 2

    g.map("each", over="numbers", node="double", into="doubled")
    g.edge(START, "each")
    g.edge("each", END)
    async with runtime() as rt:
        await rt.deploy(g)
        thread = await (await rt.session("mapped")).submit({"numbers": [1, 2]})
        await thread.result(timeout_s=10)
        child = await rt.thread(f"{thread.id}.1.1")

        alt = await child.branch(at=1, update={"item": 21})

        assert (await alt.result(timeout_s=10)).state.result == 42
        with pytest.raises(BusinessRuleViolation, match="cannot take its state"):
            await alt.promote()
        assert [(change.field_path, change.new_value) for change in await child.diff(3, other=alt)] == [
            ("item", 21),
            ("result", 42),
        ]


@pytest.mark.parametrize("size", [100_000, 1_000_000], ids=["inline", "by reference"])
async def test_a_branch_copies_nothing_of_its_base(size: int) -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(triage(chat=gate))
        thread = await done(rt, text="".join(random.choices(string.digits, k=size)))
        before = stored_bytes(rt)

        alt = await thread.branch(at=2, update={"kind": "chat"})
        await gate.reached()

        assert stored_bytes(rt) - before < 2_000
        assert await alt.state() == {**await thread.state(at=2), "kind": "chat"}
        assert [changed(each.changes) for each in await alt.history()] == [[("kind", "math", "chat")]]
        await gate.open()
        await alt.result(timeout_s=10)


async def test_events_of_a_branch_begin_with_where_it_comes_from() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)
        alt = await thread.branch(at=2, update={"kind": "chat"})
        at_rest = await thread.branch()

        seen = [event async for event in alt.events()]
        assert [type(event).__name__ for event in seen] == [
            "Branched",
            "NodeFinished",
            "NodeFinished",
            "ThreadFinished",
        ]
        assert isinstance(seen[0], Branched)
        assert (seen[0].base, seen[0].delta) == ((thread.id, 2), {"kind": "chat"})
        assert [type(event).__name__ async for event in at_rest.events()] == ["Branched"]
        await alt.promote()
        past = await rt.records.past(thread.id, after=5)
        assert [(type(event).__name__, event.seq) for event in past] == [("Restored", 6)]


async def test_history_tells_every_change_with_its_path_and_who_made_it() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)
        alt = await thread.branch(at=2, update={"kind": "chat"})
        await alt.result(timeout_s=10)
        await alt.promote()

        found = await thread.history()

        head = await rt.records.thread(thread.id)
        assert [(each.seq, each.operation, each.node, changed(each.changes)) for each in found] == [
            (
                1,
                "create",
                None,
                [("text", None, "42"), ("kind", None, ""), ("notes", None, []), ("total", None, 0)],
            ),
            (2, "update", "classify", [("kind", "", "math"), ("total", 0, 1)]),
            (3, "update", "compute", [("notes[0]", None, "computed 42"), ("total", 1, 11)]),
            (4, "update", "close", [("notes[1]", None, "closed")]),
            (
                6,
                "restore",
                None,
                [("kind", "math", "chat"), ("notes[0]", "computed 42", "chatted about 42"), ("total", 11, 101)],
            ),
        ]
        assert {(each.state_id, each.user_id, each.id) for each in found} == {
            (thread.id, "ada", f"{thread.id}@{each.seq}") for each in found
        }
        assert found[0].by == head.host
        assert await thread.history(after=3) == found[3:]
        assert await thread.history(after=1, limit=2) == found[1:3]
        assert [(each.seq, each.operation, changed(each.changes)) for each in await alt.history()][:2] == [
            (1, "create", [("kind", "math", "chat")]),
            (2, "update", [("notes[0]", None, "chatted about 42"), ("total", 1, 101)]),
        ]


async def test_states_of_a_thread_and_of_two_are_compared() -> None:
    async with runtime() as rt:
        await rt.deploy(triage())
        thread = await done(rt)
        alt = await thread.branch(at=2, update={"kind": "chat"})
        await alt.result(timeout_s=10)

        assert changed(await thread.diff(2, 3)) == [("notes[0]", None, "computed 42"), ("total", 1, 11)]
        assert changed(await thread.diff(5, other=alt)) == [
            ("kind", "math", "chat"),
            ("notes[0]", "computed 42", "chatted about 42"),
            ("total", 11, 101),
        ]
        assert await thread.diff(2, 1, other=alt.id) == await thread.diff(2, 1, other=alt)
        assert await thread.diff(5) == []
        with pytest.raises(NotFoundError, match="has no seq 9"):
            await thread.diff(9)


def test_the_blocking_face_branches_compares_and_promotes() -> None:
    with LocalRuntime() as rt:
        rt.deploy(triage())
        session = rt.session("triage")
        thread = session.submit({"text": "42"})
        thread.result(timeout_s=10)

        alt = thread.branch(at=2, update={"kind": "chat"}, name="chat")
        assert alt.result(timeout_s=10).state.notes == ["chatted about 42", "closed"]
        assert [change.field_path for change in thread.diff(5, other=alt)] == ["kind", "notes[0]", "total"]
        alt.promote()

        assert thread.state() == alt.state()
        assert [each.operation for each in thread.history()][-1] == "restore"


def changed(changes: Any) -> list[tuple[str, Any, Any]]:
    return [(each.field_path, each.old_value, each.new_value) for each in changes]


def stored_bytes(rt: AsyncLocalRuntime) -> int:
    return sum(
        len(blob)
        for record in rt.records.store.journal.records.values()
        for blob in (record.thread, record.cursor, *record.entries, *record.snapshots.values())
    )
