"""Greenroom in one event loop: the same actors, a store in memory, no Ray. For tests, and for trying things out."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from actors.clock import SystemClock
from actors.errors import DestinationDied
from actors.mailbox import Channel, LocalTransport
from actors.network import SUPERVISOR, Dialer, Network
from actors.ports import Clock, Store
from actors.processes import ActorProcess, ProcessSpec
from actors.protocol import ProcessInfo
from actors.settings import ActorSettings
from actors.stores.memory import MemoryStore
from actors.supervisor.launcher import Launcher, Shelf, kind_of
from runtime.client import AsyncClient
from runtime.connection import Connection
from runtime.options import actor_settings, load
from runtime.sync import SyncClient


class LocalWorld:
    """Actor processes that are objects in this event loop.

    Args:
        settings: Settings of all of them.
        store: Their store.
        clock: What they tell the time by.
    """

    def __init__(self, settings: ActorSettings, store: Store, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._settings = settings
        self.store = _Kept(store)
        self.processes: dict[str, ActorProcess] = {}
        self._ends: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._shelf: dict[str, bytes] = {}
        self._functions: dict[bytes, Mapping[str, Any]] = {}
        self._packed = itertools.count(1)

    @property
    def dialer(self) -> Dialer:
        """Opens channels to other processes."""
        return self

    async def guard_supervisor(self) -> None:
        """Nothing: in one loop it cannot hang alone."""

    @property
    def end_process(self) -> None:
        """It is everybody's."""

    @property
    def launcher(self) -> Launcher:
        """Starts other processes."""
        return self

    @property
    def shelf(self) -> Shelf:
        """What outlives the supervisor."""
        return self

    @property
    def unpack(self) -> Callable[[bytes], Mapping[str, Any]]:
        """The callables that `pack` kept."""
        return self._functions.__getitem__

    def pack(self, functions: Mapping[str, Callable[..., Any]]) -> bytes:
        """Keep callables under a key."""
        key = str(next(self._packed)).encode()
        self._functions[key] = dict(functions)
        return key

    async def open_store(self, url: str) -> Store:
        """The store of this world, which outlives its processes."""
        return self.store

    async def dial(self, address: str) -> Channel:
        """A new channel to the process at `address`."""
        process = self.processes.get(address)
        if process is None:
            raise DestinationDied(f"there is no {address}", destination=address)
        return Channel(address, LocalTransport(process.mailbox))

    async def spawn(self, kind: str, address: str) -> ProcessInfo:
        """Start a process."""
        process = ActorProcess(ProcessSpec(kind=kind, address=address, settings=self._settings), self)
        await process.start()
        self.processes[address] = process
        return ProcessInfo(address=address, kind=kind)

    async def running(self) -> Sequence[ProcessInfo]:
        """The processes there are, but for the supervisor."""
        return [ProcessInfo(address=name, kind=kind_of(name)) for name in self.processes if name != SUPERVISOR]

    async def alive(self, process: ProcessInfo) -> bool:
        """Whether there is such a process."""
        return process.address in self.processes

    async def died(self, process: ProcessInfo) -> None:
        """Returns when the process has ended."""
        await self._ends[process.address].wait()

    async def kill(self, address: str) -> None:
        """End the process at `address`."""
        process = self.processes.pop(address, None)
        if process is not None:
            self._ends[address].set()
            await process.close()

    async def end(self, process: ProcessInfo) -> None:
        """End a process."""
        await self.kill(process.address)

    async def put(self, key: str, value: bytes) -> None:
        """Remember `value`."""
        self._shelf[key] = value

    async def get(self, key: str) -> bytes | None:
        """What was put under `key`."""
        return self._shelf.get(key)


class _Kept:
    """A store that a process may close without ending it for the others."""

    def __init__(self, store: Store) -> None:
        self.journal = store.journal
        self.live = store.live
        self.sessions = store.sessions
        self.values = store.values
        self.snapshots = store.snapshots
        self.upkeep = store.upkeep
        self.cache = store.cache
        self.workflows = store.workflows
        self.history = store.history
        self.limits = store.limits
        self.next_incarnation = store.next_incarnation
        self.ping = store.ping

    async def close(self) -> None:
        """Nothing: the world's store stays."""


class AsyncLocalRuntime(AsyncClient):
    """`AsyncRuntime` without Ray, store or processes: everything runs in the event loop that enters it.

    Args:
        clock: What the actors tell the time by: backoffs and the deadlines of forks follow it. None: real time.
        **options: As for `AsyncRuntime`; those about Ray and Redis have no effect.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    def __init__(self, *, clock: Clock | None = None, **options: Any) -> None:
        self.config = load(**options)
        self._clock = clock
        self._world: LocalWorld | None = None
        self._network: Network | None = None

    async def __aenter__(self) -> Self:
        settings = actor_settings(self.config, "memory://")
        world = self._world = LocalWorld(settings, MemoryStore(), self._clock)
        await world.spawn(SUPERVISOR, SUPERVISOR)
        network = self._network = Network(world)
        self._attach(
            Connection(
                store=world.store,
                network=network,
                pack=world.pack,
                models=settings.models,
                tools=settings.tools,
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._network is not None
        assert self._world is not None
        await self._network.close()
        await self._world.kill(SUPERVISOR)


class LocalRuntime(SyncClient):
    """`Runtime` without Ray, store or processes: everything runs in one thread of this process.

    Args:
        **options: As for `Runtime`; those about Ray and Redis have no effect.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(AsyncLocalRuntime(**options))
