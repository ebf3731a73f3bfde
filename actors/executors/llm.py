"""LLM nodes: a prompt made from the state, sent to a configured model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.executors.base import NodeContext, NodeOutput
from actors.executors.live import LiveReporter
from actors.llm.client import ChatRequest
from actors.llm.service import ModelService
from actors.protocol import RunTool, ToolDone
from graphs.errors import BusinessRuleViolation
from graphs.messages import Message
from graphs.workflow.node import LlmConfig, Node
from graphs.workflow.plan import Plan
from graphs.workflow.template import render


class LlmRunner:
    """Runs LLM nodes.

    Args:
        models: The configured models.
    """

    def __init__(self, models: ModelService) -> None:
        self._models = models

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Ask the model; its text goes to the node's channel, and token by token to the thread's watchers."""
        config = node.config
        assert isinstance(config, LlmConfig)
        request = ChatRequest(
            messages=tuple(_messages(config, state)),
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            stop=config.stop,
        )
        response = await self._models.chat(config.model, request, on_token=lambda text: live.token(context, text))
        answer: Any = response.text
        if plan.schema.channels[config.into].holds_messages:
            answer = Message(role="assistant", content=response.text, id=context.idempotency_key)
        return NodeOutput({config.into: answer}, response.usage)

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Not what this executor is for."""
        raise BusinessRuleViolation(f"tool {request.tool!r} was sent to a model executor")

    async def close(self) -> None:
        """Close connections to model servers."""
        await self._models.close()


def _messages(config: LlmConfig, state: Mapping[str, Any]) -> list[Message]:
    messages: list[Message] = []
    if config.system is not None:
        messages.append(Message(role="system", content=render(config.system, state)))
    if config.messages is not None:
        messages.extend(state[config.messages])
    if config.prompt is not None:
        messages.append(Message(role="user", content=render(config.prompt, state)))
    return messages
