"""Trying again what cannot be done right now: the store is away, a queue is full, a race was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from actors.errors import SeqConflict
from actors.ports import Clock
from graphs.errors import GreenroomError

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


def passes(error: BaseException) -> bool:
    """Whether `error` goes away when its cause does."""
    return isinstance(error, SeqConflict) or (isinstance(error, GreenroomError) and error.retryable)


async def patiently(clock: Clock, act: Callable[[*_Args], Awaitable[_T]], *args: *_Args) -> _T:
    """What `act` returns in the end: it is called again, at first quickly, as long as what goes wrong passes."""
    try:
        return await act(*args)  # the common case needs no retrying object
    except GreenroomError as error:
        if not passes(error):
            raise
    wait = wait_random_exponential(multiplier=0.02, max=2)
    return await AsyncRetrying(retry=retry_if_exception(passes), wait=wait, sleep=clock.sleep, reraise=True)(act, *args)
