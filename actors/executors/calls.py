"""Tool calls of models: one is run, and answered with a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from actors.errors import ToolError
from actors.executors.permissions import Permissions
from actors.executors.runner import NodeContext
from actors.executors.toolbox import Toolbox
from actors.tools.service import execute
from graphs.errors import ApprovalRefused, ErrorInfo, GreenroomError, PermissionDenied
from graphs.messages import Message
from graphs.suggest import did_you_mean
from graphs.tools import Tool
from graphs.workflow.items import call_in
from graphs.workflow.node import CallConfig
from graphs.workflow.plan import Plan


def tool_called(toolbox: Toolbox, plan: Plan, config: CallConfig, state: Mapping[str, Any]) -> Tool | None:
    """The tool that is called, if it is one of those that may be."""
    found = toolbox.offered(plan, config.tools).get(call_in(state).name)
    return None if found is None else found[0]


async def answer_call(
    toolbox: Toolbox,
    permissions: Permissions,
    plan: Plan,
    config: CallConfig,
    state: Mapping[str, Any],
    context: NodeContext,
) -> Message:
    """Run the tool that is called, and put into a message what it brought or what went wrong.

    Raises:
        GreenroomError: Something went wrong, and the model is not to be told.
    """
    call = call_in(state)
    content = ""
    error: ErrorInfo | None
    known = toolbox.offered(plan, config.tools)
    try:
        if isinstance(context.error, ApprovalRefused):
            raise context.error
        arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        if call.name not in known:
            raise ToolError(
                f'no tool "{call.name}"{did_you_mean(call.name, known) or "; there are " + ", ".join(known)}',
                tool=call.name,
            )
        tool, executor = known[call.name]
        await permissions.check(tool, context.session_id)
        result = await context.log.tool(
            lambda: execute(tool, executor, arguments, idempotency_key=context.idempotency_key),
            tool.name,
            arguments,
            attempt=context.attempt,
        )
        content, error = _text(result.output), result.error
    except msgspec.MsgspecError as misfit:
        error = ToolError(f"{call.name}: its arguments are no JSON object: {misfit}", tool=call.name).info()
    except (ToolError, PermissionDenied, ApprovalRefused) as refused:
        error = refused.info()
    if error is not None:
        if config.on_tool_error == "fail":
            raise GreenroomError.from_info(error)
        content = f"Error: {error.message}"
    return Message(role="tool", content=content, id=context.idempotency_key, name=call.name, tool_call_id=call.id)


def _text(output: Any) -> str:
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()
