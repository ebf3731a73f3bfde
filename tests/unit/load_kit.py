"""A server that is simulated in virtual time, and loads against it that take no time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from graphs.threads import ThreadPriority
from runtime.load.tally import COMPLETED, Ending, Seen
from tests.faults.virtual_loop import VirtualLoop

T = TypeVar("T")


def virtually(program: Coroutine[Any, Any, T]) -> T:
    """Run a program in an event loop whose time jumps ahead; it begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(program)


class Server:
    """A queue with some places, served in the order of arrival.

    Args:
        service_s: How long a turn takes, given when it begins.
        places: Turns at a time.
        ending: How a turn ends; given its number, from 0.
    """

    def __init__(
        self,
        service_s: Callable[[float], float],
        *,
        places: int = 1,
        ending: Callable[[int], Ending] = lambda _: COMPLETED,
    ) -> None:
        self.service_s = service_s
        self.places = asyncio.Semaphore(places)
        self.ending = ending
        self.sessions: list[Session] = []
        self.turns: list[tuple[str, Mapping[str, Any], ThreadPriority]] = []
        self.waiting = 0

    async def open(self, user: int) -> Session:
        session = Session(self, f"s{len(self.sessions)}:0", user)
        self.sessions.append(session)
        return session

    async def look(self) -> Seen | None:
        return Seen(hosts=1, executors=2, waiting=self.waiting, memory_bytes={"driver": 5})


class Session:
    def __init__(self, server: Server, thread_id: str, user: int) -> None:
        self.thread_id = thread_id
        self.user = user
        self.cancelled = 0
        self._server = server

    async def turn(self, content: Mapping[str, Any], priority: ThreadPriority) -> Ending:
        server = self._server
        number = len(server.turns)
        server.turns.append((self.thread_id, content, priority))
        server.waiting += 1
        async with server.places:
            server.waiting -= 1
            await asyncio.sleep(server.service_s(asyncio.get_running_loop().time()))
        return server.ending(number)

    async def cancel(self) -> None:
        self.cancelled += 1


def stalling(service_s: float, begin_s: float, end_s: float) -> Callable[[float], float]:
    """Each turn takes `service_s`; one that would begin in the stall begins when that is over."""
    return lambda now_s: service_s + (end_s - now_s if begin_s <= now_s < end_s else 0.0)


def exponential(mean_s: float, seed: int) -> Callable[[float], float]:
    """Times of service as they are at a counter."""
    chance = random.Random(seed)
    return lambda _: chance.expovariate(1 / mean_s)
