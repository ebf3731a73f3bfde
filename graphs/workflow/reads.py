"""What a node looks at, so that nothing else need be loaded for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from graphs.workflow.items import ITEM
from graphs.workflow.node import CallConfig, FunctionConfig, HumanConfig, LlmConfig, Node, ToolCallConfig
from graphs.workflow.template import fields


def node_reads(node: Node) -> Collection[str] | None:
    """Channels that running `node` looks at; None: all."""
    match node.config:
        case FunctionConfig(argument=str() as channel):
            return (channel,)
        case FunctionConfig():
            return node.reads
        case LlmConfig() as config:
            named = set() if config.messages is None else {config.messages}
            return named | _fields(config.prompt) | _fields(config.system)
        case ToolCallConfig() as config:
            return _fields(config.arguments)
        case CallConfig():
            return (ITEM,)
        case HumanConfig() as config:
            return _fields(config.question)
        case _:
            return None


def _fields(value: Any) -> set[str]:
    """Channels that the templates in `value` read."""
    if isinstance(value, str):
        return fields(value)
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return set()
    return {name for item in value for name in _fields(item)}
