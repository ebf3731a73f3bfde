"""Checks of the nodes that ask models, and of those that run the tools models ask for."""

from __future__ import annotations

from collections.abc import Iterator

from graphs.errors import GraphInvalid
from graphs.state.types import JSON
from graphs.workflow.checks.answers import check_answer_type
from graphs.workflow.checks.scope import Scope
from graphs.workflow.items import type_at
from graphs.workflow.node import CallConfig, LlmConfig, MapConfig, Node
from graphs.workflow.problems import Problem, unknown

_CALL = ("id", "name", "arguments")
"""What a tool call has."""


def check_llm(scope: Scope, path: str, node: Node, config: LlmConfig) -> Iterator[Problem]:
    """All problems of a node that asks a model."""
    if config.prompt is None and config.messages is None:
        yield Problem(path, "an llm node needs a prompt or messages")
    for name, template in (("prompt", config.prompt), ("system", config.system)):
        if template is not None:
            yield from scope.template(f"{path}.{name}", node, template)
    if config.messages is not None:
        yield from scope.channel(f"{path}.messages", config.messages)
    named = {"model": config.model} | {f"fallbacks[{place}]": name for place, name in enumerate(config.fallbacks)}
    for option, name in named.items():
        if scope.known.models is not None and name not in scope.known.models:
            yield Problem(f"{path}.{option}", unknown("model", name, scope.known.models))
    if config.output is not None:
        yield from check_answer_type(scope, path, node, config)
    elif config.into is None:
        yield Problem(f"{path}.into", "is missing; name the channel of the answer")
    elif node.id not in scope.bodies:
        yield from scope.writes(f"{path}.into", node, config.into)
    yield from _check_offer(scope, path, node, config)


def _check_offer(scope: Scope, path: str, node: Node, config: LlmConfig) -> Iterator[Problem]:
    """Problems of the tools a model may ask for."""
    yield from check_tools(scope, path, config.tools)
    if config.max_rounds is not None and (not config.tools or config.messages is None):
        yield Problem(f"{path}.max_rounds", "is for a model that is offered tools in a conversation; drop it")
    if not config.tools:
        return
    if config.output is not None:
        yield Problem(f"{path}.output", "a model that may ask for tools answers with text; use another llm node")
    into = scope.schema.channels.get(config.into or "") if scope.schema is not None else None
    if into is not None and node.id not in scope.bodies and not into.holds_messages:
        yield Problem(
            f"{path}.into", f'calls of tools are in messages, which channel "{config.into}" does not hold; use another'
        )


def check_tools(scope: Scope, path: str, tools: tuple[str, ...]) -> Iterator[Problem]:
    """Problems of the tools a node names."""
    for position, name in enumerate(tools):
        yield from scope.tool(f"{path}.tools[{position}]", name)
        if name in tools[:position]:
            yield Problem(f"{path}.tools[{position}]", f'"{name}" is there twice; remove one')


def check_call(scope: Scope, path: str, node: Node, config: CallConfig) -> Iterator[Problem]:
    """All problems of a node that runs the calls of a model."""
    if not config.tools:
        yield Problem(f"{path}.tools", "is empty; name the tools that may be called")
    yield from check_tools(scope, path, config.tools)
    maps = [each.config for each in scope.graph.nodes if isinstance(each.config, MapConfig)]
    maps = [each for each in maps if each.node == node.id]
    if not maps:
        yield Problem(path, "a call node runs in a map over tool calls, such as one over messages[-1].tool_calls")
    for each in maps:
        yield from _check_items(scope, path, each)


def _check_items(scope: Scope, path: str, config: MapConfig) -> Iterator[Problem]:
    if scope.schema is None:
        return
    try:
        items = type_at(config.over, scope.schema)
    except (GraphInvalid, LookupError):  # a problem of the map
        return
    fields = getattr(getattr(items, "item", JSON).inner, "fields", None)
    if items is not JSON and (fields is None or not set(_CALL) <= set(fields)):
        yield Problem(path, f"what it is mapped over, {config.over}, holds no tool calls")
    into = scope.schema.channels.get(config.into)
    if into is not None and not into.holds_messages:
        yield Problem(path, f'its result is a message, which channel "{config.into}" does not hold')
