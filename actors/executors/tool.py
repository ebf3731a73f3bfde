"""Tool nodes: arguments made from the state, run by the tool service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from actors.executors.live import LiveReporter
from actors.executors.runner import NodeContext, NodeOutput
from actors.protocol import RunTool, ToolDone
from actors.tools.executor import ToolExecutor
from actors.tools.factory import ToolFactory, build_tools
from actors.tools.service import execute
from graphs.errors import GreenroomError, StateInvalid
from graphs.functions import is_reference
from graphs.state.schema import StateSchema
from graphs.tools import Tool
from graphs.workflow.node import Node, ToolCallConfig
from graphs.workflow.plan import Plan
from graphs.workflow.template import render_value

_NATIVE_COUNT = 1_024
"""Functions a process keeps as tools."""


class ToolRunner:
    """Runs tool nodes, and tools outside of threads.

    Args:
        factory: Makes the tools.
        unpack: Opens packed functions.
    """

    def __init__(self, factory: ToolFactory, unpack: Callable[[bytes], Mapping[str, Any]]) -> None:
        self._tools = build_tools(factory=factory)
        self._native = lru_cache(maxsize=_NATIVE_COUNT)(factory.native)
        self._unpack = lru_cache(maxsize=_NATIVE_COUNT)(unpack)

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Run the node's tool; its output goes to the node's channel."""
        config = node.config
        assert isinstance(config, ToolCallConfig)
        arguments = render_value(config.arguments, state)
        tool, executor = self._find(plan, config.tool)
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
            return self._find(plan, node.config.tool)[0].at_most_once
        except GreenroomError:  # the node fails when it runs
            return False

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Run one tool."""
        arguments = msgspec.json.decode(request.arguments, type=dict[str, Any])
        if not request.function:
            return ToolDone(result=await self._tools.execute_tool(request.tool, arguments))
        tool, executor = self._native(self._unpack(request.function)[request.tool])
        return ToolDone(result=await execute(tool, executor, arguments, idempotency_key=None))

    async def close(self) -> None:
        """Tools hold nothing."""

    def _find(self, plan: Plan, name: str) -> tuple[Tool, ToolExecutor]:
        """The tool that a graph calls `name`. Raises `NotFoundError` and `ValidationError`."""
        return self._native(plan.function(name)) if is_reference(name) else self._tools.find(name)


def _fitting(schema: StateSchema, node_id: str, channel: str, output: Any) -> Any:
    """`output` as it is, or as text where the channel holds text: a calculator's 42 into a list of notes."""
    try:
        schema.check_write(node_id, {channel: output}, None)
    except StateInvalid:
        if isinstance(output, str):
            raise
        return msgspec.json.encode(output).decode()
    return output
