"""Tool nodes: arguments made from the state, run by the tool service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import TypeAdapter

from actors.blocking import BlockingPool
from actors.catalog import Catalog
from actors.executors.live import LiveReporter
from actors.executors.runner import NodeContext, NodeOutput
from actors.protocol import RunTool, ToolDone
from actors.tools.executor import ToolExecutor
from actors.tools.factory import ToolFactory, build_tools
from actors.tools.http import HttpClient
from actors.tools.service import execute
from actors.tools.settings import ToolSettings
from graphs.errors import GreenroomError, StateInvalid
from graphs.functions import is_reference
from graphs.state.schema import StateSchema
from graphs.tools import Tool
from graphs.workflow.endpoints import DataTool
from graphs.workflow.node import Node, ToolCallConfig
from graphs.workflow.plan import Plan
from graphs.workflow.template import render_value

_DATA_TOOL: TypeAdapter[DataTool] = TypeAdapter(DataTool)
_KEPT_COUNT = 1_024
"""Packed functions, and tools of each kind, that a process keeps."""


class _Toolbox:
    """The tools of workflows that have the same means."""

    def __init__(self, factory: ToolFactory) -> None:
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


class ToolRunner:
    """Runs tool nodes, and tools outside of threads.

    Args:
        catalog: Tells the means of the tools of a workflow.
        settings: Those of workflows that nobody has deployed since the cluster started.
        blocking: Threads for synchronous functions.
        unpack: Opens packed functions.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: ToolSettings,
        blocking: BlockingPool,
        unpack: Callable[[bytes], Mapping[str, Any]],
    ) -> None:
        self._catalog = catalog
        self._default_settings = settings
        self._blocking = blocking
        self._http = HttpClient()
        self._boxes: dict[bytes, _Toolbox] = {}
        """Encoded settings -> tools."""
        self._unpack = lru_cache(maxsize=_KEPT_COUNT)(unpack)

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Run the node's tool; its output goes to the node's channel."""
        config = node.config
        assert isinstance(config, ToolCallConfig)
        arguments = render_value(config.arguments, state)
        settings = await self._catalog.tools(plan.ref)
        tool, executor = self._box(settings).of(plan, config.tool)
        result = await execute(tool, executor, arguments, idempotency_key=context.idempotency_key)
        if result.error is not None:
            raise GreenroomError.from_info(result.error)
        if config.into is None:
            return NodeOutput({})
        return NodeOutput({config.into: _fitting(plan.schema, node.id, config.into, result.output)})

    def at_most_once(self, plan: Plan, node: Node) -> bool:
        """As the node or its tool says."""
        assert isinstance(node.config, ToolCallConfig)
        if node.at_most_once:
            return True
        try:
            return self._box(None).of(plan, node.config.tool)[0].at_most_once
        except GreenroomError:  # the node fails when it runs
            return False

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Run one tool."""
        box = self._box(request.settings)
        if request.function:
            tool, executor = box.native(self._unpack(request.function)[request.tool])
        elif request.data:
            tool, executor = box.data(_DATA_TOOL.validate_json(request.data))
        else:
            tool, executor = box.find(request.tool)
        arguments = msgspec.json.decode(request.arguments, type=dict[str, Any])
        return ToolDone(result=await execute(tool, executor, arguments, idempotency_key=None))

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    def _box(self, settings: ToolSettings | None) -> _Toolbox:
        """The tools of workflows with these means; None: of those that nobody has deployed since the cluster started.

        What they are, in contrast to what they do, is the same in all.
        """
        settings = settings or self._default_settings
        key = msgspec.msgpack.encode(settings)
        if key not in self._boxes:
            self._boxes[key] = _Toolbox(ToolFactory(self._blocking, settings, self._http))
        return self._boxes[key]


def _fitting(schema: StateSchema, node_id: str, channel: str, output: Any) -> Any:
    """`output` as it is, or as text where the channel holds text: a calculator's 42 into a list of notes."""
    try:
        schema.check_write(node_id, {channel: output}, None)
    except StateInvalid:
        if isinstance(output, str):
            raise
        return msgspec.json.encode(output).decode()
    return output
