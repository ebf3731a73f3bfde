"""The OpenAI client against a real HTTP server that misbehaves on purpose."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.errors import ModelError
from actors.llm.client import ChatRequest, ChatResponse, ToolOffer
from actors.llm.http import HttpClient
from actors.llm.openai import OpenAIDialect
from actors.llm.settings import ModelSettings
from graphs.journal import Usage
from graphs.messages import Message, ToolCall
from tests.component.model_server import DONE, USAGE, ModelServer, event, stream

KEY = "sk-very-secret"
ASK = ChatRequest(messages=(Message(role="user", content="hi"),))

GOOD = stream(event("Hel"), event("lo"), event(finish="stop"), USAGE, DONE)
HELLO = ChatResponse(
    text="Hello",
    usage=Usage(prompt_tokens=5, completion_tokens=2, calls=1),
    model="tiny-1",
    finish_reason="stop",
)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer().serving() as server:
        yield server


class Sleeper:
    """Remembers how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)


@asynccontextmanager
async def client_of(url: str, *, sleep: Sleeper | None = None, **options: Any) -> AsyncIterator[HttpClient]:
    settings = ModelSettings(name="tiny", base_url=url, model="tiny-model", api_key=KEY, **options)
    client = HttpClient(settings, OpenAIDialect(), sleep=sleep or Sleeper())
    try:
        yield client
    finally:
        await client.close()


async def failure(url: str, kind: type[ModelError] = ModelError, **options: Any) -> ModelError:
    """The error of one chat; the key is nowhere in it."""
    async with client_of(url, **options) as client:
        with pytest.raises(ModelError) as caught:
            await client.chat(ASK)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert KEY not in repr(caught.value.info())
    return caught.value


async def test_a_stream(server: ModelServer) -> None:
    server.steps = [GOOD]
    tokens: list[str] = []

    async with client_of(server.url) as client:
        response = await client.chat(ASK, tokens.append)

    assert response == HELLO
    assert tokens == ["Hel", "lo"]
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "tiny-model",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_everything_in_a_request_is_sent(server: ModelServer) -> None:
    server.steps = [GOOD]
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    offer = ToolOffer(name="add", description="Adds.", parameters=schema)
    call = ToolCall(id="c1", name="add", arguments='{"a": 1}')
    messages = (
        Message(role="system", content="Be brief.", id="m1"),
        Message(role="assistant", tool_calls=[call]),
        Message(role="tool", content="2", tool_call_id="c1", name="add"),
    )

    async with client_of(server.url) as client:
        await client.chat(
            ChatRequest(
                messages=messages,
                model="other",
                temperature=0.0,
                max_tokens=7,
                stop=("\n",),
                output_schema=schema,
                tools=(offer,),
                tool_choice="add",
            )
        )

    assert server.requests[0][2] == {
        "model": "other",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "content": "2", "tool_call_id": "c1", "name": "add"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "max_tokens": 7,
        "stop": ["\n"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        "tools": [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
    }


async def test_a_whole_answer_instead_of_a_stream(server: ModelServer) -> None:
    answer = {
        "model": "tiny-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    server.steps = [lambda handler: handler.reply(200, "application/json", json.dumps(answer))]
    tokens: list[str] = []

    async with client_of(server.url) as client:
        assert await client.chat(ASK, tokens.append) == HELLO
    assert tokens == ["Hello"]


def calls(*parts: dict[str, Any], finish: str | None = None) -> str:
    """An event with parts of tool calls."""
    choice = {"index": 0, "delta": {"tool_calls": list(parts)}, "finish_reason": finish}
    return f"data: {json.dumps({'model': 'tiny-1', 'choices': [choice]})}\n\n"


ADD = ToolCall(id="c1", name="add", arguments='{"a": 1, "b": 2}')
NOW = ToolCall(id="c2", name="now", arguments="{}")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(
            [
                [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}],
                [{"index": 0, "function": {"arguments": '{"a": 1, '}}],
                [{"index": 1, "id": "c2", "function": {"name": "now", "arguments": ""}}],
                [{"index": 0, "function": {"arguments": '"b": 2}'}}, {"index": 1, "function": {"arguments": "{}"}}],
            ],
            id="by index, in turns",
        ),
        pytest.param(
            [
                [{"id": "c1", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}],
                [{"id": "c2", "function": {"name": "now", "arguments": "{}"}}],
            ],
            id="whole, without index",
        ),
        pytest.param(
            [
                [{"id": "c1", "function": {"name": "add", "arguments": '{"a": 1, '}}],
                [{"id": "c1", "function": {"name": "add", "arguments": '"b": 2}'}}],
                [{"index": 5, "id": "c2", "function": {"name": "now"}}],
            ],
            id="in parts with the id repeated, and without arguments",
        ),
    ],
)
async def test_tool_calls_are_put_together(server: ModelServer, parts: list[list[dict[str, Any]]]) -> None:
    server.steps = [stream(event("Well."), *(calls(*part) for part in parts), event(finish="tool_calls"), USAGE, DONE)]
    tokens: list[str] = []

    async with client_of(server.url) as client:
        response = await client.chat(ASK, tokens.append)

    assert response == ChatResponse(
        text="Well.",
        tool_calls=(ADD, NOW),
        usage=Usage(prompt_tokens=5, completion_tokens=2, calls=1),
        model="tiny-1",
        finish_reason="tool_calls",
    )
    assert tokens == ["Well."]


async def test_tool_calls_in_a_whole_answer(server: ModelServer) -> None:
    asked = [{"id": "", "function": {"name": name, "arguments": "{}"}} for name in ("add", "now")]
    answer = {"choices": [{"message": {"content": None, "tool_calls": asked}, "finish_reason": "tool_calls"}]}
    server.steps = [lambda handler: handler.reply(200, "application/json", json.dumps(answer))]

    async with client_of(server.url) as client:
        response = await client.chat(ASK)

    assert (response.text, response.tool_calls) == (
        "",
        (ToolCall(id="call_1", name="add"), ToolCall(id="call_2", name="now")),
    )


async def test_a_tool_call_without_a_name(server: ModelServer) -> None:
    server.steps = [stream(calls({"index": 0, "id": "c1"}, finish="tool_calls"), DONE)]

    error = await failure(server.url)

    assert error.message == f'model "tiny" at {server.url}: it asked for a tool without a name'


async def test_what_the_provider_says_of_tokens(server: ModelServer) -> None:
    usage = {
        "prompt_tokens": 50,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 15, "audio_tokens": 0},
    }
    server.steps = [stream(event("Hello", finish="stop", usage=usage), DONE)]

    async with client_of(server.url) as client:
        response = await client.chat(ASK)

    assert response.usage == Usage(
        prompt_tokens=50, completion_tokens=20, calls=1, cached_tokens=30, reasoning_tokens=15
    )


async def test_line_separators_and_split_characters_survive(server: ModelServer) -> None:
    text = "a\u2028b\u0085c é😀"
    data = event(text).encode()
    half = data.index("😀".encode()) + 2
    server.steps = [stream(": ping\n\n", data[:half], data[half:], event(finish="stop"))]

    async with client_of(server.url) as client:
        response = await client.chat(ASK)

    assert response == ChatResponse(text=text, usage=Usage(calls=1), model="tiny-1", finish_reason="stop")


async def test_connections_are_used_again(server: ModelServer) -> None:
    server.steps = [GOOD]

    async with client_of(server.url) as client:
        for _ in range(3):
            assert await client.chat(ASK) == HELLO

    assert len(server.requests) == 3
    assert len(server.clients) == 1
