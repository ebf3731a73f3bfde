"""Tools that require permissions, of sessions that have them and of those that have not."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel

from graphs.errors import PermissionDenied
from runtime import END, START, AsyncLocalRuntime, Graph, RestTool, ThreadState, append, tool
from tests.component.actors_kit import FAILED, STARTED, failed_step, history, runtime, world


class Order(BaseModel):
    amount: int = 3
    notes: Annotated[list[str], append] = []


paid: list[int] = []


@tool(permissions=["pay", "admin"])
async def pay(amount: int) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


def paying(used: Any = pay, **options: Any) -> Graph:
    g = Graph("paying", state=Order)
    g.tool("pay", tool=used, arguments={"amount": "{amount}"}, into="notes", **options)
    g.edge(START, "pay")
    g.edge("pay", END)
    return g


@pytest.mark.parametrize(
    ("permissions", "missing"), [((), ["pay", "admin"]), (("pay", "read"), ["admin"]), (("PAY", "admin"), ["pay"])]
)
async def test_without_all_of_them_nothing_is_called(permissions: tuple[str, ...], missing: list[str]) -> None:
    async with runtime() as rt:
        await rt.deploy(paying(retry=3))
        session = await rt.session("paying", permissions=permissions)
        result = await session.run({})

        assert result.status is ThreadState.FAILED
        assert isinstance(result.error, PermissionDenied)
        assert result.error.fields == {"node": "pay", "tool": "pay", "missing": missing}
        assert str(result.error) == (
            f"pay: session {session.id} lacks the permission {', '.join(missing)}; give it to the session, "
            "or use another tool"
        )
        assert paid == []
        assert await history(rt, session.thread) == [STARTED, failed_step("pay"), FAILED]


async def test_with_all_of_them_it_is() -> None:
    async with runtime() as rt:
        await rt.deploy(paying())
        session = await rt.session("paying", permissions=["admin", "pay"])
        assert (await session.run({})).state.notes == ["paid 3"]


async def test_a_permission_may_be_taken_away() -> None:
    async with runtime() as rt:
        await rt.deploy(paying())
        session = await rt.session("paying", permissions=["admin", "pay"])
        await session.run({})
        sessions = world(rt).store.sessions
        stored = await sessions.find_by_id(session.id)
        assert stored is not None
        context = msgspec.structs.replace(stored.context, permissions=("pay",))
        await sessions.save(msgspec.structs.replace(stored, context=context))
        again = await session.run({})

        assert isinstance(again.error, PermissionDenied)
        assert again.error.missing == ["admin"]


async def test_tools_that_are_data_require_them_too() -> None:
    endpoint = RestTool(
        name="bank", url="http://127.0.0.1:9/pay", parameters={"amount": {"type": "integer"}}, permissions=("pay",)
    )
    async with runtime() as rt:
        assert rt.tools.register(endpoint).permissions == ("pay",)
        await rt.deploy(paying("bank"))
        result = await (await rt.session("paying")).run({})
        assert isinstance(result.error, PermissionDenied)


async def test_the_driver_itself_needs_none() -> None:
    async with AsyncLocalRuntime() as rt:
        rt.tools.register(pay)
        assert (await rt.tools.execute("pay", {"amount": 1})).output == "paid 1"
