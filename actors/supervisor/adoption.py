"""Having hosts go on with root threads that nobody works on: those of dead hosts, and those whose time has come."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from actors.network import Network
from actors.patience import patiently
from actors.ports import Clock, Journal
from actors.protocol import Adopt, Done
from actors.supervisor.placement import spread
from graphs.errors import GreenroomError

SETTLED_S = 10.0
"""How long after a death it is looked for orphans again: of a host that hung, a last word may have come late."""

_PATIENCE_S = 5.0
"""How long a host may take to resume a thread whose time has come, until another one is asked."""
_BATCH = 1_000

logger = logging.getLogger(__name__)


def orphans(
    open_threads: Mapping[str, str], hosts: Collection[str], adopted: Mapping[str, tuple[str, str]]
) -> set[str]:
    """Open threads that nobody works on.

    Args:
        open_threads: Root thread -> the host that had it last.
        hosts: Living hosts.
        adopted: Root thread -> (the host that had it last, the host it was given to), of those given away before.
    """
    found = set()
    for thread, host in open_threads.items():
        before, to = adopted.get(thread, ("", ""))
        if host not in hosts and not (before == host and to in hosts):
            found.add(thread)
    return found


class Adoption:
    """Looks for such threads when a host has died, at the start, and when the earliest timer is due.

    Args:
        journal: Knows which threads are open, and the timers.
        network: The way to the hosts.
        clock: Time.
        hosts: The living hosts; waits until there is one.
    """

    def __init__(
        self, journal: Journal, network: Network, clock: Clock, hosts: Callable[[], Awaitable[tuple[str, ...]]]
    ) -> None:
        self._journal = journal
        self._network = network
        self._clock = clock
        self._hosts = hosts
        self._news = asyncio.Event()
        self._is_orphaned = True
        self._look_again_at: float | None = None
        self._wakes_at: float | None = None
        self._adopted: dict[str, tuple[str, str]] = {}
        self._resuming: dict[str, float] = {}
        """Thread whose time has come -> when a host was told."""
        self._task: asyncio.Task[None] | None = None

    def start(self, *, again: bool) -> None:
        """Begin. `again`: an earlier supervisor may have been told what this one was not."""
        self._task = asyncio.create_task(self._run(), name="adoption")
        if again:
            self.look()

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """A host has died: its threads need another one."""
        self._is_orphaned = True
        self._look_again_at = self._clock.now() + SETTLED_S
        self._news.set()

    def note_timer(self, until: float) -> None:
        """A thread is paused until a time."""
        if self._wakes_at is None or until < self._wakes_at:
            self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await patiently(self._clock, self._adopt)
            except GreenroomError:
                logger.exception("threads without a host cannot be given to another one")
            await self._rest()

    async def _rest(self) -> None:
        """Wait for news, or for the next time that something is due."""
        waits: list[asyncio.Task[object]] = [asyncio.create_task(self._news.wait())]
        if self._wakes_at is not None:
            waits.append(asyncio.create_task(self._clock.sleep(max(0.0, self._wakes_at - self._clock.now()))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _adopt(self) -> None:
        """Give away what there is to give away, and note when there will be more."""
        now = self._clock.now()
        if self._look_again_at is not None and self._look_again_at <= now:
            self._is_orphaned, self._look_again_at = True, None
        if self._is_orphaned:
            self._is_orphaned = False
            try:
                await self._adopt_orphans()
            except BaseException:
                self._is_orphaned = True
                raise
        times = [await self._resume_due(now), self._look_again_at]
        self._wakes_at = min((time for time in times if time is not None), default=None)

    async def _adopt_orphans(self) -> None:
        open_threads = await self._journal.open_threads()
        hosts = await self._hosts()
        found = orphans(open_threads, hosts, self._adopted)
        self._adopted = {thread: gift for thread, gift in self._adopted.items() if thread in open_threads}
        by_host: defaultdict[str, list[str]] = defaultdict(list)
        for thread in sorted(found):
            by_host[open_threads[thread]].append(thread)
        for lost, threads in by_host.items():
            logger.warning("%d threads of %s go on elsewhere", len(threads), lost)
            for thread, host in (await self._give(threads, hosts, lost=lost)).items():
                self._adopted[thread] = lost, host

    async def _resume_due(self, now: float) -> float | None:
        """Have the threads resumed whose time has come; when the next ones are due."""
        timers = await self._journal.timers(limit=_BATCH + len(self._resuming))
        self._resuming = {thread: at for thread, at in self._resuming.items() if thread in dict(timers)}
        due = [
            thread
            for thread, at in timers
            if at <= now and now - self._resuming.get(thread, -_PATIENCE_S) >= _PATIENCE_S
        ]
        if due:
            await self._give(due, await self._hosts())
            self._resuming.update(dict.fromkeys(due, now))
        times = [max(at, self._resuming.get(thread, 0.0) + _PATIENCE_S) for thread, at in timers]
        return min(times, default=None)

    async def _give(self, threads: Sequence[str], hosts: Sequence[str], *, lost: str = "") -> Mapping[str, str]:
        """Spread threads over hosts. Raises `DestinationDied` if one of these is gone; then it is done once more."""
        places = spread(threads, dict.fromkeys(hosts, 0))
        shares: defaultdict[str, list[str]] = defaultdict(list)
        for thread, host in places.items():
            shares[host].append(thread)
        requests = {host: Adopt(threads=tuple(share), lost=lost) for host, share in shares.items()}
        answers = await asyncio.gather(
            *(self._network.ask(host, request, Done) for host, request in requests.items()), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return places
