"""LLM nodes: a prompt made from the state, sent to a configured model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from actors.catalog import Catalog
from actors.executors.live import LiveReporter
from actors.executors.runner import NodeContext, NodeOutput
from actors.llm.client import ChatRequest
from actors.llm.service import ModelService
from actors.llm.settings import ModelSettings
from actors.protocol import RunTool, ToolDone
from graphs.errors import BusinessRuleViolation
from graphs.messages import Message
from graphs.workflow.node import LlmConfig, Node
from graphs.workflow.plan import Plan
from graphs.workflow.template import render


class LlmRunner:
    """Runs LLM nodes.

    Args:
        catalog: Tells the models of a workflow.
        models: Those of workflows that nobody has deployed since the cluster started.
    """

    def __init__(self, catalog: Catalog, models: Mapping[str, ModelSettings]) -> None:
        self._catalog = catalog
        self._default_models = models
        self._services: dict[bytes, ModelService] = {}
        """Encoded settings -> service: drivers with the same configuration share connections."""

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
        service = await self._service(plan.ref)
        response = await service.chat(config.model, request, on_token=lambda text: live.token(context, text))
        answer: Any = response.text
        if plan.schema.channels[config.into].holds_messages:
            answer = Message(role="assistant", content=response.text, id=context.idempotency_key)
        return NodeOutput({config.into: answer}, response.usage)

    def at_most_once(self, plan: Plan, node: Node) -> bool:
        """As the node says."""
        return node.at_most_once

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Not what this executor is for."""
        raise BusinessRuleViolation(f"tool {request.tool!r} was sent to a model executor")

    async def close(self) -> None:
        """Close connections to model servers."""
        for service in self._services.values():
            await service.close()

    async def _service(self, ref: str) -> ModelService:
        models = await self._catalog.models(ref) or self._default_models
        key = msgspec.msgpack.encode(models)
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = ModelService(models)
        return service


def _messages(config: LlmConfig, state: Mapping[str, Any]) -> list[Message]:
    messages: list[Message] = []
    if config.system is not None:
        messages.append(Message(role="system", content=render(config.system, state)))
    if config.messages is not None:
        messages.extend(state[config.messages])
    if config.prompt is not None:
        messages.append(Message(role="user", content=render(config.prompt, state)))
    return messages
