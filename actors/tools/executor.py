"""What runs a tool: the protocol, and the executor of Python functions, which builtin and native tools are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from actors.blocking import BlockingPool
from actors.errors import ToolError
from actors.tools.signature import IDEMPOTENCY_KEY, read_signature
from graphs.tools import Tool


class ToolExecutor(Protocol):
    """Runs one tool."""

    async def execute(self, tool: Tool, arguments: Mapping[str, Any], *, idempotency_key: str | None) -> Any:
        """What the tool answers to `arguments`, which fit its config. May raise anything."""


class FunctionExecutor:
    """Runs a tool that is a Python function: an async one in the event loop, a sync one in a thread.

    Args:
        function: The function; its signature is read once, here.
        blocking: Threads for sync ones.
    """

    def __init__(self, function: Callable[..., Any], blocking: BlockingPool) -> None:
        self._function = function
        self._blocking = blocking
        self._signature = read_signature(function, getattr(function, "__name__", ""))
        self._is_async = inspect.iscoroutinefunction(function)

    async def execute(self, tool: Tool, arguments: Mapping[str, Any], *, idempotency_key: str | None) -> Any:
        """Call the function with `arguments` as the types of its hints.

        Raises:
            ToolError: An argument does not convert, or the function tried to end the process.
        """
        converted, problems = self._signature.convert(arguments)
        if problems:
            raise ToolError(f"{tool.name}: {'; '.join(problems)}", tool=tool.name, problems=problems)
        if self._signature.takes_key:
            converted[IDEMPOTENCY_KEY] = idempotency_key
        try:
            if self._is_async:
                return await self._function(**converted)
            answer = await self._blocking.run(partial(self._function, **converted))
            return await answer if inspect.isawaitable(answer) else answer
        except SystemExit as error:
            raise ToolError(
                f"{tool.name}: it called sys.exit({error.code!r}); return or raise instead", tool=tool.name
            ) from error
