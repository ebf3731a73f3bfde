"""OpenAI's chat completions, which most servers speak: the body of a request, and the parts of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from actors.llm.answer import Answer, Refused
from actors.llm.client import ChatRequest, OnToken
from graphs.messages import Message

END_OF_STREAM = "[DONE]"


class OpenAIDialect:
    """What OpenAI-compatible endpoints speak."""

    path = "/chat/completions"

    def headers(self, api_key: str) -> Mapping[str, str]:
        """The key, if there is one."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def body(self, request: ChatRequest, model: str) -> bytes:
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
            "response_format": _form(request.output_schema),
            **_tools(request),
        }
        return msgspec.json.encode(body | {name: value for name, value in optional.items() if value is not None})

    def answer(self, request: ChatRequest, on_token: OnToken | None) -> Answer:
        """What takes in an answer."""
        return _OpenAIAnswer(on_token)


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


def _form(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if schema is None else {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    choice: Any = request.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "function": {"name": choice}}
    return {
        "tools": [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ],
        "tool_choice": None if choice == "auto" else choice,
    }


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function = _Function()


class _Said(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Part(msgspec.Struct, frozen=True):
    """One event of a streamed answer, or a whole one."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None
    """What went wrong after the server had begun to answer."""

    def refusal(self) -> Refused:
        """What the error says."""
        facts = self.error if isinstance(self.error, dict) else {}
        code = facts.get("code")
        return Refused(str(facts.get("message", self.error)), code if isinstance(code, int) else None)


_decoder = msgspec.json.Decoder(_Part)


class _OpenAIAnswer(Answer):
    def take(self, text: str | bytes) -> None:
        """Take in one event, or the whole answer."""
        if text == END_OF_STREAM:
            self.ended = True
            return
        part = _decoder.decode(text)
        if part.error is not None:
            raise part.refusal()
        self.begun = self.begun or bool(part.choices) or part.usage is not None
        self.model = part.model or self.model
        if part.usage is not None:
            self._count(part.usage)
        for choice in part.choices:
            if choice.index == 0:
                self._add(choice)

    def _add(self, choice: _Choice) -> None:
        said = choice.delta or choice.message
        if said is not None:
            self.say(said.content)
            for position, call in enumerate(said.tool_calls or ()):
                key = position if call.index is None and choice.message is not None else call.index
                self.call(key, call_id=call.id, name=call.function.name, arguments=call.function.arguments)
        self.finish_reason = choice.finish_reason or self.finish_reason

    def _count(self, usage: _Usage) -> None:
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        self.count(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=prompt.cached_tokens if prompt is not None else None,
            reasoning_tokens=completion.reasoning_tokens if completion is not None else None,
        )
