"""What the tests of the actors share: a runtime that is checked when it closes, gates, and a clock that tests move."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actors.executors.base import Executor
from actors.host import Host
from actors.network import SUPERVISOR, Network
from actors.supervisor.actor import Supervisor
from graphs.journal import EntryKind
from runtime import AsyncLocalRuntime
from runtime.client import AsyncClient
from runtime.connection import Connection
from runtime.testing import LocalWorld

STARTED = (EntryKind.TURN_STARTED, None, "running")
COMPLETED = (EntryKind.TURN_FINISHED, None, "completed")
FAILED = (EntryKind.TURN_FINISHED, None, "failed")
CANCELLED = (EntryKind.TURN_FINISHED, None, "cancelled")

PATIENCE_S = 10.0
"""How long a test waits for something that ought to happen at once."""


def step(node: str) -> tuple[EntryKind, str, str]:
    """The journal line of a step of `node`."""
    return EntryKind.STEP_FINISHED, node, "running"


def failed_step(node: str) -> tuple[EntryKind, str, str]:
    """The journal line of a step of `node` that failed for good."""
    return EntryKind.STEP_FAILED, node, "running"


def joined(node: str) -> tuple[EntryKind, str, str]:
    """The journal line of the join of the fork at `node`."""
    return EntryKind.JOINED, node, "running"


@asynccontextmanager
async def runtime(**options: Any) -> AsyncIterator[AsyncLocalRuntime]:
    """A runtime in which nothing may be left when all turns are over, and of which nothing may be left at all."""
    before = asyncio.all_tasks()
    async with AsyncLocalRuntime(**options) as rt:
        yield rt
        await at_rest(rt)
    assert asyncio.all_tasks() == before


def world(rt: AsyncLocalRuntime) -> LocalWorld:
    assert rt._world is not None
    return rt._world


def supervisor(rt: AsyncLocalRuntime) -> Supervisor:
    return world(rt).processes[SUPERVISOR]._services.get(Supervisor)


def hosts(rt: AsyncLocalRuntime) -> dict[str, Host]:
    processes = world(rt).processes.items()
    return {address: process._services.get(Host) for address, process in processes if process._spec.kind == "host"}


def executors(rt: AsyncLocalRuntime, kind: str = "function") -> dict[str, Executor]:
    processes = world(rt).processes.items()
    return {address: process._services.get(Executor) for address, process in processes if process._spec.kind == kind}


def told_to_end(rt: AsyncLocalRuntime) -> int:
    """How many segments are to end after their step."""
    return sum(running.end is not None for each in executors(rt).values() for running in each._running.values())


def leftovers(rt: AsyncLocalRuntime) -> dict[str, Any]:
    """What hosts and supervisor hold of threads; empty when all turns are over."""
    keeper = supervisor(rt)
    keeper._directory.validate()
    left: dict[str, Any] = {"places": dict(keeper._directory._host_of)}
    for address, host in hosts(rt).items():
        pools = host._services.executors
        places = (host._admission.running, host._admission.waiting)
        left[address] = [*host._sessions, *host._branches, *pools._running.elements(), *filter(None, places)]
    return {name: value for name, value in left.items() if value}


async def at_rest(rt: AsyncLocalRuntime) -> None:
    """Wait until nothing is held of any thread."""
    try:
        await until(lambda: not leftovers(rt))
    except TimeoutError:
        assert leftovers(rt) == {}


async def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


class Gate:
    """A point at which a node waits until the test lets it go on."""

    def __init__(self) -> None:
        self.arrived = 0
        """Times a node has come here."""
        self._news = asyncio.Condition()
        self._open = False

    async def __call__(self) -> None:
        """Be here, and wait."""
        async with self._news:
            self.arrived += 1
            self._news.notify_all()
            await self._news.wait_for(lambda: self._open)

    async def reached(self, times: int = 1) -> None:
        """Wait until a node has come here so many times."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self.arrived >= times)

    async def open(self) -> None:
        """Let everyone go on, those who are still to come too."""
        async with self._news:
            self._open = True
            self._news.notify_all()


class ManualClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        """All that was ever asked for, in order."""
        self._now = 1_000_000_000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until so much time was made to pass."""
        self.slept_s.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whoever has slept enough."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)


class SkippingClock(ManualClock):
    """Time that jumps ahead whenever someone sleeps."""

    async def sleep(self, seconds: float) -> None:
        """Go on at once, so much later."""
        self.slept_s.append(seconds)
        self._now += seconds
        await asyncio.sleep(0)


async def history(rt: AsyncLocalRuntime, thread_id: str) -> list[tuple[EntryKind, str | None, str]]:
    """(kind, node, status) of every entry of a thread."""
    entries = await rt.records.store.journal.read(thread_id)
    return [(entry.kind, entry.node, entry.cursor.status.value) for entry in entries]


async def tree(rt: AsyncLocalRuntime, session_id: str) -> dict[str, str]:
    """Path -> status of every thread of a session."""
    heads = await rt.records.store.journal.threads(session_id)
    return {head.thread.id.partition(":")[2]: head.cursor.status.value for head in heads}


@asynccontextmanager
async def another_driver(rt: AsyncLocalRuntime) -> AsyncIterator[AsyncClient]:
    """A second driver of the same Greenroom, which prefers the last of its hosts."""
    network = Network(world(rt))
    driver = AsyncClient()
    driver.config = rt.config
    driver._attach(Connection(store=rt.records.store, network=network, pack=world(rt).pack, models={}))
    for address in list(hosts(rt))[:-1]:
        driver._asked[address] += 1_000
    yield driver
    await network.close()
