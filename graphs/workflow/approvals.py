"""Asking a person before a tool is called: the question, what may be answered, and what an answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from graphs.errors import ApprovalRefused, ErrorInfo, StateInvalid
from graphs.functions import is_reference
from graphs.journal import Pause, PauseKind
from graphs.state.specs import problems_of
from graphs.workflow.items import call_in
from graphs.workflow.node import Node, ToolCallConfig
from graphs.workflow.template import render_value

HIDDEN = "***"
_SECRET = re.compile(r"password|passwd|secret|token|api_?key|authorization|credential|private_?key", re.IGNORECASE)


class Approval(BaseModel):
    """A person's word on whether a tool may be called; `true` and `false` alone mean the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    approved: bool
    reason: str = ""
    """Why, or why not; whoever deals with a refusal is told."""


APPROVAL_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "boolean"}, Approval.model_json_schema()]}
"""JSON schema of the answers there are."""


def approval_of(node: Node, state: Mapping[str, Any]) -> Pause:
    """The pause in which a person is asked: it shows the tool and all arguments it is to be called with.

    Raises:
        GraphInvalid: The arguments cannot be made of the state.
        StateInvalid: Likewise.
    """
    tool, arguments = _call(node, state)
    shown = msgspec.json.encode(_shown(arguments), enc_hook=_other).decode()
    question = f"May the tool {tool} be called with {shown}?"
    return Pause(kind=PauseKind.APPROVAL, node=node.id, question=question, tool=tool)


def check_approval(pause: Pause, value: Any) -> ErrorInfo | None:
    """What an answer means: None if the tool may be called, else the refusal.

    Raises:
        StateInvalid: It is no answer to that.
    """
    try:
        approval = Approval(approved=value) if isinstance(value, bool) else Approval.model_validate(value)
    except ValidationError as error:
        problems = problems_of(error, "answer")
        text = f"the answer to {pause.node!r} does not fit: {'; '.join(problems)}; answer true or false"
        raise StateInvalid(text, problems=problems, node=pause.node) from None
    if approval.approved:
        return None
    because = f": {approval.reason}" if approval.reason else ""
    text = f"the call of tool {pause.tool} was refused{because}"
    return ApprovalRefused(text, tool=pause.tool, node=pause.node, reason=approval.reason).info()


def _call(node: Node, state: Mapping[str, Any]) -> tuple[str, Any]:
    """The tool that a node calls, as people call it, and its arguments."""
    config = node.config
    if isinstance(config, ToolCallConfig):
        tool = re.split("[:.]", config.tool)[-1] if is_reference(config.tool) else config.tool
        return tool, render_value(config.arguments, state)
    call = call_in(state)
    try:
        return call.name, msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:  # the model will be told
        return call.name, call.arguments


def _other(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _shown(value: Any) -> Any:
    """`value` without what is called like a secret."""
    if isinstance(value, Mapping):
        return {str(key): HIDDEN if _SECRET.search(str(key)) else _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return value
