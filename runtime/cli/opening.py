"""Opening the runtime in which a command runs a workflow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from graphs.workflow.builder import GraphBuilder
from graphs.workflow.node import LlmConfig
from runtime.cli.sources import Source, read_deployed
from runtime.cli.stored import stored_records
from runtime.client import AsyncClient
from runtime.config import load_config
from runtime.servers import ModelService
from runtime.services import LocalServices
from runtime.testing import AsyncLocalRuntime


@asynccontextmanager
async def on_ray(workflow: str, source: Source | None, **options: Any) -> AsyncGenerator[AsyncClient, None]:
    """A runtime on Ray.

    Args:
        workflow: What is to be run.
        source: Its graph; None: it is deployed.
        **options: As for `AsyncRuntime`.

    Raises:
        NotFoundError: No such workflow is deployed; nothing has been started.
    """
    from runtime.runtime import AsyncRuntime  # Ray takes half a second to import

    async with AsyncExitStack() as stack:
        if source is None:  # a wrong name is told before Ray is started
            records = await stack.enter_async_context(stored_records(load_config()))
            await read_deployed(workflow, records.store.workflows)
        yield await stack.enter_async_context(AsyncRuntime(**options))


@asynccontextmanager
async def in_process(source: Source, **options: Any) -> AsyncGenerator[AsyncClient, None]:
    """A runtime in this process, with the local model server if `source` needs it.

    Args:
        source: The graph that is to be run.
        **options: As for `AsyncLocalRuntime`.
    """
    config = load_config(**options)
    model = source.model() if isinstance(source, GraphBuilder) else source
    nodes = [node.config for graph in model.family() for node in graph.nodes]
    asked = {name for node in nodes if isinstance(node, LlmConfig) for name in (node.model, *node.fallbacks)}
    asked |= {other for name in asked & config.models.keys() for other in config.models[name].fallbacks}
    served = [name for name, model in config.models.items() if model.provider == "local"]
    if asked.isdisjoint(served):
        async with AsyncLocalRuntime(**options) as runtime:
            yield runtime
        return
    with LocalServices(config.home) as services:
        services.start(ModelService())
        record = await asyncio.to_thread(services.wait, ModelService.name)
        endpoint = {
            "provider": "openai",
            "base_url": ModelService.base_url(record),
            "model": "local",
            "api_key": record.secret,
        }
        models = {**options.pop("models", {}), **dict.fromkeys(served, endpoint)}
        async with AsyncLocalRuntime(models=models, **options) as runtime:
            yield runtime
