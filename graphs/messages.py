"""Chat messages: what a conversation channel holds and what language models are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict


class ToolCall(BaseModel):
    """A tool call that a model asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Answered by the message whose `tool_call_id` is the same."""
    name: str
    arguments: str = "{}"
    """JSON text of an object, as the model wrote it."""


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    id: str = ""
    """A message written with the id of an earlier one replaces it; empty: it is always appended."""
    name: str | None = None
    """Who speaks, if the role does not tell."""
    tool_call_id: str | None = None
    """For role `tool`: the call this answers."""
    tool_calls: list[ToolCall] = []
    """For role `assistant`: the calls the model asks for."""


def rounds_of(messages: Sequence[Message]) -> int:
    """Answers that ask for tools, after the last message of the user."""
    count = 0
    for message in reversed(messages):
        if message.role == "user":
            break
        count += bool(message.tool_calls)
    return count
