"""Agents whose tools need a person's approval, or permissions of the session."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import BranchFailed
from graphs.journal import EntryKind
from graphs.messages import Message
from runtime import AsyncLocalRuntime, Pause, PauseKind, ThreadState, tool
from runtime.handles import AsyncThread
from runtime.results import ThreadResult
from tests.component.actors_kit import history, runtime
from tests.component.model_server import DONE, USAGE, ModelServer, event, stream
from tests.component.test_agents import agent_graph, asks, models, run, said

paid: list[int] = []


@tool(requires_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


@tool(permissions=["secrets"], name="vault.read")
async def read_vault(key: str) -> str:
    """Read a secret."""
    raise AssertionError("nobody may")


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


async def questions(rt: AsyncLocalRuntime, session_id: str) -> dict[str, AsyncThread]:
    """What is asked anywhere in a session."""
    session = await rt.session(id=session_id)
    asked = {}
    for head in await session.threads():
        pause = head.cursor.pause
        if pause is not None and pause.asks:
            assert pause == Pause(kind=PauseKind.APPROVAL, node="helper_call", question=pause.question, tool="pay")
            asked[pause.question] = await rt.thread(head.thread.id)
    return asked


CALLS = asks(("pay", {"amount": 1, "token": "t"}), ("calculator", {"expression": "2+2"}), ("pay", {"amount": 2}))
FIRST = 'May the tool pay be called with {"amount":1,"token":"***"}?'
SECOND = 'May the tool pay be called with {"amount":2}?'


async def paused(rt: AsyncLocalRuntime, **options: Any) -> ThreadResult:
    result = await run(rt, agent_graph("calculator", pay, **options))
    assert (result.status, paid) == (ThreadState.PAUSED, [])
    assert result.pause is not None
    assert result.pause.question in (FIRST, SECOND)
    return result


async def test_each_call_is_asked_for_and_the_model_is_told_of_a_refusal() -> None:
    calls = asks(("pay", {"amount": 1}), ("calculator", {"expression": "2+2"}), ("pay", {"amount": 2}))
    async with runtime(models=models(calls, "Done.")) as rt:
        waiting = await run(rt, agent_graph("calculator", pay))
        assert (waiting.status, paid) == (ThreadState.PAUSED, [])
        first = 'May the tool pay be called with {"amount":1}?'
        asked = await questions(rt, waiting.thread_id.partition(":")[0])
        assert set(asked) == {first, SECOND}
        await asked[first].answer(True)
        await asked[SECOND].answer({"approved": False, "reason": "enough"})
        result = await (await rt.thread(waiting.thread_id)).result()

        assert result.status is ThreadState.COMPLETED, result.error
        assert paid == [1]
        assert said(result)[2:] == [
            ("tool", "paid 1"),
            ("tool", "4"),
            ("tool", "Error: the call of tool pay was refused: enough"),
            ("assistant", "Done."),
        ]


async def test_a_refused_call_is_not_recorded_as_begun() -> None:
    once = tool(at_most_once=True, requires_approval=True)(_charge)
    async with runtime(models=models(asks(("_charge", {"amount": 2})), "Done.")) as rt:
        waiting = await run(rt, agent_graph(once))
        session = await rt.session(id=waiting.thread_id.partition(":")[0])
        (head,) = [head for head in await session.threads() if head.cursor.pause and head.cursor.pause.asks]
        await (await rt.thread(head.thread.id)).answer(False)
        result = await (await rt.thread(waiting.thread_id)).result()

        assert said(result)[2:] == [
            ("tool", "Error: the call of tool _charge was refused"),
            ("assistant", "Done."),
        ]
        assert [kind for kind, _, _ in await history(rt, head.thread.id)] == [
            EntryKind.TURN_STARTED,
            EntryKind.PAUSED,
            EntryKind.RESUMED,
            EntryKind.STEP_FINISHED,
            EntryKind.TURN_FINISHED,
        ]


async def _charge(amount: int) -> str:
    """Charge."""
    raise AssertionError("it was refused")


async def test_an_agent_may_ask_before_every_call() -> None:
    calls = asks(("calculator", {"expression": "2+2"}), ("read_result", {"handle": "none"}))
    async with runtime(models=models(calls, "Done.")) as rt:
        waiting = await run(rt, agent_graph("calculator", requires_approval=True))
        session = await rt.session(id=waiting.thread_id.partition(":")[0])
        asking = [head for head in await session.threads() if head.cursor.pause and head.cursor.pause.asks]
        assert [head.cursor.pause.question for head in asking] == [
            'May the tool calculator be called with {"expression":"2+2"}?'
        ]
        await (await rt.thread(asking[0].thread.id)).answer(True)
        result = await (await rt.thread(waiting.thread_id)).result()
        assert next(content for role, content in said(result) if role == "tool") == "4"


async def test_an_agent_may_fail_by_a_refusal() -> None:
    async with runtime(models=models(asks(("pay", {"amount": 2})), "Done.")) as rt:
        waiting = await paused(rt, on_tool_error="fail")
        asked = await questions(rt, waiting.thread_id.partition(":")[0])
        await asked[SECOND].answer(False)
        result = await (await rt.thread(waiting.thread_id)).result()

        assert (result.status, paid) == (ThreadState.FAILED, [])
        assert isinstance(result.error, BranchFailed)
        assert result.error.cause["code"] == "ApprovalRefused"


async def test_what_is_asked_shows_no_secrets() -> None:
    async with runtime(models=models(CALLS, "Done.")) as rt:
        waiting = await paused(rt)
        asked = await questions(rt, waiting.thread_id.partition(":")[0])
        assert set(asked) == {FIRST, SECOND}
        for thread in asked.values():
            await thread.answer(False)
        result = await (await rt.thread(waiting.thread_id)).result()
        assert (result.status, paid) == (ThreadState.COMPLETED, [])


@pytest.mark.parametrize("permissions", [(), ("secrets",)])
async def test_a_model_is_offered_what_its_session_may_call(permissions: tuple[str, ...]) -> None:
    with ModelServer().serving() as server:
        server.steps = [stream(event("Done."), event(finish="stop"), USAGE, DONE)]
        served = {"provider": "openai", "base_url": server.url, "model": "m"}
        async with runtime(models={"default": served}) as rt:
            await rt.deploy(agent_graph("calculator", read_vault))
            session = await rt.session("helper", permissions=permissions)
            await session.run({"messages": [Message(role="user", content="go")]})
    offered = [each["function"]["name"] for each in server.requests[0][2]["tools"]]
    assert offered == ["calculator", "vault__read"][: 1 + len(permissions)]


async def test_a_model_cannot_call_what_its_session_may_not() -> None:
    calls = asks(("vault__read", {"key": "k"}), ("calculator", {"expression": "2+2"}))
    async with runtime(models=models(calls, "Done.")) as rt:
        result = await run(rt, agent_graph("calculator", read_vault))

        assert result.status is ThreadState.COMPLETED, result.error
        session_id = result.thread_id.partition(":")[0]
        assert said(result)[2:] == [
            (
                "tool",
                f"Error: vault.read: session {session_id} lacks the permission secrets; give it to the session, "
                "or use another tool",
            ),
            ("tool", "4"),
            ("assistant", "Done."),
        ]


async def test_an_agent_may_fail_for_want_of_a_permission() -> None:
    async with runtime(models=models(asks(("vault__read", {"key": "k"})), "Done.")) as rt:
        result = await run(rt, agent_graph(read_vault, on_tool_error="fail"))
        assert result.status is ThreadState.FAILED
        assert isinstance(result.error, BranchFailed)
        assert result.error.cause["code"] == "PermissionDenied"
