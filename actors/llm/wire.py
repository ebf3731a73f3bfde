"""OpenAI's chat completions as they go over the wire: the body of a request, and an answer put together from parts."""

from __future__ import annotations

from typing import Any

import msgspec

from actors.llm.client import ChatRequest, ChatResponse, OnToken
from graphs.journal import Usage
from graphs.messages import Message

END_OF_STREAM = "[DONE]"


def body_of(request: ChatRequest, model: str) -> bytes:
    """JSON of a streaming request to `model`."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    optional = {
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "response_format": request.response_format,
    }
    return msgspec.json.encode(body | {name: value for name, value in optional.items() if value is not None})


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        wire["name"] = message.name
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return wire


class _Text(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Part(msgspec.Struct, frozen=True):
    """One event of a streamed answer, or a whole one."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None
    """What went wrong after the server had begun to answer."""

    @property
    def error_text(self) -> str:
        """The error in words."""
        if isinstance(self.error, dict) and "message" in self.error:
            return str(self.error["message"])
        return str(self.error)

    @property
    def error_status(self) -> int | None:
        """The HTTP status the error stands for, if it says."""
        code = self.error.get("code") if isinstance(self.error, dict) else None
        return code if isinstance(code, int) else None


_decoder = msgspec.json.Decoder(Part)


def part_of(text: str | bytes) -> Part:
    """The part in a JSON text. Raises `msgspec.MsgspecError` if it is none."""
    return _decoder.decode(text)


class Answer:
    """An answer that is coming in.

    Args:
        on_token: Gets each piece of text.
    """

    def __init__(self, on_token: OnToken | None) -> None:
        self._on_token = on_token
        self._pieces: list[str] = []
        self._usage = Usage(calls=1)
        self._model = ""
        self._finish_reason = ""
        self.begun = False
        """Whether any part of it has come."""
        self.ended = False
        """Whether the server has said that nothing more will come."""

    @property
    def complete(self) -> bool:
        """Whether it may count as whole, should the connection end now."""
        return self.ended or bool(self._finish_reason)

    @property
    def length(self) -> int:
        """Characters so far."""
        return sum(map(len, self._pieces))

    def add(self, part: Part) -> None:
        """Take in the next part."""
        self.begun = True
        self._model = part.model or self._model
        if part.usage is not None:
            self._usage = Usage(
                prompt_tokens=part.usage.prompt_tokens or 0,
                completion_tokens=part.usage.completion_tokens or 0,
                calls=1,
            )
        for choice in part.choices:
            if choice.index == 0:
                self._add_choice(choice)

    def _add_choice(self, choice: _Choice) -> None:
        text = choice.delta or choice.message
        if text is not None and text.content:
            self._pieces.append(text.content)
            if self._on_token is not None:
                self._on_token(text.content)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def response(self, model: str) -> ChatResponse:
        """The whole answer; `model` where the server did not name itself."""
        return ChatResponse(
            text="".join(self._pieces),
            usage=self._usage,
            model=self._model or model,
            finish_reason=self._finish_reason,
        )
