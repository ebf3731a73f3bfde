"""Actor processes on a Ray cluster: how they find, start and end each other."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import tenacity

from actors import machine, remote, watch
from actors.clock import SystemClock
from actors.errors import DestinationDied
from actors.functions import unpack_functions
from actors.guard import STARTS_WITHIN_S, Guard
from actors.mailbox import Channel
from actors.network import SUPERVISOR, Dialer
from actors.ports import Clock, Store
from actors.processes import ActorProcess, ProcessSpec
from actors.protocol import ProcessInfo
from actors.remote import ActorHandle
from actors.settings import ActorSettings
from actors.stores.redis import RedisStore
from actors.supervisor.launcher import Launcher, Shelf, kind_of
from actors.watch import BUSY_PATIENCE_S, Silence, is_unavailable

_FACTORY = "actors.world:build"
_PING_EVERY_S = 0.5
_SUSPICION_S = 30.0
"""How long nothing is started on a node whose processes have vanished all at once, if there are others."""


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

    @property
    def end_process(self) -> Callable[[], object]:
        """See `World`."""
        return partial(machine.end, os.getpid())

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
        await self.end(process)
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
        await self.end(process)

    async def guard_supervisor(self) -> None:
        """See `World`."""
        await Guard(_Supervisor(), remote.own_node()).run()

    async def kill(self, address: str) -> None:
        """See `Launcher`."""
        actor = await asyncio.to_thread(remote.find, address)
        if actor is not None:
            await remote.close(actor)
            await asyncio.to_thread(remote.kill, address)
        self._nodes.pop(address, None)

    async def end(self, process: ProcessInfo) -> None:
        """End a process that is dead, or as good as dead: whatever it is, it must not come back."""
        await asyncio.to_thread(remote.kill, process.address)
        if process.node_id == remote.own_node():
            machine.end(process.pid)
        self._nodes.pop(process.address, None)

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

        def patience_s(is_cut_off: bool) -> float:
            runs = machine.is_running(process.pid) if here else None
            return watch.patience_s(process.kind, runs=runs, is_cut_off=is_cut_off)

        answer = await watch.ask(partial(remote.whereabouts, actor), patience_s, is_cut_off=is_cut_off)
        if answer in {Silence.CUT_OFF, Silence.MUTE}:
            self._suspected[process.node_id] = asyncio.get_running_loop().time()
        return not isinstance(answer, Silence)

    def _choose_node(self, kind: str, nodes: Sequence[str]) -> str:
        """The node with the fewest processes of a kind, then with the fewest of all."""
        now = asyncio.get_running_loop().time()
        suspected = {node for node, at in self._suspected.items() if now - at < _SUSPICION_S}
        there = Counter(self._nodes.values())
        of_kind = Counter(node for address, node in self._nodes.items() if kind_of(address) == kind)
        return min(nodes, key=lambda node: (node in suspected, of_kind[node], there[node]))

    async def _identified(self, actor: ActorHandle, address: str) -> ProcessInfo | None:
        try:
            async with asyncio.timeout(BUSY_PATIENCE_S):
                return await self._info(actor, address)
        except (DestinationDied, TimeoutError):
            await asyncio.to_thread(remote.kill, address)
            return None

    async def _info(self, actor: ActorHandle, address: str) -> ProcessInfo:
        node_id, pid = await remote.whereabouts(actor)
        return ProcessInfo(address=address, kind=kind_of(address), pid=pid, node_id=node_id)


class _Supervisor:
    """The supervisor as hosts guard it (`Guarded`)."""

    def __init__(self) -> None:
        self._actor: ActorHandle | None = None

    async def whereabouts(self) -> tuple[str, int]:
        """Id of its node, and of its process, said by its event loop. Raises `DestinationDied`."""
        try:
            return await remote.presence(await self._found())
        except DestinationDied as error:
            if not is_unavailable(error):
                self._actor = None  # there may be another one of this name
            raise

    async def restart(self) -> None:
        """Have its process ended and another one started. Raises `DestinationDied`."""
        await asyncio.to_thread(remote.restart, await self._found())

    async def _found(self) -> ActorHandle:
        if self._actor is None:
            self._actor = await asyncio.to_thread(remote.find, SUPERVISOR)
        if self._actor is None:
            raise DestinationDied("there is no supervisor", destination=SUPERVISOR)
        return self._actor


@tenacity.retry(
    retry=tenacity.retry_if_exception(is_unavailable),
    wait=tenacity.wait_exponential_jitter(multiplier=0.05, max=0.5, jitter=0.05),
    stop=tenacity.stop_after_delay(STARTS_WITHIN_S),
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
