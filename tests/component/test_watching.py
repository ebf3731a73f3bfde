"""Asking a process whether it is there, in virtual time: what is lost or refused on the way is not held against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from actors import watch
from actors.errors import DestinationDied
from actors.watch import Silence
from tests.faults.virtual_loop import VirtualLoop

PATIENCE_S = 10.0
CUT_OFF_S = 2.5


def asked(*steps: Callable[[], Coroutine[Any, Any, str]]) -> tuple[str | Silence, float]:
    """What comes of pings that go as `steps` say, the last of them again and again, and after how many seconds."""
    left = list(steps)

    async def ping() -> str:
        return await (left.pop(0) if len(left) > 1 else left[0])()

    async def main() -> tuple[str | Silence, float]:
        answer = await watch.ask(ping, lambda is_cut_off: CUT_OFF_S if is_cut_off else PATIENCE_S)
        return answer, round(asyncio.get_running_loop().time(), 2)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def answers(after_s: float) -> Callable[[], Coroutine[Any, Any, str]]:
    async def ping() -> str:
        await asyncio.sleep(after_s)
        return "here"

    return ping


def fails(*, unavailable: bool, at_s: float = 0.0) -> Callable[[], Coroutine[Any, Any, str]]:
    """Fails at a time, whenever it was sent."""

    async def ping() -> str:
        await asyncio.sleep(max(at_s - asyncio.get_running_loop().time(), 0.0))
        raise DestinationDied("no", unavailable=unavailable)

    return ping


async def lost() -> str:
    """No answer, ever."""
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((answers(0.1),), ("here", 0.1)),
        ((answers(9.9),), ("here", 9.9)),
        ((answers(99.0),), (Silence.MUTE, 10.0)),
        ((lost, lost, answers(0.1)), ("here", 2.1)),
        ((fails(unavailable=False),), (Silence.DEAD, 0.0)),
        ((fails(unavailable=True),), (Silence.CUT_OFF, 0.25)),
        ((fails(unavailable=True), answers(0.1)), ("here", 0.35)),
        ((fails(unavailable=True), fails(unavailable=False)), (Silence.DEAD, 0.25)),
        ((*[fails(unavailable=True, at_s=1.1)] * 2, answers(0.1)), ("here", 1.45)),
    ],
)
def test_it_is_asked_again_before_it_counts_as_silent(
    steps: tuple[Callable[[], Coroutine[Any, Any, str]], ...], expected: tuple[str | Silence, float]
) -> None:
    assert asked(*steps) == expected


def test_one_that_is_cut_off_and_answers_nothing_more_has_little_time() -> None:
    silence, after_s = asked(fails(unavailable=True), lost)

    assert silence is Silence.CUT_OFF
    assert 1.0 <= after_s <= CUT_OFF_S
