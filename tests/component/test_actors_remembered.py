"""Large states that hosts, executors and drivers have at hand: always the one that is in the store."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.executors.base import Executor
from actors.protocol import RunSegment, SegmentDone, TurnDone
from actors.remembered import LARGE_STATE_BYTES
from runtime import END, START, AsyncLocalRuntime, Graph, Message, add_messages, append
from tests.component.actors_kit import executors, hosts, runtime

LONG = "x" * LARGE_STATE_BYTES


class Chat(BaseModel):
    messages: Annotated[list[Message], add_messages] = []
    notes: Annotated[list[str], append] = []
    n: int = 0


def chat() -> Graph:
    """Two nodes of functions around one of a tool, so that a turn goes from executor to executor."""
    g = Graph("chat", state=Chat)

    @g.node
    def reply(state: Chat) -> dict[str, Any]:
        return {"messages": f"{len(state.messages)}: {state.messages[-1].content}", "n": state.n + 1}

    g.tool("note", tool="calculator", arguments={"expression": "{n} * 2"}, into="notes")

    @g.node
    def close(state: Chat) -> dict[str, Any]:
        return {"notes": f"closed {state.n} with {len(state.notes)}"}

    g.edge(START, "reply")
    g.edge("reply", "note")
    g.edge("note", "close")
    g.edge("close", END)
    return g


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """(kind, whether with the whole state) of each segment that was asked for and not refused."""
    found: list[tuple[str, bool]] = []
    run = Executor._run_segment

    async def noted(self: Executor, request: RunSegment) -> SegmentDone:
        done = await run(self, request)
        found.append((self._kind, bool(request.state)))
        return done

    monkeypatch.setattr(Executor, "_run_segment", noted)
    return found


def user(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def stored(rt: AsyncLocalRuntime, thread_id: str) -> dict[str, Any]:
    """The state as the journal has it."""
    return await (await rt.thread(thread_id)).state()


async def test_a_long_conversation_is_sent_once_and_then_what_is_new(sent: list[tuple[str, bool]]) -> None:
    async with runtime(executors={"function": {"processes": 1}}) as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        for turn in range(1, 5):
            result = await session.run(user(f"{turn} {LONG}"))
            assert (result.status, result.state) == ("completed", await stored(rt, session.thread))
            assert [message.content[:4] for message in result.state.messages[-2:]] == [
                f"{turn} xx",
                f"{2 * turn - 1}: {turn}"[:4],
            ]

        first, later = sent[:3], sent[3:]
        assert first == [("function", True), ("tool", True), ("function", False)]
        assert later == [("function", False), ("tool", False), ("function", False)] * 3
        assert result.state.notes[-1] == "closed 4 with 7"


async def test_a_short_state_is_sent_whole_and_remembered_by_its_host_alone(sent: list[tuple[str, bool]]) -> None:
    async with runtime() as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        for text in ("a", "b"):
            result = await session.run(user(text))

        assert result.state == await stored(rt, session.thread)
        assert {whole for _, whole in sent} == {True}
        assert [len(each._remembered) for each in executors(rt).values()] == [0] * len(executors(rt))
        assert sum(len(host._services.remembered) for host in hosts(rt).values()) == 1


async def test_what_executors_have_forgotten_is_sent_again(sent: list[tuple[str, bool]]) -> None:
    async with runtime(executors={"function": {"processes": 1}}) as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        await session.run(user(LONG))
        for executor in (*executors(rt).values(), *executors(rt, "tool").values()):
            await executor._remembered.close()
        sent.clear()
        result = await session.run(user("again"))

        assert result.state == await stored(rt, session.thread)
        assert sent == [("function", True), ("tool", True), ("function", False)]


async def test_what_the_host_has_forgotten_is_read_from_the_journal() -> None:
    async with runtime() as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        await session.run(user(LONG))
        for host in hosts(rt).values():
            await host._services.remembered.close()
        result = await session.run(user("again"))

        assert (len(result.state.messages), result.state) == (4, await stored(rt, session.thread))


async def test_a_turn_on_another_host_meanwhile_makes_what_was_remembered_worthless() -> None:
    async with runtime(hosts={"min": 2, "max": 2}) as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        await session.run(user(LONG))
        here = session._home.host
        elsewhere = await rt.session(id=session.id)
        (elsewhere._home.host,) = [host for host in hosts(rt) if host != here]
        await elsewhere.run(user("elsewhere"))
        result = await session.run(user("here"))

        assert len(result.state.messages) == 6
        assert result.state == await stored(rt, session.thread)


async def test_updates_and_restored_states_between_turns_are_seen() -> None:
    async with runtime() as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        first = await session.run(user(LONG))
        thread = await rt.thread(session.thread)
        await thread.update({"n": 40})
        updated = await session.run(user("two"))
        snapshot = await thread.snapshot(name="two")
        await session.run(user("three"))
        await thread.restore(snapshot.id)
        restored = await session.run(user("four"))

        assert (first.state.n, updated.state.n, restored.state.n) == (1, 41, 42)
        assert [message.content for message in restored.state.messages[::2]] == [LONG, "two", "four"]
        assert restored.state == await stored(rt, session.thread)


async def test_what_a_user_does_to_a_result_stays_there() -> None:
    async with runtime() as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        result = await session.run(user(LONG))
        result.state.messages.clear()
        result.state.notes.append("mine")
        result.state["n"] = 99
        again = await session.run(user("again"))

        assert (len(again.state.messages), again.state) == (4, await stored(rt, session.thread))


async def test_turns_of_one_handle_at_once_have_each_their_own_state() -> None:
    async with runtime() as rt:
        await rt.deploy(chat())
        session = await rt.session("chat")
        await session.run(user(LONG))
        results = await asyncio.gather(*(session.run(user(f"{number}")) for number in range(5)))

        assert [len(result.state.messages) for result in results] == [4, 6, 8, 10, 12]
        for result in results:
            assert result.state == await (await rt.thread(session.thread)).state(at=result.seq)


async def test_a_driver_with_the_state_is_told_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TurnDone] = []
    async with runtime() as rt:
        settled = rt.settled

        async def noted(home: Any, done: TurnDone) -> Any:
            told.append(done)
            return await settled(home, done)

        monkeypatch.setattr(rt, "settled", noted)
        await rt.deploy(chat())
        session = await rt.session("chat")
        for text in (LONG, "two", "three"):
            await session.run(user(text))

    assert [(bool(done.state), done.base_seq) for done in told] == [(True, None), (False, 5), (False, 10)]
    assert max(sum(map(len, done.deltas)) for done in told) < LARGE_STATE_BYTES


async def test_what_a_node_changes_in_place_is_not_met_again_where_it_could_change_it() -> None:
    """States with values that user code could change in place are not kept by executors."""

    class Item(BaseModel):
        count: int = 0

    class Items(BaseModel):
        items: list[Item] = []
        text: str = ""

    g = Graph("in-place", state=Items)

    @g.node
    def change(state: Items) -> dict[str, Any]:
        state.items[0].count += 1
        return {"text": str(state.items[0].count)}

    g.edge(START, "change")
    g.edge("change", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("in-place")
        texts = [(await session.run({"items": [{"count": 5}], "text": LONG})).state.text]
        texts += [(await session.run({})).state.text for _ in range(2)]

    assert texts == ["6", "6", "6"]
