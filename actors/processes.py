"""What is inside each actor process: the adapters it needs, wired to the one actor it is there for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from actors.blocking import BlockingPool
from actors.branches import Branches
from actors.catalog import Catalog, FunctionSource, Means, MeansSource
from actors.executors.base import Executor, ExecutorServices
from actors.executors.function import FunctionRunner
from actors.executors.live import LiveReporter
from actors.executors.llm import LlmRunner
from actors.executors.log import Recording
from actors.executors.loop_watch import LoopWatch
from actors.executors.permissions import Permissions
from actors.executors.results import Results
from actors.executors.runner import NodeRunner
from actors.executors.texts import Texts
from actors.executors.tool import ToolRunner
from actors.executors.toolbox import Toolboxes
from actors.host import Host
from actors.mailbox import Handler, Mailbox
from actors.network import SUPERVISOR, Dialer, Network
from actors.pools import ExecutorPools
from actors.ports import Clock, Store
from actors.programs import load_program
from actors.protocol import Done, FetchFunctions, Functions, Retire
from actors.remembered import Remembered
from actors.retention import Retention
from actors.services import Services
from actors.settings import ActorSettings
from actors.supervisor.actor import Supervisor
from actors.supervisor.launcher import HOST, Launcher, Shelf
from actors.telemetry.metrics import Metrics
from actors.thread_services import ThreadAtRest, ThreadServices
from actors.values import Values


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to be. Holds secrets: never log it."""

    kind: str
    """`supervisor`, `host`, or the kind of nodes an executor runs."""
    address: str
    settings: ActorSettings


class World(Protocol):
    """What differs between a Ray cluster and a single event loop."""

    @property
    def dialer(self) -> Dialer:
        """Opens channels to other processes."""

    @property
    def launcher(self) -> Launcher:
        """Starts other processes; only the supervisor uses it."""

    @property
    def shelf(self) -> Shelf:
        """What outlives the supervisor."""

    @property
    def unpack(self) -> Callable[[bytes], Mapping[str, Any]]:
        """Opens packed Python callables."""

    @property
    def clock(self) -> Clock:
        """Time."""

    @property
    def end_process(self) -> Callable[[], object] | None:
        """Ends this process at once; None if it is not this actor's alone."""

    async def open_store(self, url: str) -> Store:
        """Connect to the store."""

    async def guard_supervisor(self) -> None:
        """End the supervisor whenever it hangs or is suspended; it is started again. Goes on until it is cancelled."""


