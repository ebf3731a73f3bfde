"""Chat with a language model: the port, the question and the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from graphs.journal import Usage
from graphs.messages import Message, ToolCall
from graphs.threads import ThreadPriority

OnToken = Callable[[str], None]
"""Gets each piece of an answer's text as it comes; the pieces together are the text."""


class ToolOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a model may ask for."""

    name: str
    parameters: dict[str, Any]
    """JSON schema of its arguments, which are an object."""
    description: str = ""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked."""

    messages: tuple[Message, ...]
    model: str = ""
    """What the server calls the model by; empty: what the client's settings say."""
    temperature: float | None = None
    """None leaves it to the server, as with `max_tokens`."""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    tools: tuple[ToolOffer, ...] = ()
    tool_choice: str = "auto"
    """`auto`: the model decides; `none`: it has to answer; `required`: it has to ask for a tool; otherwise the name of
    the tool it has to ask for. Means nothing without tools."""
    priority: ThreadPriority = ThreadPriority.NORMAL
    """Who comes first where limits make some wait."""
    output_schema: dict[str, Any] | None = None
    """JSON schema of the answer, whose text is then JSON. Servers may take it as a wish: whoever asks checks."""


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools it asks for, in its order."""
    usage: Usage
    """Zero tokens where the server did not count them."""
    model: str
    """What the server says it is."""
    reused: bool = False
    """Whether it was kept from an earlier chat, or is that of another one under way: nobody has used tokens for it."""
    finish_reason: str
    """Why the answer ends: `stop`, `length`, `tool_calls`, ... Empty if the server did not say."""


class ChatClient(Protocol):
    """A way to a language model."""

    async def chat(self, request: ChatRequest, on_token: OnToken | None = None) -> ChatResponse:
        """Ask, and wait for the whole answer; `on_token` gets its pieces meanwhile.

        Raises:
            ModelUnavailable: The model cannot be reached, is overloaded or too slow, or broke off its answer.
            ModelError: It refused the request, or sent something that is no answer.
        """

    async def close(self) -> None:
        """Give back connections."""
