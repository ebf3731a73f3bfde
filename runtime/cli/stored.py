"""What reading commands need: the store, and nothing else of Greenroom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from actors.catalog import Catalog
from actors.stores.redis import RedisStore
from runtime.config import Config
from runtime.records import Records
from runtime.servers import ValkeyService
from runtime.services import LocalServices


@asynccontextmanager
async def stored_records(config: Config) -> AsyncGenerator[Records, None]:
    """What is stored, of a server that is started if it is the local one and does not run.

    Raises:
        ServiceError: The local store cannot be started.
        StoreUnavailable: The store cannot be reached.
    """
    with LocalServices(config.home) as services:
        url = config.redis.url.get_secret_value() if config.redis.url else await asyncio.to_thread(_start, services)
        store = await RedisStore.connect(url)
        try:
            yield Records(store, Catalog(store.workflows, _no_functions))
        finally:
            await store.close()


def _start(services: LocalServices) -> str:
    services.start(ValkeyService())
    return ValkeyService.url(services.wait(ValkeyService.name))


async def _no_functions(_: str) -> Mapping[str, Any]:
    """Functions are looked up where they can be imported; those local to a driver are not needed for reading."""
    return {}
