"""Actor processes on a Ray cluster: how they find, start and end each other."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import tenacity

from actors import machine, remote
from actors.clock import SystemClock
from actors.errors import DestinationDied
from actors.functions import unpack_functions
from actors.mailbox import Channel
from actors.network import SUPERVISOR, Dialer
from actors.ports import Clock, Store
from actors.processes import ActorProcess, ProcessSpec
from actors.protocol import ProcessInfo
from actors.remote import ActorHandle
from actors.settings import ActorSettings
from actors.stores.redis import RedisStore
from actors.supervisor.launcher import HOST, Launcher, Shelf, kind_of

_FACTORY = "actors.world:build"
_PING_EVERY_S = 0.5
_PATIENCE_S = 1.5
"""A process that does not answer a ping for so long counts as dead, if it is suspended or the connection to it lost."""
_REMOTE_PATIENCE_S = 4.0
"""The same for a host of another machine, which cannot be looked at."""
_BUSY_PATIENCE_S = 15.0
"""The same for one that may just be busy, with user code that never lets the interpreter go or on a machine that is."""
_SLICE_S = 0.25
"""Patience is counted in the turns of whoever waits, so that one who was held up himself does not blame others."""
_SUSPICION_S = 30.0
"""How long nothing is started on a node whose processes have vanished all at once, if there are others."""

_RESTART_S = 60.0
"""How long a process is waited for that Ray is starting again."""


class RayWorld:
    """Where actor processes are Ray actors; an address is the name of one.

    Args:
        settings: Settings of all processes.
    """

    def __init__(self, settings: ActorSettings) -> None:
        self._settings = settings
        self._nodes: dict[str, str] = {}
        """Process -> id of its node."""
        self._suspected: dict[str, float] = {}
        """Node whose processes have not answered -> when, by the clock of the event loop."""

    @property
    def dialer(self) -> Dialer:
        """Opens channels to other processes."""
        return self

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
        """Opens packed Python callables."""
        return unpack_functions

    @property
    def clock(self) -> Clock:
        """The machine's."""
        return SystemClock()

    async def open_store(self, url: str) -> Store:
        """Connect to Redis or Valkey."""
        return await RedisStore.connect(url, shared=Path(self._settings.shared_values))

    async def dial(self, address: str) -> Channel:
        """A new channel to the process called `address`. Raises `DestinationDied` if there is none."""
        actor = await asyncio.to_thread(remote.find, address)
        if actor is None:
            raise DestinationDied(f"there is no {address}", destination=address)
        return Channel(address, remote.transport(actor))

    async def spawn(self, kind: str, address: str) -> ProcessInfo:
        """Start a process; returns when it answers.

        Raises:
            GreenroomError: Its start failed.
        """
        spec = msgspec.msgpack.encode(ProcessSpec(kind=kind, address=address, settings=self._settings))
        node_id = "" if kind == SUPERVISOR else self._choose_node(kind, await asyncio.to_thread(remote.nodes))
        self._nodes[address] = node_id
        actor = await asyncio.to_thread(partial(remote.create, _FACTORY, spec, address, node_id=node_id))
        try:
            await _started(actor)
            info = await self._info(actor, address)
        except BaseException:
            self._nodes.pop(address, None)
            await asyncio.to_thread(remote.kill, address)
            raise
        self._nodes[address] = info.node_id
        return info

    async def start_supervisor(self) -> None:
        """Start the supervisor of this cluster, unless it runs already."""
        await self.spawn(SUPERVISOR, SUPERVISOR)

    async def running(self) -> Sequence[ProcessInfo]:
        """The processes that run, but for the supervisor."""
        found = []
        for address in await asyncio.to_thread(remote.names):
            actor = None if address == SUPERVISOR else await asyncio.to_thread(remote.find, address)
            if actor is not None:
                found.append(self._identified(actor, address))
        infos = [info for info in await asyncio.gather(*found) if info is not None]
        self._nodes.update({info.address: info.node_id for info in infos})
        return infos

    async def alive(self, process: ProcessInfo) -> bool:
        """Whether a process answers. One that does not is ended for good."""
        actor = await asyncio.to_thread(remote.find, process.address)
        if actor is not None and await self._answers(actor, process):
            return True
        await self._end(process)
        return False

    async def died(self, process: ProcessInfo) -> None:
        """Returns when a process is dead, or was ended because it did not answer."""
        actor = await asyncio.to_thread(remote.find, process.address)
        death: asyncio.Task[None] | None = None
        try:
            while actor is not None:
                if death is None or death.done():
                    death = asyncio.create_task(remote.death(actor))
                await asyncio.wait([death], timeout=_PING_EVERY_S)
                if not await self._answers(actor, process, is_cut_off=death.done()):
                    break
        finally:
            if death is not None:
                death.cancel()
        await self._end(process)

    async def kill(self, address: str) -> None:
        """End the process called `address`, if there is one: it closes first, if it can."""
        actor = await asyncio.to_thread(remote.find, address)
        if actor is not None:
            await remote.close(actor)
            await asyncio.to_thread(remote.kill, address)
        self._nodes.pop(address, None)

    async def put(self, key: str, value: bytes) -> None:
        """See `Shelf`."""
        await asyncio.to_thread(remote.remember, key, value)

    async def get(self, key: str) -> bytes | None:
        """See `Shelf`."""
        return await asyncio.to_thread(remote.recall, key)

    async def _answers(self, actor: ActorHandle, process: ProcessInfo, *, is_cut_off: bool = False) -> bool:
        """Whether a process answers a ping in time.

        Args:
            actor: The process.
            process: What is known of it.
            is_cut_off: The connection to it has been lost, which being busy does not explain.
        """
        here = process.node_id == remote.own_node()
        ping = asyncio.create_task(remote.whereabouts(actor))
        try:
            for slices in itertools.count(1):
                await asyncio.wait([ping], timeout=_SLICE_S)
                if ping.done():
                    if ping.exception() is None:
                        return True
                    if not _is_unavailable(ping.exception()):
                        return False
                    if is_cut_off:
                        break
                    is_cut_off = True
                    ping = asyncio.create_task(_ping_later(actor))
                if slices * _SLICE_S >= (_PATIENCE_S if is_cut_off else _patience_s(process, here=here)):
                    break
        finally:
            ping.cancel()
        self._suspected[process.node_id] = asyncio.get_running_loop().time()
        return False

    async def _end(self, process: ProcessInfo) -> None:
        """End a process that is dead, or as good as dead: whatever it is, it must not come back."""
        await asyncio.to_thread(remote.kill, process.address)
        if process.node_id == remote.own_node():
            machine.end(process.pid)
        self._nodes.pop(process.address, None)

    def _choose_node(self, kind: str, nodes: Sequence[str]) -> str:
        """The node with the fewest processes of a kind, then with the fewest of all."""
        now = asyncio.get_running_loop().time()
        suspected = {node for node, at in self._suspected.items() if now - at < _SUSPICION_S}
        there = Counter(self._nodes.values())
        of_kind = Counter(node for address, node in self._nodes.items() if kind_of(address) == kind)
        return min(nodes, key=lambda node: (node in suspected, of_kind[node], there[node]))

    async def _identified(self, actor: ActorHandle, address: str) -> ProcessInfo | None:
        try:
            async with asyncio.timeout(_BUSY_PATIENCE_S):
                return await self._info(actor, address)
        except (DestinationDied, TimeoutError):
            await asyncio.to_thread(remote.kill, address)
            return None

    async def _info(self, actor: ActorHandle, address: str) -> ProcessInfo:
        node_id, pid = await remote.whereabouts(actor)
        return ProcessInfo(address=address, kind=kind_of(address), pid=pid, node_id=node_id)


