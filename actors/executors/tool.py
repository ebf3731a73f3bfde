"""Tool nodes: arguments made from the state, run by the tool service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from actors.executors.live import LiveReporter
from actors.executors.runner import NodeContext, NodeOutput
from actors.protocol import RunTool, ToolDone
from actors.tools.service import ToolService
from graphs.errors import GreenroomError, StateInvalid
from graphs.state.schema import StateSchema
from graphs.workflow.node import Node, ToolCallConfig
from graphs.workflow.plan import Plan
from graphs.workflow.template import render_value


class ToolRunner:
    """Runs tool nodes, and tools outside of threads.

    Args:
        tools: The registered tools.
    """

    def __init__(self, tools: ToolService) -> None:
        self._tools = tools

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Run the node's tool; its output goes to the node's channel."""
        config = node.config
        assert isinstance(config, ToolCallConfig)
        arguments = render_value(config.arguments, state)
        result = await self._tools.execute_tool(config.tool, arguments, idempotency_key=context.idempotency_key)
        if result.error is not None:
            raise GreenroomError.from_info(result.error)
        if config.into is None:
            return NodeOutput({})
        return NodeOutput({config.into: _fitting(plan.schema, node.id, config.into, result.output)})

    def at_most_once(self, node: Node) -> bool:
        """As the node or its tool says."""
        assert isinstance(node.config, ToolCallConfig)
        return node.at_most_once or self._tools.at_most_once(node.config.tool)

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Run one tool."""
        arguments = msgspec.json.decode(request.arguments, type=dict[str, Any])
        return ToolDone(result=await self._tools.execute_tool(request.tool, arguments))

    async def close(self) -> None:
        """Tools hold nothing."""


def _fitting(schema: StateSchema, node_id: str, channel: str, output: Any) -> Any:
    """`output` as it is, or as text where the channel holds text: a calculator's 42 into a list of notes."""
    try:
        schema.check_write(node_id, {channel: output}, None)
    except StateInvalid:
        if isinstance(output, str):
            raise
        return msgspec.json.encode(output).decode()
    return output
