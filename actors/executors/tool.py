"""Tool nodes: arguments made from the state, or by a model, run by the tool service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa
from pydantic import TypeAdapter

from actors.executors.calls import answer_call, tool_called
from actors.executors.live import LiveReporter
from actors.executors.permissions import Permissions
from actors.executors.results import Results
from actors.executors.runner import NodeContext, NodeOutput
from actors.executors.toolbox import Toolboxes
from actors.protocol import DiscoverTools, RunTool, ToolDone, ToolsDiscovered
from actors.tools.service import execute
from graphs.errors import GreenroomError, StateInvalid
from graphs.state.schema import StateSchema
from graphs.workflow.data_tools import AnyDataTool, DataTool
from graphs.workflow.mcp import McpServer
from graphs.workflow.node import CallConfig, Node, ToolCallConfig
from graphs.workflow.plan import RESULT, Plan
from graphs.workflow.template import render_value

_DATA_TOOL: TypeAdapter[DataTool] = TypeAdapter(AnyDataTool)
_KEPT_COUNT = 1_024
"""Packed functions that a process keeps open."""


class ToolRunner:
    """Runs tool nodes, calls of models, and tools outside of threads.

    Args:
        toolboxes: The tools.
        permissions: Tells what sessions may call.
        results: Keeps long results of what models call.
        unpack: Opens packed functions.
    """

    def __init__(
        self,
        toolboxes: Toolboxes,
        permissions: Permissions,
        results: Results,
        unpack: Callable[[bytes], Mapping[str, Any]],
    ) -> None:
        self._toolboxes = toolboxes
        self._results = results
        self._permissions = permissions
        self._unpack = lru_cache(maxsize=_KEPT_COUNT)(unpack)

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Run the node's tool; its output goes to the node's channel."""
        config = node.config
        toolbox = await self._toolboxes.of(plan)
        if isinstance(config, CallConfig):
            return NodeOutput(
                {RESULT: await answer_call(toolbox, self._permissions, self._results, plan, config, state, context)}
            )
        assert isinstance(config, ToolCallConfig)
        arguments = render_value(config.arguments, state)
        tool, executor = toolbox.of(plan, config.tool)
        await self._permissions.check(tool, context.session_id)
        result = await context.log.tool(
            lambda: execute(tool, executor, arguments, idempotency_key=context.idempotency_key),
            tool.name,
            arguments,
            attempt=context.attempt,
        )
        if result.error is not None:
            raise GreenroomError.from_info(result.error)
        if config.into is None:
            return NodeOutput({})
        return NodeOutput({config.into: _fitting(plan.schema, node.id, config.into, result.output)})

    def at_most_once(self, plan: Plan, node: Node, state: Mapping[str, Any]) -> bool:
        """As the node or its tool says."""
        if node.at_most_once:
            return True
        config, toolbox = node.config, self._toolboxes.box(None)
        try:
            if isinstance(config, CallConfig):
                tool = tool_called(toolbox, plan, config, state)
                return tool is not None and tool.at_most_once
            assert isinstance(config, ToolCallConfig)
            return toolbox.of(plan, config.tool)[0].at_most_once
        except GreenroomError:  # the node fails when it runs
            return False

    async def run_tool(self, request: RunTool | DiscoverTools) -> ToolDone | ToolsDiscovered:
        """Run one tool, or list those of a server."""
        box = self._toolboxes.box(request.settings)
        if isinstance(request, DiscoverTools):
            tools = await box.mcp.tools(McpServer.model_validate_json(request.server))
            return ToolsDiscovered(tools=tuple(tool.model_dump_json().encode() for tool in tools))
        if request.function:
            tool, executor = box.native(self._unpack(request.function)[request.tool])
        elif request.data:
            tool, executor = box.data(_DATA_TOOL.validate_json(request.data))
        else:
            tool, executor = box.find(request.tool)
        arguments = msgspec.json.decode(request.arguments, type=dict[str, Any])
        result = await execute(tool, executor, arguments, idempotency_key=None)
        if isinstance(result.output, pa.Table):
            result = msgspec.structs.replace(result, output=result.output.to_pylist())
        return ToolDone(result=result)

    async def close(self) -> None:
        """Close connections."""
        await self._toolboxes.close()


def _fitting(schema: StateSchema, node_id: str, channel: str, output: Any) -> Any:
    """`output` as it is, or as text where the channel holds text: a calculator's 42 into a list of notes.

    A table becomes a list of its rows where the channel holds no table.
    """
    try:
        schema.check_write(node_id, {channel: output}, None)
    except StateInvalid:
        if isinstance(output, str):
            raise
        if isinstance(output, pa.Table):
            return _fitting(schema, node_id, channel, output.to_pylist())
        return msgspec.json.encode(output).decode()
    return output
