"""How many turns run at once on a host; the rest wait in order of priority, age and fairness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.errors import Overloaded
from actors.ports import Clock
from actors.supervisor.queue import AdmissionQueue, Ticket
from graphs.threads import ThreadPriority

MAX_WAITING = 100_000


class Admission:
    """The places of one host.

    Args:
        host: Its address, for errors.
        capacity: Turns of main threads that run at once. Branches need no place: the thread waiting for them has one.
        clock: Time.
    """

    def __init__(self, host: str, capacity: int, clock: Clock) -> None:
        self._host = host
        self._capacity = capacity
        self._clock = clock
        self._queue = AdmissionQueue()
        self._admitted: dict[Ticket, asyncio.Future[None]] = {}
        self.running = 0
        """Places that are taken."""
        self.admitted_total = 0

    @property
    def waiting(self) -> int:
        """Turns that wait for a place."""
        return len(self._admitted)

    @property
    def is_full(self) -> bool:
        """Whether a turn would have to wait now."""
        return self.running >= self._capacity or bool(self._admitted)

    def check(self) -> None:
        """Raise `Overloaded` if no more turns may wait."""
        if self.waiting >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} turns wait on {self._host}; try again later, or add hosts",
                destination=self._host,
                retry_after_s=1.0,
            )

    def reserve(self) -> bool:
        """Take a place for a block that is about to run, if there is one now."""
        if self.is_full:
            return False
        self.running += 1
        return True

    @asynccontextmanager
    async def place(
        self, thread_id: str, priority: ThreadPriority, user_id: str, *, reserved: bool = False
    ) -> AsyncIterator[None]:
        """Hold a place while the block runs, waiting for one first unless it is `reserved`."""
        if not reserved and not self.reserve():
            await self._wait(Ticket(thread_id, priority, user_id, self._clock.now()))
        self.admitted_total += 1
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, ticket: Ticket) -> None:
        admitted = self._admitted[ticket] = asyncio.get_running_loop().create_future()
        self._queue.push(ticket)
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._leave()  # the place came too late
            raise
        finally:
            del self._admitted[ticket]

    def _leave(self) -> None:
        """Give a place back: to the next who waits, if there is one."""
        self.running -= 1
        while len(self._queue) and self.running < self._capacity:
            admitted = self._admitted.get(self._queue.pop())
            if admitted is not None and not admitted.done():
                admitted.set_result(None)
                self.running += 1
