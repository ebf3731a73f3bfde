"""Anthropic's messages API: the body of a request, and the events of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from actors.llm.answer import Answer, Refused
from actors.llm.client import ChatRequest, OnToken
from graphs.messages import Message, ToolCall

BASE_URL = "https://api.anthropic.com/v1"
VERSION = "2023-06-01"
MAX_TOKENS = 4096
"""Of an answer, where the request does not say: this API wants a number."""
_ANSWER = "answer"
"""The tool whose arguments are the answer, where that is to have a form."""
_VALUE = "value"
"""What holds the answer there, if it is no object itself."""
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicDialect:
    """What Anthropic's API speaks. An answer of a given form is had by forcing the call of a tool that takes it."""

    path = "/messages"

    def headers(self, api_key: str) -> Mapping[str, str]:
        """The version, and the key if there is one."""
        return {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})

    def body(self, request: ChatRequest, model: str) -> bytes:
        """JSON of a streaming request to `model`."""
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": request.max_tokens or MAX_TOKENS,
            "messages": _turns(request.messages),
            "stream": True,
        }
        optional = {
            "system": system or None,
            "temperature": request.temperature,
            "stop_sequences": list(request.stop) or None,
            **_tools(request),
        }
        return msgspec.json.encode(body | {name: value for name, value in optional.items() if value is not None})

    def answer(self, request: ChatRequest, on_token: OnToken | None) -> Answer:
        """What takes in an answer."""
        if request.output_schema is None:
            return _AnthropicAnswer(on_token)
        return _FormedAnswer(on_token, wrapped=not _is_object(request.output_schema))


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The conversation in turns: what follows each other from one side is one message of several blocks."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = list(_blocks(message))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": message.content}
        return
    if message.content:
        yield {"type": "text", "text": message.content}
    for call in message.tool_calls:
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call)}


def _input(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call as the object they have to be, whatever some other model wrote."""
    try:
        return msgspec.json.decode(call.arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"arguments": call.arguments}


def _tools(request: ChatRequest) -> dict[str, Any]:
    if request.output_schema is not None:
        form = _object_of(request.output_schema)
        return {
            "tools": [{"name": _ANSWER, "description": "Give your answer.", "input_schema": form}],
            "tool_choice": {"type": "tool", "name": _ANSWER},
        }
    if not request.tools:
        return {}
    choices = {"auto": None, "none": {"type": "none"}, "required": {"type": "any"}}
    return {
        "tools": [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ],
        "tool_choice": choices.get(request.tool_choice, {"type": "tool", "name": request.tool_choice}),
    }


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object"


def _object_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` itself, or that of an object that holds what it describes: arguments are objects."""
    if _is_object(schema):
        return dict(schema)
    inner = {name: value for name, value in schema.items() if name != "$defs"}
    outer: dict[str, Any] = {"type": "object", "properties": {_VALUE: inner}, "required": [_VALUE]}
    return outer | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class _Delta(msgspec.Struct, frozen=True):
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct, frozen=True):
    model: str | None = None
    usage: _Usage | None = None


class _Problem(msgspec.Struct, frozen=True):
    type: str = ""
    message: str = ""


class _Event(msgspec.Struct, frozen=True):
    """One event of a stream; of the type `message` a whole answer."""

    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Problem = _Problem()
    content: list[_Block] = []
    model: str | None = None
    stop_reason: str | None = None


_decoder = msgspec.json.Decoder(_Event)


class _AnthropicAnswer(Answer):
    def take(self, text: str | bytes) -> None:
        """Take in one event, or the whole answer."""
        event = _decoder.decode(text)
        match event.type:
            case "error":
                raise Refused(event.error.message or event.error.type, _STATUSES.get(event.error.type))
            case "message_start" if event.message is not None:
                self.begun = True
                self._note(event.message.model, event.message.usage)
            case "content_block_start" if event.content_block is not None:
                self._block(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None:
                self._talk(event.delta.text)
                if event.delta.partial_json:
                    self._argue(event.index, event.delta.partial_json)
            case "message_delta":
                self._note(None, event.usage)
                self._end(event.delta.stop_reason if event.delta is not None else None)
            case "message_stop":
                self.ended = True
            case "message":
                self.begun = True
                self._note(event.model, event.usage)
                for index, block in enumerate(event.content):
                    self._block(index, block)
                self._end(event.stop_reason)

    def _talk(self, text: str | None) -> None:
        self.say(text)

    def _block(self, index: int, block: _Block) -> None:
        self._talk(block.text)
        if block.type == "tool_use":
            self.call(index, call_id=block.id, name=block.name)
            if block.input:
                self._argue(index, msgspec.json.encode(block.input).decode())

    def _argue(self, index: int, text: str) -> None:
        self.call(index, arguments=text)

    def _end(self, reason: str | None) -> None:
        self.finish_reason = _REASONS.get(reason or "", reason or self.finish_reason)

    def _note(self, model: str | None, usage: _Usage | None) -> None:
        self.model = model or self.model
        if usage is None:
            return
        prompt_tokens = None
        if usage.input_tokens is not None:  # which are those that no cache had
            written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
            prompt_tokens = usage.input_tokens + written + read
        self.count(
            prompt_tokens=prompt_tokens,
            completion_tokens=usage.output_tokens,
            cached_tokens=usage.cache_read_input_tokens,
        )


class _FormedAnswer(_AnthropicAnswer):
    """An answer that comes as the arguments of a tool, and is text for whoever has asked.

    Args:
        on_token: Gets each piece of text.
        wrapped: Whether the answer is the value of an object's only field.
    """

    def __init__(self, on_token: OnToken | None, *, wrapped: bool) -> None:
        super().__init__(on_token)
        self._wrapped: list[str] | None = [] if wrapped else None

    def _talk(self, text: str | None) -> None:
        """What it says besides is not the answer."""

    def _block(self, index: int, block: _Block) -> None:
        if block.type == "tool_use" and block.input:
            self._argue(index, msgspec.json.encode(block.input).decode())

    def _argue(self, index: int, text: str) -> None:
        if self._wrapped is None:
            self.say(text)
        else:
            self._grow(text)
            self._wrapped.append(text)

    def _end(self, reason: str | None) -> None:
        super()._end("end_turn" if reason == "tool_use" else reason)
        if self._wrapped:
            text, self._wrapped = "".join(self._wrapped), None
            self.length = 0
            self.say(_unwrapped(text))


def _unwrapped(text: str) -> str:
    """The value in the object `text`; `text` itself if it is none, for whoever checks it to see."""
    try:
        return bytes(msgspec.json.decode(text, type=dict[str, msgspec.Raw])[_VALUE]).decode()
    except (msgspec.MsgspecError, KeyError):
        return text
