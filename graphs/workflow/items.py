"""What a map goes over: a channel, or a list somewhere in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.errors import StateInvalid
from graphs.messages import ToolCall
from graphs.state.containers import ListType, MapType, StructType
from graphs.state.schema import StateSchema
from graphs.state.types import JSON, ValueType
from graphs.suggest import did_you_mean
from graphs.workflow.template import lookup, steps

ITEM = "item"
"""Channel in which the node that a map runs has the item."""


def call_in(state: Mapping[str, Any]) -> ToolCall:
    """The tool call of a model that is the item. Raises `NotLoaded` if there is only a reference."""
    return ToolCall.model_validate(lookup(ITEM, state), from_attributes=True)


def channel_of(over: str) -> str:
    """The channel in which the items are. Raises `GraphInvalid` if `over` is no path."""
    return steps(over)[0]


def items_at(over: str, state: Mapping[str, Any]) -> list[Any]:
    """The items; none where there is None.

    Raises:
        StateInvalid: There is no such place in the state, or no list in it.
        NotLoaded: Of the channel there is only a reference.
    """
    items = lookup(over, state)
    if items is not None and not isinstance(items, list):
        problem = f"{over}: is no list, but holds a {type(items).__name__}"
        raise StateInvalid(f"nothing to map over: {problem}", problems=[problem], channel=channel_of(over))
    return items or []


def type_at(over: str, schema: StateSchema) -> ValueType:
    """The type of what is at `over`. Raises `LookupError`, with the problem, if the schema has no such place."""
    channel, path = steps(over)
    found = schema.channels[channel].type.inner
    for step in path:
        match found, step:
            case StructType(fields=fields), str() if step in fields:
                found = fields[step].inner
            case StructType(fields=fields), _:
                raise LookupError(f'no field "{step}"{did_you_mean(str(step), fields)}')
            case ListType(item=item), _ if _is_index(step):
                found = item.inner
            case MapType(item=item), _:
                found = item.inner
            case _ if found is JSON:
                return JSON
            case _:
                raise LookupError(f"a value of type {found.spec} has no part {step!r}")
    return found


def _is_index(step: str | int) -> bool:
    return isinstance(step, int) or step.lstrip("-").isdigit()
