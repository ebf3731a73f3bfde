"""The supervisor actor: has processes started and replaced, says which branch lives where, keeps what was deployed."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from actors.errors import DestinationDied
from actors.machine import rss_bytes
from actors.network import Network
from actors.ports import Clock, Journal
from actors.protocol import (
    Cluster,
    Deploy,
    DescribeCluster,
    DescribeProcess,
    Done,
    FetchFunctions,
    FetchHosts,
    FetchPool,
    Functions,
    Hosts,
    Message,
    Place,
    Placed,
    Pool,
    ProcessDescribed,
    ProcessInfo,
    Redeployed,
    Released,
    Retire,
    TimerSet,
    decode_reply,
    decode_request,
    encode,
)
from actors.settings import ActorSettings
from actors.supervisor.adoption import Adoption
from actors.supervisor.directory import Directory
from actors.supervisor.fleet import Fleet
from actors.supervisor.launcher import Launcher, Shelf
from actors.supervisor.placement import spread
from graphs.errors import BusinessRuleViolation

_DESCRIBED_WITHIN_S = 1.0
"""How long a process is asked how it is: one may be busy with user code that does not let the interpreter go."""

logger = logging.getLogger(__name__)


class Supervisor:
    """Answers requests about places, executors and deployments. No step of any thread passes through it.

    It may die at any time: what it knows it finds again in the processes that run, in the store and on the shelf.

    Args:
        settings: How many of what.
        launcher: Starts and watches processes.
        shelf: Where deployments are kept.
        network: The way to processes.
        journal: Knows which threads are open.
        clock: Time.
        incarnation: A number no other supervisor has.
    """

    def __init__(
        self,
        settings: ActorSettings,
        launcher: Launcher,
        shelf: Shelf,
        network: Network,
        journal: Journal,
        clock: Clock,
        incarnation: int,
    ) -> None:
        self._settings = settings
        self._shelf = shelf
        self._network = network
        self._directory = Directory()
        self._fleet = Fleet(settings, launcher, network, self._directory, clock, incarnation, self._host_lost)
        self._adoption = Adoption(journal, network, clock, self._fleet.hosts)

    async def start(self) -> None:
        """Start the hosts that are always there, unless an earlier supervisor has, and give work to them."""
        had_earlier = await self._fleet.start()
        self._adoption.start(again=had_earlier)

    async def close(self) -> None:
        """End every process."""
        await self._adoption.close()
        await self._fleet.close()

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
                return await self._functions(ref)
            case TimerSet(until=until):
                self._adoption.note_timer(until)
                return None
            case Retire(address=address):
                await self._fleet.retire(address)
                return Done()
            case DescribeCluster():
                return await self.describe()
            case _:
                raise BusinessRuleViolation(f"the supervisor does not handle {type(request).__name__}")

    # --- places -----------------------------------------------------------------------------------------------------

    async def _hosts(self, suspect: str) -> tuple[str, ...]:
        if suspect:
            await self._fleet.check(suspect)
        return await self._fleet.hosts()

    async def _place(self, request: Place) -> Placed:
        hosts = await self._hosts(request.suspect)
        new = [thread for thread in request.threads if self._directory.host_of(thread) is None]
        loads = {host: self._directory.load(host) for host in hosts}
        for thread, host in spread(new, loads).items():
            self._directory.assign(thread, host)
        self._directory.note_parent(request.threads, request.parent_host)
        self._fleet.grow()
        return Placed(hosts=tuple(self._directory.host_of(thread) or "" for thread in request.threads))

    def _host_lost(self) -> None:
        self._adoption.look()

    async def _pool(self, kind: str, suspect: str) -> tuple[str, ...]:
        if suspect:
            await self._fleet.check(suspect)
        return await self._fleet.pool(kind)

    # --- deployments ------------------------------------------------------------------------------------------------

    async def _deploy(self, request: Deploy) -> None:
        companions = encode(Functions(packed=request.functions, models=request.models, tools=request.tools))
        before = await asyncio.gather(*map(self._shelf.get, request.refs))
        await asyncio.gather(*(self._shelf.put(ref, companions) for ref in request.refs))
        stale = tuple(ref for ref, kept in zip(request.refs, before, strict=True) if kept != companions)
        if stale:
            await asyncio.gather(*(self._tell_stale(address, stale) for address in list(self._fleet.processes)))
        await asyncio.gather(*map(self._fleet.fill, request.kinds))

    async def _functions(self, ref: str) -> Functions:
        kept = await self._shelf.get(ref)
        return Functions() if kept is None else decode_reply(kept, Functions)

    async def _tell_stale(self, address: str, refs: tuple[str, ...]) -> None:
        try:
            await self._network.ask(address, Redeployed(refs=refs), Done)
        except DestinationDied:
            logger.info("%s is gone; its successor will read the new deployment", address)

    async def describe(self) -> Cluster:
        """The processes, with what they say of themselves."""
        infos = await asyncio.gather(*map(self._describe_process, list(self._fleet.processes.values())))
        return Cluster(
            processes=tuple(infos),
            waiting=sum(info.facts.waiting for info in infos),
            supervisor_rss_bytes=rss_bytes(),
        )

    async def _describe_process(self, info: ProcessInfo) -> ProcessInfo:
        """A process with what it says of itself."""
        try:
            async with asyncio.timeout(_DESCRIBED_WITHIN_S):
                seen = await self._network.ask(info.address, DescribeProcess(), ProcessDescribed)
        except (DestinationDied, TimeoutError):
            return info
        return msgspec.structs.replace(info, facts=seen.facts)
