"""Tools made of Python functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, overload

from actors.tools.signature import read_signature
from graphs.errors import ValidationError
from graphs.tools import Tool, ToolMetadata, ToolType, validate_tool_config

_P = ParamSpec("_P")
_R = TypeVar("_R")
_ATTRIBUTE = "__greenroom_tool__"


@overload
def tool(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Iterable[str] = (),
    version: str = "1.0.0",
    author: str | None = None,
    at_most_once: bool = False,
    permissions: Iterable[str] = (),
    requires_approval: bool = False,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def tool(  # noqa: PLR0913 - what can be said of a tool
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Iterable[str] = (),
    version: str = "1.0.0",
    author: str | None = None,
    at_most_once: bool = False,
    permissions: Iterable[str] = (),
    requires_approval: bool = False,
) -> Any:
    """Make a function a tool; it stays the function it is. Works bare (`@tool`) and with options (`@tool(tags=...)`).

    The parameters are read from the type hints and their descriptions from the docstring. A parameter named
    `idempotency_key` is no parameter of the tool: it receives the key that is the same each time one step runs.

    Args:
        function: The function, sync or async. Sync ones run in a thread.
        name: What graphs and models call it by; the function's name by default.
        description: What it does; the docstring by default.
        tags: For finding it.
        version: A changed signature needs a new one.
        author: Who wrote it.
        at_most_once: Never call it again after a call of which the outcome is unknown: such a step fails.
        permissions: What a session needs to have for it: one that lacks any of these cannot call it.
        requires_approval: Ask a person each time before a workflow calls it.

    Raises:
        ValidationError: Listing everything that keeps the function from being a tool.
    """

    def decorate(target: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(target):
            raise TypeError("@tool decorates functions; register other callables as they are")
        metadata = ToolMetadata(version=version, author=author, tags=tuple(tags))
        described = _describe(
            target,
            name or target.__name__,
            description,
            metadata,
            at_most_once=at_most_once,
            permissions=tuple(permissions),
            requires_approval=requires_approval,
        )
        setattr(target, _ATTRIBUTE, described)
        return target

    return decorate if function is None else decorate(function)


def tool_of(function: Callable[..., Any]) -> Tool:
    """The tool that `@tool` made of `function`, or what it would make of a plain one.

    Raises:
        ValidationError: Listing everything that keeps the function from being a tool.
    """
    described = getattr(function, _ATTRIBUTE, None)
    if isinstance(described, Tool):
        return described
    return _describe(function, getattr(function, "__name__", ""), None, ToolMetadata())


def _describe(
    function: Callable[..., Any],
    name: str,
    description: str | None,
    metadata: ToolMetadata,
    **rules: Any,
) -> Tool:
    signature = read_signature(function, name)
    described = Tool(
        id=f"{name}@{metadata.version}",
        name=name,
        tool_type=ToolType.NATIVE,
        config=signature.config,
        metadata=ToolMetadata(
            description=signature.description if description is None else description,
            version=metadata.version,
            author=metadata.author,
            tags=metadata.tags,
        ),
        **rules,
    )
    problems = validate_tool_config(described)
    if problems:
        raise ValidationError(f'tool "{name}": {"; ".join(problems)}', problems=problems, tool=name)
    return described
