"""Whether a process answers, and how long it may take: the same whoever watches whom."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

from actors.errors import DestinationDied
from actors.supervisor.launcher import HOST

PATIENCE_S = 1.5
"""A process that does not answer a ping for so long counts as dead, if it is suspended or the connection to it lost."""
REMOTE_PATIENCE_S = 4.0
"""The same for a host of another machine, which cannot be looked at."""
BUSY_PATIENCE_S = 15.0
"""The same for one that may just be busy, with user code that never lets the interpreter go or on a machine that is."""
SLICE_S = 0.25
"""Patience is counted in the turns of whoever waits, so that one who was held up himself does not blame others."""
_REPEATED_AFTER = 4
"""Slices after which a ping is sent once more: Ray may lose one that meets the death of a process it starts again."""

_Answer = TypeVar("_Answer")


class Silence(Enum):
    """Why a process has not answered."""

    DEAD = "dead"
    CUT_OFF = "the connection to it is lost"
    MUTE = "connected, but mute"


def patience_s(kind: str, *, runs: bool | None, is_cut_off: bool = False) -> float:
    """How long a process may take to answer.

    Args:
        kind: Its kind.
        runs: Whether it runs, rather than being suspended; None: it is on another machine.
        is_cut_off: The connection to it has been lost, which being busy does not explain.
    """
    if is_cut_off or runs is False:
        return PATIENCE_S
    return REMOTE_PATIENCE_S if runs is None and kind == HOST else BUSY_PATIENCE_S


async def ask(
    ping: Callable[[], Coroutine[Any, Any, _Answer]], patience: Callable[[bool], float], *, is_cut_off: bool = False
) -> _Answer | Silence:
    """What a process answers, or why it does not.

    Args:
        ping: Asks it. Raises `DestinationDied`.
        patience: How many seconds it has, as things are now; it is told whether the connection is lost.
        is_cut_off: The connection has been lost before.
    """
    asked = {asyncio.create_task(ping())}
    try:
        for slices in itertools.count(1):
            done, asked = await asyncio.wait(asked, timeout=SLICE_S, return_when=asyncio.FIRST_COMPLETED)
            errors = [task.exception() for task in done]
            if None in errors:
                return next(task.result() for task in done if task.exception() is None)
            if not all(map(is_unavailable, errors)):
                return Silence.DEAD
            if errors and is_cut_off:
                break
            if errors:
                is_cut_off = True
                _give_up(asked)
                asked = {asyncio.create_task(_later(ping))}
            elif slices % _REPEATED_AFTER == 0:
                asked.add(asyncio.create_task(ping()))
            if slices * SLICE_S >= patience(is_cut_off):
                break
    finally:
        _give_up(asked)
    return Silence.CUT_OFF if is_cut_off else Silence.MUTE


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a process may be there although it could not be reached."""
    return isinstance(error, DestinationDied) and bool(error.fields.get("unavailable"))


async def _later(ping: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
    await asyncio.sleep(SLICE_S)
    return await ping()


def _give_up(asked: set[asyncio.Task[_Answer]]) -> None:
    for task in asked:
        task.cancel()
