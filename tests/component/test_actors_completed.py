"""Completing a session: it takes no more turns, whoever asks and whatever has died."""

from __future__ import annotations

import asyncio

import pytest

from graphs.errors import BusinessRuleViolation, IllegalTransition
from graphs.sessions import SessionState
from runtime import ThreadState
from tests.component.actors_kit import Gate, at_rest, hosts, runtime, world
from tests.component.test_actors_asked import chain


async def test_a_completed_session_refuses_turns_from_any_handle_and_can_still_be_read() -> None:
    gate = Gate()
    await gate.open()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        other = await rt.session(id=session.id)
        thread = await session.submit({})
        await thread.result()

        await session.complete()

        assert await other.state() is SessionState.COMPLETED
        for refused in (session, other, await rt.session(id=session.id)):
            with pytest.raises(BusinessRuleViolation, match="is completed and takes no more turns"):
                await refused.submit({})
        with pytest.raises(IllegalTransition, match="a completed session cannot become completed"):
            await other.complete()
        assert (await thread.result()).state.notes == ["first", "held", "last"]
        await at_rest(rt)


async def test_a_session_is_not_completed_before_its_turns_are_over_though_hosts_die() -> None:
    gate = Gate()
    async with runtime() as rt:
        await rt.deploy(chain(gate))
        session = await rt.session("chain")
        first, second = await session.submit_all([{}, {}])
        await gate.reached()
        with pytest.raises(BusinessRuleViolation, match="runs, is paused or waits"):
            await session.complete()

        for address in list(hosts(rt)):
            await world(rt).kill(address)
        with pytest.raises(BusinessRuleViolation, match="runs, is paused or waits"):
            await session.complete()
        await gate.open()
        results = await asyncio.gather(first.result(), second.result())
        await session.complete()

        assert [result.status for result in results] == [ThreadState.COMPLETED] * 2
        for address in list(hosts(rt)):
            await world(rt).kill(address)
        with pytest.raises(BusinessRuleViolation, match="is completed"):
            await session.run({})
        assert [head.seq for head in await session.threads()] == [10]