def _patience_s(process: ProcessInfo, *, here: bool) -> float:
    """How long a process to which there is a connection may take to answer."""
    if here:
        return _BUSY_PATIENCE_S if machine.is_running(process.pid) else _PATIENCE_S
    return _REMOTE_PATIENCE_S if process.kind == HOST else _BUSY_PATIENCE_S


async def _ping_later(actor: ActorHandle) -> tuple[str, int]:
    await asyncio.sleep(_SLICE_S)
    return await remote.whereabouts(actor)


def _is_unavailable(error: BaseException | None) -> bool:
    return isinstance(error, DestinationDied) and bool(error.fields.get("unavailable"))


@tenacity.retry(
    retry=tenacity.retry_if_exception(_is_unavailable),
    wait=tenacity.wait_exponential_jitter(multiplier=0.05, max=0.5, jitter=0.05),
    stop=tenacity.stop_after_delay(_RESTART_S),
    reraise=True,
)
async def _started(actor: ActorHandle) -> None:
    """Wait until a process has started; one that Ray is starting again just now is not ended for that."""
    await remote.start(actor)


def build(settings: bytes) -> ActorProcess:
    """What Ray builds inside an actor process."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, which may hold keys
    spec = msgspec.msgpack.decode(settings, type=ProcessSpec)
    return ActorProcess(spec, RayWorld(spec.settings))
