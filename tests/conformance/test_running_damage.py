"""A byte flipped under threads that run or are paused: who asks is told what and where, and all others go on."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.ports import Store
from graphs.journal import CorruptRecord
from runtime import END, START, AsyncLocalRuntime, Graph, ThreadState, append, testing
from tests.component.actors_kit import Gate, hosts, until, world


class Log(BaseModel):
    answer: str = ""
    notes: Annotated[list[str], append] = []


@pytest.fixture(autouse=True)
def _with_this_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "MemoryStore", lambda: store)


def asking(gate: Gate) -> Graph:
    """START -> first -> held (waits at the gate) -> ask -> last -> END."""
    g = Graph("asking", state=Log)

    @g.node
    async def first(state: Log) -> dict:
        return {"notes": "first"}

    @g.node
    async def held(state: Log) -> dict:
        await gate()
        return {"notes": "held"}

    @g.node
    async def last(state: Log) -> dict:
        return {"notes": state.answer}

    g.human("ask", question="Go on?", into="answer")
    g.edge(START, "first")
    g.edge("first", "held")
    g.edge("held", "ask")
    g.edge("ask", "last")
    g.edge("last", END)
    return g


async def sessions(rt: AsyncLocalRuntime) -> list[Any]:
    return [await rt.session("asking", id=session_id) for session_id in ("bad", "good")]


ENTRY = {"thread_id": "bad:0", "seq": 2, "key": "gr:{bad}:j:0"}
CURSOR = {"thread_id": "bad:0", "seq": 4, "key": "gr:{bad}:t:0"}


@pytest.mark.parametrize(("what", "arguments", "fields"), [("entry", (2,), ENTRY), ("cursor", (), CURSOR)])
async def test_a_paused_thread_tells_who_answers_it_and_another_one_goes_on(
    damage: Any, what: str, arguments: tuple[int, ...], fields: dict[str, Any]
) -> None:
    gate = Gate()
    await gate.open()
    async with AsyncLocalRuntime() as rt:
        await rt.deploy(asking(gate))
        bad, good = await sessions(rt)
        for session in (bad, good):
            assert (await session.run({})).status is ThreadState.PAUSED
        threads = [await rt.thread(session.thread) for session in (bad, good)]
        await getattr(damage, what)(bad.thread, *arguments)

        for ask in (lambda: threads[0].answer("yes"), threads[0].result, threads[0].state):
            with pytest.raises(CorruptRecord) as error:
                await ask()
            assert error.value.fields == fields
        await threads[1].answer("yes")

        assert (await threads[1].result()).state.notes == ["first", "held", "yes"]


async def test_a_running_thread_that_must_be_read_again_tells_who_waits_and_others_go_on(damage: Any) -> None:
    gate = Gate()
    async with AsyncLocalRuntime() as rt:
        await rt.deploy(asking(gate))
        threads = [await session.submit({}) for session in await sessions(rt)]
        await gate.reached(2)
        await damage.entry("bad:0", 2)
        lost = list(hosts(rt))
        for address in lost:
            await world(rt).kill(address)
        await until(lambda: set(hosts(rt)) and not set(hosts(rt)) & set(lost))
        await gate.open()

        with pytest.raises(CorruptRecord) as error:
            await threads[0].result(timeout_s=20)
        result = await threads[1].result(timeout_s=20)

        assert error.value.fields == ENTRY
        assert result.state.notes == ["first", "held"]
        assert result.pause.question == "Go on?"
        await threads[1].answer("yes")
        assert (await threads[1].result()).state.notes == ["first", "held", "yes"]


async def test_a_session_beside_a_damaged_one_is_paused_and_resumed(damage: Any) -> None:
    gate = Gate()
    await gate.open()
    async with AsyncLocalRuntime() as rt:
        await rt.deploy(asking(gate))
        bad, good = await sessions(rt)
        for session in (bad, good):
            await session.run({})
        await damage.cursor(bad.thread)
        with pytest.raises(CorruptRecord) as error:
            await bad.abort()
        await good.pause()
        await good.resume()
        await (await rt.thread(good.thread)).answer("yes")

        assert error.value.fields == CURSOR
        assert (await (await rt.thread(good.thread)).result()).status is ThreadState.COMPLETED