class ActorProcess:
    """One process: builds its services, then its actor, and hands it the messages that come.

    Args:
        spec: What it is to be.
        world: Where it lives.
    """

    def __init__(self, spec: ProcessSpec, world: World) -> None:
        self._spec = spec
        self._world = world
        self._services = Services()
        self._actor: Handler | None = None
        self._guard: asyncio.Task[None] | None = None
        self.mailbox = Mailbox(self)

    async def handle(self, body: bytes) -> bytes | None:
        """Hand one message to the actor."""
        assert self._actor is not None, "start() comes first"
        return await self._actor.handle(body)

    async def start(self) -> None:
        """Connect, build the actor and let it begin.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """
        logging.getLogger("actors").setLevel(self._spec.settings.log_level)
        network = self._services.register(Network, Network(self._world.dialer, self._spec.address, self.mailbox))
        self._services.register(Clock, self._world.clock)  # type: ignore[type-abstract]
        store = await self._world.open_store(self._spec.settings.redis_url)
        self._services.register(Store, store, close=store.close)  # type: ignore[type-abstract]
        if self._spec.kind == SUPERVISOR:
            self._actor = await self._supervisor(network, store)
            return
        catalog = Catalog(store.workflows, self._function_source(network, store), self._means_source(network))
        self._services.register(Catalog, catalog)
        if self._spec.kind == HOST:
            self._actor = self._host(network)
            self._guard = asyncio.create_task(self._world.guard_supervisor(), name="guard of the supervisor")
        else:
            self._actor = self._executor(network)

    async def close(self) -> None:
        """Stop the actor, give back what the services hold, and hang up."""
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
        await self.mailbox.close()
        await self._services.close()
        await self._services.get(Network).close()

    async def _supervisor(self, network: Network, store: Store) -> Supervisor:
        clock = self._services.get(Clock)  # type: ignore[type-abstract]
        world, settings, incarnation = self._world, self._spec.settings, await store.next_incarnation()
        supervisor = Supervisor(settings, world.launcher, world.shelf, network, store.journal, clock, incarnation)
        self._services.register(Supervisor, supervisor, close=supervisor.close)
        await supervisor.start()
        if settings.metrics_port is not None:
            metrics = Metrics(settings.metrics_port, supervisor.describe)
            self._services.register(Metrics, metrics, close=metrics.close)
            metrics.start()
        if not settings.redis_url.startswith("memory:"):  # what is in memory ends with its process
            retention = Retention(store, settings.retention, clock)
            self._services.register(Retention, retention, close=retention.close)
            retention.start()
        return supervisor

    def _host(self, network: Network) -> Host:
        store, catalog, clock = self._common()
        values = Values(store.values)
        remembered: Remembered[ThreadAtRest] = Remembered()
        services = ThreadServices(
            host=self._spec.address,
            journal=store.journal,
            values=values,
            catalog=catalog,
            executors=ExecutorPools(network),
            branches=Branches(self._spec.address, store.journal, network, catalog, values, clock),
            network=network,
            clock=clock,
            remembered=self._services.register(Remembered, remembered, close=remembered.close),
        )
        host = Host(services, store.sessions, self._spec.settings.hosts.capacity)
        return self._services.register(Host, host, close=host.close)

    def _executor(self, network: Network) -> Executor:
        store, catalog, clock = self._common()
        kind = self._spec.kind
        settings = self._spec.settings.executor(kind)
        blocking = BlockingPool(settings.concurrency)
        values = Values(store.values)
        services = ExecutorServices(
            address=self._spec.address,
            journal=store.journal,
            values=values,
            live=LiveReporter(store.live, clock),
            catalog=catalog,
            clock=clock,
            blocking=blocking,
            recording=Recording(texts=Texts(self._spec.settings.history), clock=clock),
            retire=lambda: network.ask(SUPERVISOR, Retire(address=self._spec.address), Done),
        )
        executor = Executor(kind, self._runner(kind, catalog, blocking, values), services, settings.segment_steps)
        if self._world.end_process is not None:
            watch = LoopWatch(self._spec.address, executor.running, executor.leave, self._world.end_process)
            self._services.register(LoopWatch, watch, close=watch.close)
        return self._services.register(Executor, executor, close=executor.close)

    def _runner(self, kind: str, catalog: Catalog, blocking: BlockingPool, values: Values) -> NodeRunner:
        if kind == "function":
            return FunctionRunner(blocking)
        settings = self._spec.settings
        toolboxes = Toolboxes(catalog, settings.tools, blocking)
        permissions = Permissions(self._services.get(Store).sessions)  # type: ignore[type-abstract]
        match kind:
            case "llm":
                store = self._common()[0]
                return LlmRunner(catalog, settings.models, toolboxes, permissions, store)
            case "tool":
                return ToolRunner(toolboxes, permissions, Results(values), self._world.unpack)
            case _:
                raise ValueError(f"no executor runs nodes of kind {kind!r}")

    def _common(self) -> tuple[Store, Catalog, Clock]:
        store = self._services.get(Store)  # type: ignore[type-abstract]
        clock = self._services.get(Clock)  # type: ignore[type-abstract]
        return store, self._services.get(Catalog), clock

    def _function_source(self, network: Network, store: Store) -> FunctionSource:
        async def functions(ref: str) -> Mapping[str, Any]:
            reply = await network.ask(SUPERVISOR, FetchFunctions(ref=ref), Functions)
            if reply.packed:
                return self._world.unpack(reply.packed)
            program = await store.workflows.program(ref)  # nobody has deployed it since the cluster began
            return {} if program is None else await asyncio.to_thread(load_program, program)

        return functions

    def _means_source(self, network: Network) -> MeansSource:
        async def means(ref: str) -> Means:
            reply = await network.ask(SUPERVISOR, FetchFunctions(ref=ref), Functions)
            return Means(models=reply.models, tools=reply.tools)

        return means
