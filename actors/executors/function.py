"""Function nodes: user code, asynchronous in the loop and synchronous in threads of this process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from actors.blocking import BlockingPool
from actors.executors.live import LiveReporter
from actors.executors.runner import NodeContext, NodeOutput
from actors.protocol import DiscoverTools, RunTool, ToolDone
from graphs.errors import BusinessRuleViolation
from graphs.workflow.node import FunctionConfig, Node
from graphs.workflow.plan import Plan


@dataclass(frozen=True, slots=True)
class _Call:
    """How a function wants to be called."""

    is_async: bool
    takes_dict: bool
    """Its first parameter is annotated as dict."""
    takes_context: bool
    """It has a parameter called `ctx`."""


@lru_cache(maxsize=4096)
def _inspect(function: Callable[..., Any]) -> _Call:
    parameters = list(inspect.signature(function).parameters.values())
    annotation = parameters[0].annotation if parameters else None
    return _Call(
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
        takes_dict=annotation is dict or _name(annotation) in ("dict", "Dict", "Mapping", "MutableMapping"),
        takes_context=any(parameter.name == "ctx" for parameter in parameters),
    )


def _name(annotation: Any) -> str:
    """`Mapping` for `typing.Mapping[str, Any]`, be it the type or its text."""
    return str(annotation).partition("[")[0].rpartition(".")[2]


class FunctionRunner:
    """Runs function nodes.

    Args:
        blocking: Threads for synchronous functions.
    """

    def __init__(self, blocking: BlockingPool) -> None:
        self._blocking = blocking

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Call the node's function on the state, or on one channel of it."""
        config = node.config
        assert isinstance(config, FunctionConfig)
        function = plan.function(config.function)
        call = _inspect(function)
        if config.argument is not None:
            argument = state[config.argument]
        else:
            argument = plan.schema.view(state, node.reads, as_dict=call.takes_dict)
        keywords = {"ctx": context} if call.takes_context else {}
        if call.is_async:
            value = await function(argument, **keywords)
        else:
            value = await self._blocking.run(partial(function, argument, **keywords))
        return NodeOutput(value if config.into is None else {config.into: value})

    def at_most_once(self, plan: Plan, node: Node, state: Mapping[str, Any]) -> bool:
        """As the node says."""
        return node.at_most_once

    async def run_tool(self, request: RunTool | DiscoverTools) -> ToolDone:
        """Not what this executor is for."""
        raise BusinessRuleViolation(f"{type(request).__name__} was sent to a function executor")

    async def close(self) -> None:
        """The threads are not its own."""
