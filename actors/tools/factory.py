"""Builds the tool service of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from actors.blocking import BlockingPool
from actors.tools.builtin.calculator import calculator
from actors.tools.builtin.text_stats import text_stats
from actors.tools.executor import FunctionExecutor
from actors.tools.native import tool_of
from actors.tools.service import ToolService
from graphs.tools import ToolType

BUILTINS: tuple[Callable[..., Any], ...] = (calculator, text_stats)


_THREADS = 64


def build_tools(functions: Iterable[Callable[..., Any]] = (), blocking: BlockingPool | None = None) -> ToolService:
    """A service with the builtin tools, and a native tool for each of `functions`.

    Args:
        functions: What to make tools of.
        blocking: Threads for those that are synchronous; its own if None.

    Raises:
        ValidationError: One of the functions cannot be a tool.
        BusinessRuleViolation: Two of them, or one and a builtin tool, have one name.
    """
    service = ToolService()
    blocking = blocking or BlockingPool(_THREADS)
    for function in BUILTINS:
        builtin = msgspec.structs.replace(tool_of(function), tool_type=ToolType.BUILTIN)
        service.register_tool(builtin, FunctionExecutor(function, blocking))
    for function in functions:
        service.register_tool(tool_of(function), FunctionExecutor(function, blocking))
    return service
