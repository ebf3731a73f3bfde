"""The processes of a Greenroom: started, watched, and replaced when they die."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from actors.errors import DestinationDied, Overloaded
from actors.network import Network
from actors.ports import Clock
from actors.protocol import Done, PoolChanged, ProcessInfo, Retire
from actors.settings import ActorSettings
from actors.supervisor.directory import Directory
from actors.supervisor.launcher import HOST, Launcher
from actors.supervisor.placement import wanted_hosts

ENDS_WITHIN_S = 5.0
"""How long an executor that has a successor may finish its segments."""

_RETRY_S = 1.0

logger = logging.getLogger(__name__)


class Fleet:
    """Hosts and executors.

    Args:
        settings: How many of what.
        launcher: Starts and watches processes.
        network: For telling hosts which executors there are.
        directory: Where hosts are noted.
        clock: Time.
        incarnation: A number no other supervisor has; part of the addresses, so that none is ever used again.
        on_host_lost: Called when a host has died and is out of the directory.
    """

    def __init__(
        self,
        settings: ActorSettings,
        launcher: Launcher,
        network: Network,
        directory: Directory,
        clock: Clock,
        incarnation: int,
        on_host_lost: Callable[[], None],
    ) -> None:
        self.processes: dict[str, ProcessInfo] = {}
        self._settings = settings
        self._launcher = launcher
        self._network = network
        self._directory = directory
        self._clock = clock
        self._incarnation = incarnation
        self._on_host_lost = on_host_lost
        self._pools: dict[str, list[str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._numbers = itertools.count(1)
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[Any]] = set()
        self._growing: asyncio.Task[None] | None = None

    async def start(self) -> bool:
        """Take over the processes of an earlier supervisor, and start the hosts that are always there.

        Returns:
            Whether there was an earlier supervisor.
        """
        found = await self._launcher.running()
        for info in found:
            self._add(info)
        if self._directory.hosts:
            self.grow()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._settings.hosts.min_hosts):
                    group.create_task(self._spawn(HOST))
        return bool(found)

    async def close(self) -> None:
        """End all processes."""
        tasks = [*self._watchers.values(), *self._chores, *([self._growing] if self._growing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*map(self._launcher.kill, list(self.processes)))

    # --- hosts ------------------------------------------------------------------------------------------------------

    async def hosts(self) -> tuple[str, ...]:
        """The hosts there are; if none is left, whoever asks waits for a new one. Raises what its start failed with."""
        self.grow()
        while not self._directory.hosts and self._growing is not None:
            await asyncio.shield(self._growing)
        return self._directory.hosts

    def grow(self) -> None:
        """Start another host in the background if there are too few, or more threads than hosts."""
        hosts = self._settings.hosts
        wanted = wanted_hosts(self._directory.size, hosts.min_hosts, hosts.max_hosts)
        if self._growing is None and len(self._directory.hosts) < wanted:
            self._growing = asyncio.create_task(self._spawn(HOST), name="one more host")
            self._growing.add_done_callback(self._grown)

    def _grown(self, task: asyncio.Task[None]) -> None:
        self._growing = None
        if task.cancelled():
            return
        if task.exception() is not None:
            logger.error("a host could not be started: %s", task.exception())
            self._do(self._grow_later())
        else:
            self.grow()

    async def _grow_later(self) -> None:
        await self._clock.sleep(_RETRY_S)
        self.grow()

    # --- executors --------------------------------------------------------------------------------------------------

    async def pool(self, kind: str) -> tuple[str, ...]:
        """The executors of a kind. Whoever asks waits only if there is none."""
        pool = self._pools.get(kind) or await self.fill(kind)
        return tuple(pool)

    async def fill(self, kind: str) -> tuple[str, ...]:
        """Start the executors of a kind that are missing; all there are then."""
        async with self._lock(kind):
            pool = self._pools.setdefault(kind, [])
            missing = self._settings.executor(kind).processes - len(pool)
            if missing > 0:
                await asyncio.gather(*(self._spawn(kind) for _ in range(missing)))
                await self._tell_hosts(kind)
            return tuple(pool)

    async def retire(self, address: str) -> None:
        """Replace an executor: from now on its successor is asked, and it ends when its segments are over."""
        info = self.processes.get(address)
        if info is None:
            return
        async with self._lock(info.kind):
            pool = self._pools[info.kind]
            if address not in pool:
                return
            await self._spawn(info.kind)
            if address in pool:
                pool.remove(address)
            await self._tell_hosts(info.kind)
        logger.warning("executor %s is stuck in a function; another one takes its place", address)
        self._do(self._end(info))

    async def _end(self, process: ProcessInfo) -> None:
        address = process.address
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await self._network.ask(address, Retire(address=address), Done)
        except (DestinationDied, TimeoutError):
            await self._launcher.end(process)
        else:
            await self._launcher.kill(address)

    async def _refill(self, kind: str) -> None:
        try:
            await self.fill(kind)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may go better; hosts that ask see it
            logger.error("an executor could not be started: %s", error)
            await self._clock.sleep(_RETRY_S)
            self._do(self._refill(kind))

    async def _tell_hosts(self, kind: str) -> None:
        changed = PoolChanged(kind=kind, executors=tuple(self._pools[kind]))
        for host in self._directory.hosts:
            with suppress(Overloaded):  # it asks when the executors it knows are gone
                await self._network.tell(host, changed)

    # --- all processes ----------------------------------------------------------------------------------------------

    async def check(self, suspect: str) -> None:
        """Find out whether a process that somebody could not reach is dead."""
        async with self._lock(suspect):
            info = self.processes.get(suspect)
            if info is not None and not await self._launcher.alive(info):
                await self._lose(info)

    async def _spawn(self, kind: str) -> None:
        address = f"{kind}-{self._incarnation}.{next(self._numbers)}"
        self._add(await self._launcher.spawn(kind, address))

    def _add(self, info: ProcessInfo) -> None:
        self.processes[info.address] = info
        if info.kind == HOST:
            self._directory.add_host(info.address)
        else:
            self._pools.setdefault(info.kind, []).append(info.address)
        self._watchers[info.address] = asyncio.create_task(self._watch(info), name=f"watching {info.address}")

    async def _watch(self, info: ProcessInfo) -> None:
        await self._launcher.died(info)
        await self._lose(info)

    async def _lose(self, info: ProcessInfo) -> None:
        """A process is dead: strike it off, and have it replaced. Nobody waits for its successor."""
        if self.processes.pop(info.address, None) is None:
            return
        watcher = self._watchers.pop(info.address)
        if watcher is not asyncio.current_task():
            watcher.cancel()
        if info.kind == HOST:
            threads = self._directory.remove_host(info.address)
            logger.warning("host %s died with %d branches", info.address, len(threads))
            self._on_host_lost()
            self.grow()
        elif info.address in self._pools[info.kind]:
            self._pools[info.kind].remove(info.address)
            logger.warning("executor %s died", info.address)
            self._do(self._refill(info.kind))
        await self._network.forget(info.address)

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
