"""Tool calls of models: one is run, and answered with a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from actors.errors import ToolError
from actors.executors.permissions import Permissions
from actors.executors.results import Results
from actors.executors.runner import NodeContext
from actors.executors.toolbox import Toolbox
from actors.tools.service import execute
from graphs.errors import ApprovalRefused, ErrorInfo, GreenroomError, NodeError, PermissionDenied
from graphs.messages import Message
from graphs.results import READER
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
    results: Results,
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
    known = {READER: toolbox.find(READER), **toolbox.offered(plan, config.tools)}
    try:
        if isinstance(context.error, ApprovalRefused):
            raise context.error
        arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        if call.name not in known:
            raise ToolError(
                f'no tool "{call.name}"{did_you_mean(call.name, known) or "; there are " + ", ".join(list(known)[1:])}',
                tool=call.name,
            )
        tool, executor = known[call.name]
        await permissions.check(tool, context.session_id)
        whole = await results.resolved(context.thread_id, tool, arguments, list(_told(plan, state)))
        result = await context.log.tool(
            lambda: execute(tool, executor, whole, idempotency_key=context.idempotency_key),
            tool.name,
            arguments,
            attempt=context.attempt,
        )
        error = result.error
        content = "" if error is not None else await results.told(context.thread_id, result.output)
    except msgspec.MsgspecError as misfit:
        error = ToolError(f"{call.name}: its arguments are no JSON object: {misfit}", tool=call.name).info()
    except (ToolError, PermissionDenied, ApprovalRefused) as refused:
        error = refused.info()
    if error is not None:
        if config.on_tool_error == "fail":
            raise GreenroomError.from_info(error)
        content = f"Error: {_worded(error)}"
    return Message(role="tool", content=content, id=context.idempotency_key, name=call.name, tool_call_id=call.id)


def _worded(error: ErrorInfo) -> str:
    """What went wrong, in words that can stand alone: those of a foreign exception may be one word."""
    is_ours = not isinstance(GreenroomError.from_info(error), NodeError)
    return error.message if is_ours else f"{error.code}: {error.message}"


def _told(plan: Plan, state: Mapping[str, Any]) -> Iterator[str]:
    """What tools have told the model, in any conversation of the thread."""
    for name, channel in plan.schema.channels.items():
        if channel.holds_messages:
            messages = state.get(name) or ()
            yield from (each.content for each in messages if isinstance(each, Message) and each.role == "tool")
