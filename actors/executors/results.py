"""Results of tools on their way to models: long ones are stored, and stand for themselves as handles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from actors.errors import ToolError
from actors.values import Values
from graphs.results import LARGE_RESULT_BYTES, ref_in, told_of
from graphs.state.refs import ValueRef
from graphs.tools import ParameterType, Tool


class Results:
    """The long results of the sessions a process works for, kept among their large values.

    Args:
        values: Where they are kept.
    """

    def __init__(self, values: Values) -> None:
        self._values = values

    async def told(self, thread_id: str, output: Any) -> str:
        """What a model is told of a result: the result, or its handle, form and beginning. It is stored by then."""
        encoded = msgspec.json.encode(output)
        text = output if isinstance(output, str) else encoded.decode()
        if len(encoded) <= LARGE_RESULT_BYTES:
            return text
        return told_of(output, text, await self._values.put(thread_id, memoryview(encoded)))

    async def resolved(
        self, thread_id: str, tool: Tool, arguments: Mapping[str, Any], told: Iterable[str]
    ) -> dict[str, Any]:
        """`arguments` with results in the place of their handles: as text where `tool` takes text.

        Args:
            thread_id: The thread.
            tool: What gets them.
            arguments: Parameter -> value.
            told: What the model was told by tools: other handles than those in it mean nothing.

        Raises:
            ToolError: A handle is none of this conversation.
        """
        whole = dict(arguments)
        for name, value in arguments.items():
            ref = ref_in(value)
            if ref is None:
                continue
            if not any(value in text for text in told):
                problem = f"{name}: there is no {value} in this conversation; copy the handle as it is"
                raise ToolError(f"{tool.name}: {problem}", tool=tool.name, problems=[problem])
            whole[name] = await self._result(thread_id, tool, name, ref)
        return whole

    async def _result(self, thread_id: str, tool: Tool, name: str, ref: ValueRef) -> Any:
        encoded = await self._values.get(thread_id, ref)
        output = msgspec.json.decode(encoded)
        parameter = tool.config.parameters.get(name)
        wants_text = parameter is not None and parameter.parameter_type is ParameterType.STRING
        return bytes(encoded).decode() if wants_text and not isinstance(output, str) else output
