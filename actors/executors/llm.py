"""LLM nodes: a prompt made from the state, sent to a configured model."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from actors.catalog import Catalog
from actors.errors import ModelError, OutputInvalid
from actors.executors.live import LiveReporter
from actors.executors.permissions import Permissions
from actors.executors.runner import NodeContext, NodeOutput
from actors.executors.toolbox import Toolboxes, offer_of
from actors.llm.client import ChatRequest, ChatResponse
from actors.llm.service import ModelService
from actors.llm.settings import ModelSettings
from actors.ports import Store
from actors.protocol import DiscoverTools, RunTool, ToolDone
from graphs.errors import BusinessRuleViolation, StateInvalid
from graphs.messages import Message, rounds_of
from graphs.results import READER, mentions_handle
from graphs.workflow.answers import answer_schema, check_answer
from graphs.workflow.node import LlmConfig, Node
from graphs.workflow.plan import Plan
from graphs.workflow.template import render

Ask = Callable[[ChatRequest], Awaitable[ChatResponse]]

_SHOWN_CHARACTERS = 500


class LlmRunner:
    """Runs LLM nodes.

    Args:
        catalog: Tells the models of a workflow.
        models: Those of workflows that nobody has deployed since the cluster started.
        toolboxes: The tools that models may be offered.
        permissions: Tells which of them the models of a session are offered.
        store: Where limits are counted and answers kept.
    """

    def __init__(
        self,
        catalog: Catalog,
        models: Mapping[str, ModelSettings],
        toolboxes: Toolboxes,
        permissions: Permissions,
        store: Store,
    ) -> None:
        self._catalog = catalog
        self._default_models = models
        self._toolboxes = toolboxes
        self._permissions = permissions
        self._store = store
        self._services: dict[bytes, ModelService] = {}
        """Encoded settings -> service: drivers with the same configuration share connections."""

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Ask the model; its text goes to the node's channel, and token by token to the thread's watchers."""
        config = node.config
        assert isinstance(config, LlmConfig)
        messages = _messages(config, state)
        toolbox = await self._toolboxes.of(plan)
        known = [tool for tool, _ in toolbox.offered(plan, config.tools).values()]
        if known and any(message.role == "tool" and mentions_handle(message.content) for message in messages):
            known.append(toolbox.find(READER)[0])
        tools = tuple(map(offer_of, await self._permissions.allowed(known, context.session_id)))
        must_answer = config.max_rounds is not None and rounds_of(messages) >= config.max_rounds
        request = ChatRequest(
            messages=tuple(messages),
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            stop=config.stop,
            tools=tools,
            tool_choice="none" if must_answer else "auto",
            priority=context.priority,
            output_schema=None if config.output is None else answer_schema(plan, node.id),
        )
        service = await self._service(plan.ref)

        def on_token(text: str) -> None:
            live.token(context, text)

        async def ask(request: ChatRequest) -> ChatResponse:
            async def note(chat: Callable[[], Awaitable[ChatResponse]], settings: ModelSettings) -> ChatResponse:
                return await context.log.chat(
                    chat,
                    request,
                    settings,
                    attempt=context.attempt,
                    channel=config.messages or "",
                    held=state[config.messages] if config.messages is not None else (),
                )

            return await service.chat(config.model, request, on_token, fallbacks=config.fallbacks, note=note)

        if config.output is not None:
            return await _formed(ask, plan, node, request)
        response = await ask(request)
        if response.tool_calls and must_answer:
            raise ModelError(
                f'model "{config.model}": it asked for tools once more, though it had to answer after '
                f"{config.max_rounds} rounds; raise max_rounds",
                model=config.model,
                status=None,
            )
        assert config.into is not None, "validated"
        answer: Any = response.text
        if plan.schema.channels[config.into].holds_messages or response.tool_calls:
            answer = _message(response, context.idempotency_key)
        return NodeOutput({config.into: answer})

    def at_most_once(self, plan: Plan, node: Node, state: Mapping[str, Any]) -> bool:
        """As the node says."""
        return node.at_most_once

    async def run_tool(self, request: RunTool | DiscoverTools) -> ToolDone:
        """Not what this executor is for."""
        raise BusinessRuleViolation(f"{type(request).__name__} was sent to a model executor")

    async def close(self) -> None:
        """Close connections to model servers."""
        for service in self._services.values():
            await service.close()
        await self._toolboxes.close()

    async def _service(self, ref: str) -> ModelService:
        models = await self._catalog.models(ref) or self._default_models
        key = msgspec.msgpack.encode(models)
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = ModelService(models, self._store.limits, self._store.cache)
        return service


async def _formed(ask: Ask, plan: Plan, node: Node, request: ChatRequest) -> NodeOutput:
    """Ask until the answer has the form it is to have, telling the model each time what is wrong with it.

    Raises:
        OutputInvalid: It has not, after as many repairs as the node allows.
    """
    config = node.config
    assert isinstance(config, LlmConfig)
    for repairs in itertools.count():
        response = await ask(request)
        write, problems = _write(plan, node.id, response)
        if not problems:
            return NodeOutput(write)
        if repairs == config.repairs:
            raise OutputInvalid(
                f'model "{config.model}": its answer does not fit: {"; ".join(problems)}; use a larger model, or raise '
                "repairs or max_tokens",
                model=config.model,
                problems=problems,
                text=response.text[:_SHOWN_CHARACTERS],
            )
        request = _repair(request, response.text, problems)
    raise AssertionError("unreachable: the count has no end")


def _write(plan: Plan, node_id: str, response: ChatResponse) -> tuple[dict[str, Any], list[str]]:
    """What an answer writes, or what is wrong with it."""
    try:
        value = msgspec.json.decode(response.text)
    except msgspec.MsgspecError as error:
        cut = ", and was cut off because it is too long" if response.finish_reason == "length" else ""
        return {}, [f"it is no JSON ({error}){cut}"]
    try:
        return check_answer(plan, node_id, value), []
    except StateInvalid as error:
        return {}, error.problems


def _repair(request: ChatRequest, text: str, problems: Sequence[str]) -> ChatRequest:
    """`request` again, with the answer that did not fit and what is wrong with it."""
    listed = "\n".join(f"- {problem}" for problem in problems)
    told = (
        Message(role="assistant", content=text),
        Message(
            role="user",
            content=f"Your answer does not fit:\n{listed}\nAnswer again, with nothing but JSON of the form asked for.",
        ),
    )
    return msgspec.structs.replace(request, messages=(*request.messages, *told))


def _message(response: ChatResponse, message_id: str) -> Message:
    return Message(role="assistant", content=response.text, id=message_id, tool_calls=list(response.tool_calls))


def _messages(config: LlmConfig, state: Mapping[str, Any]) -> list[Message]:
    messages: list[Message] = []
    if config.system is not None:
        messages.append(Message(role="system", content=render(config.system, state)))
    if config.messages is not None:
        messages.extend(state[config.messages])
    if config.prompt is not None:
        messages.append(Message(role="user", content=render(config.prompt, state)))
    return messages
