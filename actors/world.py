"""Actor processes on a Ray cluster: how they find, start and end each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from actors import remote
from actors.clock import SystemClock
from actors.errors import DestinationDied
from actors.functions import unpack_functions
from actors.mailbox import Channel
from actors.network import SUPERVISOR, Dialer
from actors.ports import Clock, Store
from actors.processes import ActorProcess, ProcessSpec
from actors.protocol import ProcessInfo
from actors.settings import ActorSettings
from actors.stores.redis import RedisStore
from actors.supervisor.actor import Launcher

_FACTORY = "actors.world:build"
_ALIVE_WITHIN_S = 2.0
"""A process that does not answer a ping for so long counts as dead."""


class RayWorld:
    """Where actor processes are Ray actors; an address is the name of one.

    Args:
        settings: Settings of all processes.
    """

    def __init__(self, settings: ActorSettings) -> None:
        self._settings = settings

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
        """Opens packed Python callables."""
        return unpack_functions

    @property
    def clock(self) -> Clock:
        """The machine's."""
        return SystemClock()

    async def open_store(self, url: str) -> Store:
        """Connect to Redis or Valkey."""
        return await RedisStore.connect(url)

    async def dial(self, address: str) -> Channel:
        """A new channel to the process called `address`. Raises `DestinationDied` if there is none."""
        actor = await asyncio.to_thread(remote.find, address)
        if actor is None:
            raise DestinationDied(f"there is no {address}", destination=address)
        return Channel(address, remote.RayTransport(actor))

    async def spawn(self, kind: str, address: str) -> ProcessInfo:
        """Start a process; returns when it answers.

        Raises:
            GreenroomError: Its start failed.
        """
        spec = msgspec.msgpack.encode(ProcessSpec(kind=kind, address=address, settings=self._settings))
        actor = await asyncio.to_thread(remote.create, _FACTORY, spec, address)
        try:
            await remote.start(actor)
        except BaseException:
            await asyncio.to_thread(remote.kill, address)
            raise
        node_id, pid = await remote.whereabouts(actor)
        return ProcessInfo(address=address, kind=kind, pid=pid, node_id=node_id)

    async def start_supervisor(self) -> None:
        """Start the supervisor of this cluster, unless it runs already."""
        await self.spawn(SUPERVISOR, SUPERVISOR)

    async def alive(self, address: str) -> bool:
        """Whether the process called `address` answers."""
        actor = await asyncio.to_thread(remote.find, address)
        if actor is None:
            return False
        try:
            async with asyncio.timeout(_ALIVE_WITHIN_S):
                await remote.whereabouts(actor)
        except (DestinationDied, TimeoutError):
            await asyncio.to_thread(remote.kill, address)  # whatever it is, it must not come back
            return False
        return True

    async def kill(self, address: str) -> None:
        """End the process called `address`, if there is one: it closes first, if it can."""
        actor = await asyncio.to_thread(remote.find, address)
        if actor is not None:
            await remote.close(actor)
            await asyncio.to_thread(remote.kill, address)


def build(settings: bytes) -> ActorProcess:
    """What Ray builds inside an actor process."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, which may hold keys
    spec = msgspec.msgpack.decode(settings, type=ProcessSpec)
    return ActorProcess(spec, RayWorld(spec.settings))
