"""The tools of a process: registration, look-up and execution."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
from pydantic import BaseModel

from actors.errors import ToolError
from actors.tools.executor import ToolExecutor
from graphs.errors import BusinessRuleViolation, NotFoundError, ValidationError, describe
from graphs.suggest import did_you_mean
from graphs.tools import Tool, ToolExecutionResult, ToolType, validate_parameters, validate_tool_config

_KEPT = (bytes, datetime, date, Decimal)


class ToolService:
    """Tools by name, each with what runs it."""

    def __init__(self) -> None:
        self._tools: dict[str, tuple[Tool, ToolExecutor]] = {}

    def register_tool(self, tool: Tool, executor: ToolExecutor) -> None:
        """Make `tool` known. The same tool again, or a new version of it, takes the place of the earlier one.

        Raises:
            ValidationError: The definition has problems; all are listed.
            BusinessRuleViolation: The name belongs to a builtin tool, or to another tool of the same version.
        """
        problems = validate_tool_config(tool)
        if problems:
            raise ValidationError(f'tool "{tool.name}": {"; ".join(problems)}', problems=problems, tool=tool.name)
        known, _ = self._tools.get(tool.name, (tool, executor))
        if known != tool and known.tool_type is ToolType.BUILTIN:
            raise BusinessRuleViolation(f'"{tool.name}" is a builtin tool; choose another name', tool=tool.name)
        if known != tool and known.metadata.version == tool.metadata.version:
            raise BusinessRuleViolation(
                f'another tool "{tool.id}" is registered; raise its version or choose another name', tool=tool.name
            )
        self._tools[tool.name] = (tool, executor)

    def unregister_tool(self, name: str) -> None:
        """Forget the tool `name`, if there is one."""
        self._tools.pop(name, None)

    def list_tools(
        self,
        tags: Iterable[str] | None = None,
        tool_type: ToolType | None = None,
        name_contains: str | None = None,
    ) -> list[Tool]:
        """Tools by name: those that have all of `tags`, are of `tool_type`, and have `name_contains` in their name."""
        wanted = frozenset(tags or ())
        return [
            tool
            for _, (tool, _) in sorted(self._tools.items())
            if wanted <= frozenset(tool.metadata.tags)
            and (tool_type is None or tool.tool_type is tool_type)
            and (name_contains is None or name_contains.lower() in tool.name.lower())
        ]

    def find(self, name: str) -> tuple[Tool, ToolExecutor]:
        """The tool `name`, and what runs it. Raises `NotFoundError`."""
        if name not in self._tools:
            raise NotFoundError(
                f'no tool "{name}"{did_you_mean(name, self._tools) or "; register it first"}', kind="tool", key=name
            )
        return self._tools[name]

    async def execute_tool(
        self, name: str, arguments: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> ToolExecutionResult:
        """Run the tool `name`. Whatever goes wrong with it or with its arguments is in the result, not raised.

        Args:
            name: Name of a registered tool.
            arguments: Parameter -> value; checked and completed as `graphs.tools.validate_parameters` says.
            idempotency_key: The same each time one step runs, for tools that must not act twice.

        Raises:
            NotFoundError: No such tool.
        """
        return await execute(*self.find(name), arguments, idempotency_key=idempotency_key)


async def execute(
    tool: Tool, executor: ToolExecutor, arguments: Mapping[str, Any], *, idempotency_key: str | None
) -> ToolExecutionResult:
    """Run `tool` by its executor; see `ToolService.execute_tool`."""
    name = tool.name
    started = time.perf_counter()
    try:
        fitting, problems = validate_parameters(tool.config, arguments)
        if problems:
            raise ToolError(f"{name}: {'; '.join(problems)}", tool=name, problems=problems)
        output = _plain(name, await executor.execute(tool, fitting, idempotency_key=idempotency_key))
    except Exception as error:  # noqa: BLE001 - a tool may raise anything, and all of it becomes data
        return ToolExecutionResult(
            success=False, error=describe(error, tool=name), execution_time_s=time.perf_counter() - started
        )
    return ToolExecutionResult(success=True, output=output, execution_time_s=time.perf_counter() - started)


def _plain(name: str, output: Any) -> Any:
    """`output` as plain values, proved to fit in a message; a table stays what it is."""
    if isinstance(output, pa.Table):
        return output
    try:
        plain = msgspec.to_builtins(output, builtin_types=_KEPT, str_keys=True, enc_hook=_dump)
        msgspec.msgpack.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ToolError(
            f"{name}: its output cannot be stored ({error}); return text, 64-bit numbers, lists, dicts or models",
            tool=name,
        ) from error
    return plain


def _dump(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} is no plain value")
