"""Greenroom in one event loop: the same actors, a store in memory, no Ray. For tests, and for trying things out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
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
from actors.supervisor.actor import Launcher
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
        self._functions: dict[bytes, Mapping[str, Any]] = {}
        self._packed = itertools.count(1)

    @property
    def dialer(self) -> Dialer:
        """Opens channels to other processes."""
        return self

    @property
    def launcher(self) -> Launcher:
        """Starts other processes."""
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

    async def alive(self, address: str) -> bool:
        """Whether there is a process at `address`."""
        return address in self.processes

    async def kill(self, address: str) -> None:
        """End the process at `address`."""
        process = self.processes.pop(address, None)
        if process is not None:
            await process.close()


class _Kept:
    """A store that a process may close without ending it for the others."""

    def __init__(self, store: Store) -> None:
        self.journal = store.journal
        self.live = store.live
        self.sessions = store.sessions
        self.values = store.values
        self.workflows = store.workflows
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
        self._attach(Connection(store=world.store, network=network, pack=world.pack, models=settings.models))
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
