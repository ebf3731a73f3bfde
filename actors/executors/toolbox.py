"""The tools of a process as graphs name them, and as models are told of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import msgspec

from actors.blocking import BlockingPool
from actors.catalog import Catalog
from actors.llm.client import ToolOffer
from actors.tools.executor import ToolExecutor
from actors.tools.factory import ToolFactory, build_tools
from actors.tools.http import HttpClient
from actors.tools.settings import ToolSettings
from graphs.functions import is_reference
from graphs.tools import Tool
from graphs.workflow.plan import Plan

_KEPT_COUNT = 1_024
"""Tools of each kind that a process keeps."""


class Toolbox:
    """The tools of workflows that have the same means.

    Args:
        factory: Makes them.
    """

    def __init__(self, factory: ToolFactory) -> None:
        self.mcp = factory.mcp
        """The way to MCP servers."""
        self.close = factory.close
        """Stops those that were started."""
        self._shipped = build_tools(factory=factory)
        self.native = lru_cache(maxsize=_KEPT_COUNT)(factory.native)
        self.data = lru_cache(maxsize=_KEPT_COUNT)(factory.data)

    def find(self, name: str) -> tuple[Tool, ToolExecutor]:
        """The builtin tool `name`. Raises `NotFoundError`."""
        return self._shipped.find(name)

    def of(self, plan: Plan, name: str) -> tuple[Tool, ToolExecutor]:
        """The tool that a graph calls `name`. Raises `NotFoundError` and `ValidationError`."""
        if is_reference(name):
            return self.native(plan.function(name))
        own = plan.graph.tool(name)
        return self.find(name) if own is None else self.data(own)

    def offered(self, plan: Plan, names: Iterable[str]) -> dict[str, tuple[Tool, ToolExecutor]]:
        """What models call these tools of a graph -> the tools."""
        found = [self.of(plan, name) for name in names]
        return {spoken(tool.name): (tool, executor) for tool, executor in found}


class Toolboxes:
    """The tools of a process, for each workflow with its means.

    Args:
        catalog: Tells the means of the tools of a workflow.
        settings: Those of workflows that nobody has deployed since the cluster started.
        blocking: Threads for synchronous functions.
    """

    def __init__(self, catalog: Catalog, settings: ToolSettings, blocking: BlockingPool) -> None:
        self._catalog = catalog
        self._default_settings = settings
        self._blocking = blocking
        self._http = HttpClient()
        self._boxes: dict[bytes, Toolbox] = {}
        """Encoded settings -> tools."""

    async def of(self, plan: Plan) -> Toolbox:
        """The tools of a workflow."""
        return self.box(await self._catalog.tools(plan.ref))

    def box(self, settings: ToolSettings | None) -> Toolbox:
        """The tools of workflows with these means; None: of those that nobody has deployed since the cluster started.

        What they are, in contrast to what they do, is the same in all.
        """
        settings = settings or self._default_settings
        key = msgspec.msgpack.encode(settings)
        if key not in self._boxes:
            self._boxes[key] = Toolbox(ToolFactory(self._blocking, settings, self._http))
        return self._boxes[key]

    async def close(self) -> None:
        """Close connections."""
        for box in self._boxes.values():
            await box.close()
        await self._http.close()


def offer_of(tool: Tool) -> ToolOffer:
    """`tool` as models are told of it."""
    return ToolOffer(name=spoken(tool.name), description=tool.metadata.description, parameters=tool.config.json_schema)


def spoken(name: str) -> str:
    """What models call a tool: providers take no dots."""
    return name.replace(".", "__")
