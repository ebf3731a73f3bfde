"""Tools that are called only when a person has said so."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from actors.errors import ToolUnavailable
from graphs.errors import ApprovalRefused
from graphs.journal import EntryKind
from runtime import END, START, Graph, Pause, PauseKind, Resumed, StateInvalid, ThreadState, append
from runtime.cli.facts import describe
from tests.component.actors_kit import COMPLETED, FAILED, STARTED, failed_step, history, runtime, step


class Order(BaseModel):
    amount: int = 0
    amounts: list[int] = []
    note: str = ""
    notes: Annotated[list[str], append] = []


QUESTION = 'May the tool pay be called with {"amount":3,"note":""}?'
SCHEMA = {
    "anyOf": [
        {"type": "boolean"},
        {
            "type": "object",
            "title": "Approval",
            "description": "A person's word on whether a tool may be called; `true` and `false` alone mean the same.",
            "properties": {
                "approved": {"type": "boolean", "title": "Approved"},
                "reason": {"type": "string", "title": "Reason", "default": ""},
            },
            "required": ["approved"],
            "additionalProperties": False,
        },
    ]
}
ASKED = Pause(kind=PauseKind.APPROVAL, node="pay", question=QUESTION, tool="pay")
PAUSED = (EntryKind.PAUSED, "pay", "paused")
RESUMED = (EntryKind.RESUMED, "pay", "running")


def paying(paid: list[int], *, rescued: bool = False, **options: Any) -> Graph:
    async def pay(amount: int, note: str) -> str:
        """Pay."""
        paid.append(amount)
        if amount < 0:
            raise ToolUnavailable("not now", tool="pay")
        return f"paid {amount}"

    g = Graph("paying", state=Order)
    arguments = {"amount": "{amount}", "note": "{note}"}
    g.tool("pay", tool=pay, arguments=arguments, into="notes", **({"requires_approval": True} | options))
    g.edge(START, "pay")
    g.edge("pay", END)
    if rescued:

        @g.node
        async def rescue(state: Order, ctx: Any) -> dict:
            return {"notes": f"{type(ctx.error).__name__}: {ctx.error.reason}"}

        g.edge("pay", "rescue", on_error=True)
        g.edge("rescue", END)
    return g


async def test_a_tool_waits_for_approval_and_is_called_then() -> None:
    paid: list[int] = []
    async with runtime() as rt:
        await rt.deploy(paying(paid))
        session = await rt.session("paying")
        waiting = await session.run({"amount": 3})
        thread = await rt.thread(session.thread)

        assert waiting.status is ThreadState.PAUSED
        assert waiting.pause == ASKED
        assert await thread.answer_schema() == SCHEMA
        assert paid == []
        with pytest.raises(StateInvalid, match="answer true or false"):
            await thread.answer("certainly")
        await thread.answer(True)
        result = await thread.result()

        assert (result.status, result.state.notes, paid) == (ThreadState.COMPLETED, ["paid 3"], [3])
        assert await history(rt, session.thread) == [STARTED, PAUSED, RESUMED, step("pay"), COMPLETED]


async def test_a_refusal_fails_the_node_without_a_call() -> None:
    paid: list[int] = []
    async with runtime() as rt:
        await rt.deploy(paying(paid))
        session = await rt.session("paying")
        thread = await session.submit({"amount": 3})
        await thread.result()
        await thread.answer({"approved": False, "reason": "too much"})
        result = await thread.result()

        assert result.status is ThreadState.FAILED
        assert isinstance(result.error, ApprovalRefused)
        assert str(result.error) == "the call of tool pay was refused: too much"
        assert result.error.fields == {"tool": "pay", "node": "pay", "reason": "too much"}
        assert paid == []
        assert await history(rt, session.thread) == [STARTED, PAUSED, RESUMED, FAILED]
        (resumed,) = [event async for event in thread.events(after=2) if isinstance(event, Resumed)]
        assert resumed.refusal is not None
        assert describe(resumed) == "pay resumed: the call of tool pay was refused: too much"


async def test_a_refusal_goes_where_errors_go() -> None:
    paid: list[int] = []
    async with runtime() as rt:
        await rt.deploy(paying(paid, rescued=True))
        session = await rt.session("paying")
        await session.run({"amount": 3})
        thread = await rt.thread(session.thread)
        await thread.answer(False)
        result = await thread.result()

        assert (result.status, result.state.notes, paid) == (ThreadState.COMPLETED, ["ApprovalRefused: "], [])


async def test_approval_is_for_one_call_with_all_its_retries() -> None:
    paid: list[int] = []
    async with runtime() as rt:
        await rt.deploy(paying(paid, retry=3))
        session = await rt.session("paying")
        await session.run({"amount": -1})
        thread = await rt.thread(session.thread)
        await thread.answer(True)
        assert (await thread.result()).status is ThreadState.FAILED
        again = await session.run({"amount": 3})

        assert again.pause == ASKED
        assert paid == [-1, -1, -1]
        entries = await history(rt, session.thread)
        assert entries == [STARTED, PAUSED, RESUMED, failed_step("pay"), FAILED, STARTED, PAUSED]


async def test_each_item_of_a_map_asks_for_itself() -> None:
    paid: list[int] = []

    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    g = Graph("paying", state=Order)
    g.tool("pay", tool=pay, arguments={"amount": "{item}"}, requires_approval=True)
    g.map("each", over="amounts", node="pay", into="notes", on_branch_error="skip")
    g.edge(START, "each")
    g.edge("each", END)
    async with runtime() as rt:
        await rt.deploy(g)
        session = await rt.session("paying")
        waiting = await session.run({"amounts": [1, 2, 3]})
        assert waiting.pause is not None
        assert waiting.pause.kind is PauseKind.BRANCHES
        for head in await session.threads():
            if head.cursor.pause is not None and head.cursor.pause.asks:
                await (await rt.thread(head.thread.id)).answer('"amount":2' not in head.cursor.pause.question)
        result = await (await rt.thread(session.thread)).result()

        assert sorted(paid) == [1, 3]
        assert (result.status, result.state.notes) == (ThreadState.COMPLETED, ["paid 1", "paid 3"])


async def test_a_restored_thread_is_asked_again() -> None:
    paid: list[int] = []
    async with runtime() as rt:
        await rt.deploy(paying(paid))
        session = await rt.session("paying")
        await session.run({"amount": 3})
        thread = await rt.thread(session.thread)
        await thread.answer(False)
        await thread.result()
        await thread.restore(2)
        waiting = await thread.result()
        await thread.answer(True)

        assert waiting.pause == ASKED
        assert ((await thread.result()).status, paid) == (ThreadState.COMPLETED, [3])


async def test_a_branch_asks_again() -> None:
    paid: list[int] = []
    async with runtime() as rt:
        await rt.deploy(paying(paid))
        session = await rt.session("paying")
        await session.run({"amount": 100})
        thread = await rt.thread(session.thread)
        await thread.answer(True)
        await thread.result()
        branch = await thread.branch(at=3, update={"amount": 3})
        waiting = await branch.result()

        assert waiting.pause == ASKED
        assert paid == [100]
        await branch.answer(True)
        assert ((await branch.result()).status, paid) == (ThreadState.COMPLETED, [100, 3])
