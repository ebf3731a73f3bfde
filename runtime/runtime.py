"""`AsyncRuntime` and `Runtime`: Greenroom on Ray, started on this machine or found on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from actors.functions import pack_functions
from actors.network import SUPERVISOR, Network
from actors.protocol import FetchHosts, Hosts
from actors.settings import ActorSettings
from actors.stores.redis import RedisStore
from actors.world import RayWorld
from graphs.workflow.graph import GraphModel
from graphs.workflow.node import LlmConfig
from runtime import launch
from runtime.client import AsyncClient
from runtime.connection import Connection
from runtime.errors import ServiceError
from runtime.options import actor_settings, load, shared_values
from runtime.servers import ModelService, RayService, ValkeyService
from runtime.services import LocalServices
from runtime.sync import SyncClient


class AsyncRuntime(AsyncClient):
    """Greenroom, used as an asynchronous context manager; several drivers may share one.

    Without options it runs on this machine: Ray, a durable store and, when a workflow needs it, a language model are
    started for the first driver, shared with the others of this user, and ended after the last one, unless `greenroom
    up` keeps them.

    Args:
        **options: `address` of a Ray cluster (`host:port`, or `auto` on one of its machines), `redis_url` of a Redis or
            Valkey, and the fields of the configuration, sections as mappings: `Runtime(hosts={"max": 8})`.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    def __init__(self, **options: Any) -> None:
        self.config = load(**options)
        self._services: LocalServices | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start what does not run, and connect.

        Raises:
            ServiceError: Ray or the store could not be started.
            StoreUnavailable: The store cannot be reached.
        """
        async with AsyncExitStack() as stack:
            services = self._services = LocalServices(self.config.home)
            stack.callback(services.close)
            redis_url = await asyncio.to_thread(self._start_store, services)
            store = await RedisStore.connect(redis_url, shared=shared_values())
            stack.push_async_callback(store.close)
            await asyncio.to_thread(self._connect_ray, services, stack)
            model = ModelService.reserve(self.config.home)
            settings = actor_settings(self.config, redis_url, local_model=model)
            world = RayWorld(settings)
            await world.start_supervisor()
            network = Network(world.dialer)
            stack.push_async_callback(network.close)
            await self._check_store(network, settings)
            self._attach(
                Connection(
                    store=store,
                    network=network,
                    pack=pack_functions,
                    models=settings.models,
                    tools=settings.tools,
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _start_store(self, services: LocalServices) -> str:
        """URL of the store, which is started unless the configuration names one; Ray starts meanwhile."""
        config = self.config
        if config.redis.url is not None:
            return config.redis.url.get_secret_value()
        services.start(ValkeyService())
        if config.ray.address is None:
            services.start(RayService(config.ray))
        url = ValkeyService.url(services.wait(ValkeyService.name))
        services.guard(ValkeyService.name)
        return url

    def _connect_ray(self, services: LocalServices, stack: AsyncExitStack) -> None:
        ray = self.config.ray
        if ray.address is None:
            services.start(RayService(ray))
            launch.connect(services.wait(RayService.name))
        else:
            launch.connect_to(ray.address)
        stack.callback(launch.disconnect)

    async def _check_store(self, network: Network, settings: ActorSettings) -> None:
        """Refuse to share actors that write to another store than this driver reads."""
        theirs = (await network.ask(SUPERVISOR, FetchHosts(), Hosts)).store
        if theirs != settings.store:
            raise ServiceError(
                f"the actors of this Ray cluster keep their records in {theirs}, not in {settings.store}; "
                "give that redis_url, or another home or Ray cluster",
                service="supervisor",
            )

    async def _before_run(self, graphs: Iterable[GraphModel]) -> None:
        models = {node.config.model for graph in graphs for node in graph.nodes if isinstance(node.config, LlmConfig)}
        # A model that another driver has configured is its business.
        known = [self.config.models[model] for model in models if model in self.config.models]
        if any(model.provider == "local" for model in known):
            await asyncio.to_thread(self._start_model)

    def _start_model(self) -> None:
        assert self._services is not None
        self._services.start(ModelService())
        record = self._services.wait(ModelService.name)
        if ModelService.base_url(record) != ModelService.reserve(self.config.home).base_url:
            raise ServiceError(
                "the local model server had to change its port; end this runtime and start it again", service="model"
            )


class Runtime(SyncClient):
    """Greenroom, used as a context manager; see `AsyncRuntime`, whose blocking face this is.

    Args:
        **options: As for `AsyncRuntime`.

    Raises:
        ConfigError: An option is unknown or wrong.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(AsyncRuntime(**options))
