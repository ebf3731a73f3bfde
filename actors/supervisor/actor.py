"""The supervisor actor: starts hosts and executors, says which thread lives where, and replaces what has died."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import Protocol

import msgspec

from actors.errors import DestinationDied
from actors.network import Network
from actors.ports import Clock
from actors.protocol import (
    Cluster,
    Deploy,
    DescribeCluster,
    DescribeHost,
    Done,
    FetchFunctions,
    FetchHosts,
    FetchPool,
    Functions,
    HostDescribed,
    Hosts,
    Message,
    Place,
    Placed,
    Pool,
    ProcessInfo,
    Redeployed,
    Released,
    Retire,
    decode_request,
    encode,
)
from actors.settings import ActorSettings
from actors.supervisor.directory import Directory
from actors.supervisor.placement import spread, wanted_hosts
from graphs.errors import BusinessRuleViolation

HOST = "host"

ENDS_WITHIN_S = 5.0
"""How long an executor that has a successor may finish its segments."""

logger = logging.getLogger(__name__)


class Launcher(Protocol):
    """Starts and ends actor processes."""

    async def spawn(self, kind: str, address: str) -> ProcessInfo:
        """Start a process of `kind` that answers at `address`; returns when it does."""

    async def alive(self, address: str) -> bool:
        """Whether the process at `address` answers."""

    async def kill(self, address: str) -> None:
        """End the process at `address`, if there is one."""


class Supervisor:
    """Answers requests about places, executors and deployments. No step of any thread passes through it.

    Args:
        settings: How many of what.
        launcher: Starts processes.
        network: For telling processes what is new.
        clock: Time.
    """

    def __init__(self, settings: ActorSettings, launcher: Launcher, network: Network, clock: Clock) -> None:
        self._settings = settings
        self._launcher = launcher
        self._network = network
        self._clock = clock
        self._directory = Directory()
        self._processes: dict[str, ProcessInfo] = {}
        self._pools: dict[str, list[str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._deployed: dict[str, Functions] = {}
        self._numbers = itertools.count(1)
        self._growing: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the hosts that are always there."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.hosts.min_hosts):
                group.create_task(self._spawn_host())

    async def close(self) -> None:
        """End every process this supervisor has started."""
        ending = [*self._endings, *([self._growing] if self._growing is not None else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.gather(*map(self._launcher.kill, list(self._processes)))

    async def handle(self, body: bytes) -> bytes | None:
        """Answer one request."""
        reply = await self._handle(decode_request(body))
        return None if reply is None else encode(reply)

    async def _handle(self, request: object) -> Message | None:
        match request:
            case Place():
                return await self._place(request)
            case Released(threads=threads):
                self._directory.release(threads)
                return None
            case FetchHosts(suspect=suspect):
                return Hosts(hosts=await self._hosts(suspect), store=self._settings.store)
            case FetchPool(kind=kind, suspect=suspect):
                return Pool(executors=await self._pool(kind, suspect))
            case Deploy():
                await self._deploy(request)
                return Done()
            case FetchFunctions(ref=ref):
                return self._deployed.get(ref, Functions())
            case DescribeCluster():
                return await self._describe()
            case Retire(address=address):
                await self._retire(address)
                return Done()
            case _:
                raise BusinessRuleViolation(f"the supervisor does not handle {type(request).__name__}")

    # --- places -----------------------------------------------------------------------------------------------------

    async def _hosts(self, suspect: str) -> tuple[str, ...]:
        if suspect:
            await self._check_host(suspect)
        return await self._some_hosts()

    async def _place(self, request: Place) -> Placed:
        if request.suspect:
            await self._check_host(request.suspect)
        hosts = await self._some_hosts()
        new = [thread for thread in request.threads if self._directory.host_of(thread) is None]
        loads = {host: self._directory.load(host) for host in hosts}
        for thread, host in spread(new, loads).items():
            self._directory.assign(thread, host)
        self._directory.note_parent(request.threads, request.parent_host)
        self._grow()
        return Placed(hosts=tuple(self._directory.host_of(thread) or "" for thread in request.threads))

    # --- processes --------------------------------------------------------------------------------------------------

    async def _spawn_host(self) -> None:
        info = await self._spawn(HOST)
        self._directory.add_host(info.address)

    async def _spawn(self, kind: str) -> ProcessInfo:
        address = f"{kind}-{next(self._numbers)}"
        info = await self._launcher.spawn(kind, address)
        self._processes[address] = info
        return info

    async def _some_hosts(self) -> tuple[str, ...]:
        """The hosts there are; if none is left, whoever asks waits for a new one. Raises what its start failed with."""
        self._grow()
        while not self._directory.hosts and self._growing is not None:
            await asyncio.shield(self._growing)
        return self._directory.hosts

    def _grow(self) -> None:
        """Start another host in the background if there are too few, or more threads than hosts."""
        hosts = self._settings.hosts
        wanted = wanted_hosts(self._directory.size, hosts.min_hosts, hosts.max_hosts)
        if self._growing is None and len(self._directory.hosts) < wanted:
            self._growing = asyncio.create_task(self._spawn_host(), name="one more host")
            self._growing.add_done_callback(self._grown)

    def _grown(self, task: asyncio.Task[None]) -> None:
        self._growing = None
        if task.cancelled():
            return
        if task.exception() is not None:
            logger.error("a host could not be started: %s", task.exception())
        else:
            self._grow()

    async def _check_host(self, host: str) -> None:
        """If `host` is dead, free its threads."""
        async with self._lock(host):
            if host not in self._directory.hosts or await self._launcher.alive(host):
                return
            threads = self._directory.remove_host(host)
            del self._processes[host]
            await self._network.forget(host)
            logger.warning("host %s died with %d threads", host, len(threads))

    async def _pool(self, kind: str, suspect: str = "") -> tuple[str, ...]:
        async with self._lock(kind):
            pool = self._pools.setdefault(kind, [])
            if suspect in pool and not await self._launcher.alive(suspect):
                pool.remove(suspect)
                del self._processes[suspect]
                await self._network.forget(suspect)
                logger.warning("executor %s died", suspect)
            missing = self._settings.executor(kind).processes - len(pool)
            pool.extend(info.address for info in await asyncio.gather(*(self._spawn(kind) for _ in range(missing))))
            return tuple(pool)

    async def _retire(self, address: str) -> None:
        """Replace an executor: from now on its successor is asked, and it ends when its segments are over."""
        info = self._processes.get(address)
        if info is None:
            return
        async with self._lock(info.kind):
            pool = self._pools[info.kind]
            if address not in pool:
                return
            successor = await self._spawn(info.kind)
            pool[pool.index(address)] = successor.address
        logger.warning("executor %s is stuck in a function; %s takes its place", address, successor.address)
        ending = asyncio.create_task(self._end(address), name=f"end of {address}")
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _end(self, address: str) -> None:
        with contextlib.suppress(DestinationDied, TimeoutError):
            async with asyncio.timeout(ENDS_WITHIN_S):
                await self._network.ask(address, Retire(address=address), Done)
        await self._launcher.kill(address)
        self._processes.pop(address, None)
        await self._network.forget(address)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    # --- deployments ------------------------------------------------------------------------------------------------

    async def _deploy(self, request: Deploy) -> None:
        companions = Functions(packed=request.functions, models=request.models)
        stale = [ref for ref in request.refs if self._deployed.get(ref, companions) != companions]
        for ref in request.refs:
            self._deployed[ref] = companions
        if stale:
            await asyncio.gather(*(self._tell_stale(address, tuple(stale)) for address in list(self._processes)))
        await asyncio.gather(*map(self._pool, request.kinds))

    async def _tell_stale(self, address: str, refs: tuple[str, ...]) -> None:
        try:
            await self._network.ask(address, Redeployed(refs=refs), Done)
        except DestinationDied:
            logger.info("%s is gone; its successor will read the new deployment", address)

    async def _describe(self) -> Cluster:
        infos = await asyncio.gather(*map(self._describe_process, list(self._processes.values())))
        return Cluster(processes=tuple(info for info, _ in infos), waiting=sum(waiting for _, waiting in infos))

    async def _describe_process(self, info: ProcessInfo) -> tuple[ProcessInfo, int]:
        """What is known of a process, and how many turns wait there."""
        if info.kind != HOST:
            return info, 0
        try:
            host = await self._network.ask(info.address, DescribeHost(), HostDescribed)
        except DestinationDied:
            return info, 0
        described = msgspec.structs.replace(info, threads=host.threads, threads_total=host.threads_total)
        return described, host.waiting
