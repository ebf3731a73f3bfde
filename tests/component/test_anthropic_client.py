"""Anthropic's API, as a real HTTP server speaks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.errors import ModelError, ModelUnavailable
from actors.llm.anthropic import AnthropicDialect
from actors.llm.client import ChatRequest, ChatResponse, ToolOffer
from actors.llm.http import HttpClient
from actors.llm.settings import ModelSettings
from graphs.journal import Usage
from graphs.messages import Message, ToolCall
from tests.component.model_server import ModelServer, stream

ASK = ChatRequest(messages=(Message(role="user", content="hi"),))
SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}}}


def sent(kind: str, **fields: Any) -> str:
    """One event, as it is sent."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def start(**usage: int) -> str:
    return sent("message_start", message={"model": "tiny-1", "usage": {"input_tokens": 5, "output_tokens": 1, **usage}})


def text(*pieces: str, index: int = 0) -> list[str]:
    deltas = [sent("content_block_delta", index=index, delta={"type": "text_delta", "text": piece}) for piece in pieces]
    return [sent("content_block_start", index=index, content_block={"type": "text", "text": ""}), *deltas]


def tool(index: int, call_id: str, name: str, *pieces: str) -> list[str]:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    deltas = [
        sent("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
        for piece in pieces
    ]
    return [sent("content_block_start", index=index, content_block=block), *deltas]


def end(reason: str) -> list[str]:
    return [
        sent("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 2}),
        sent("message_stop"),
    ]


GOOD = stream(start(), sent("ping"), *text("Hel", "lo"), sent("content_block_stop", index=0), *end("end_turn"))
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


@asynccontextmanager
async def client_of(server: ModelServer) -> AsyncIterator[HttpClient]:
    async def sleep(seconds: float) -> None:
        """Not here."""

    settings = ModelSettings(name="tiny", base_url=server.url, model="tiny-model", api_key="sk-1")
    client = HttpClient(settings, AnthropicDialect(), sleep=sleep)
    try:
        yield client
    finally:
        await client.close()


async def answer(server: ModelServer, request: ChatRequest, *events: str) -> tuple[ChatResponse, list[str], Any]:
    """The response to a stream of `events`, the pieces it came in, and the body of the request."""
    server.steps = [stream(*events)]
    tokens: list[str] = []
    async with client_of(server) as client:
        response = await client.chat(request, tokens.append)
    return response, tokens, server.requests[-1][2]


async def test_a_stream(server: ModelServer) -> None:
    server.steps = [GOOD]
    tokens: list[str] = []

    async with client_of(server) as client:
        assert await client.chat(ASK, tokens.append) == HELLO

    assert tokens == ["Hel", "lo"]
    path, headers, body = server.requests[0]
    assert (path, headers["x-api-key"], headers["anthropic-version"]) == ("/v1/messages", "sk-1", "2023-06-01")
    assert "authorization" not in headers
    assert body == {
        "model": "tiny-model",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
    }


async def test_everything_in_a_request_is_sent(server: ModelServer) -> None:
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Add."),
        Message(role="assistant", content="Well.", tool_calls=[ToolCall(id="c1", name="add", arguments='{"a": 1}')]),
        Message(role="assistant", tool_calls=[ToolCall(id="c2", name="add", arguments="{oops")]),
        Message(role="tool", content="1", tool_call_id="c1", name="add"),
        Message(role="tool", content="no", tool_call_id="c2", name="add"),
        Message(role="user", content="And?"),
        Message(role="system", content="Be nice."),
    )
    request = ChatRequest(
        messages=messages,
        model="other",
        temperature=0.5,
        max_tokens=7,
        stop=("\n",),
        tools=(ToolOffer(name="add", description="Adds.", parameters=SCHEMA),),
        tool_choice="required",
    )

    _, _, body = await answer(server, request, start(), *text("x"), *end("end_turn"))

    assert body == {
        "model": "other",
        "max_tokens": 7,
        "system": "Be brief.\n\nBe nice.",
        "temperature": 0.5,
        "stop_sequences": ["\n"],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Add."}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Well."},
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "add", "input": {"arguments": "{oops"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "1"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "no"},
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        "stream": True,
        "tools": [{"name": "add", "description": "Adds.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
    }


@pytest.mark.parametrize(
    ("choice", "sent_choice"),
    [("auto", None), ("none", {"type": "none"}), ("add", {"type": "tool", "name": "add"})],
)
async def test_who_chooses_the_tool(server: ModelServer, choice: str, sent_choice: Any) -> None:
    offer = ToolOffer(name="add", parameters=SCHEMA)
    request = ChatRequest(messages=ASK.messages, tools=(offer,), tool_choice=choice)

    _, _, body = await answer(server, request, start(), *text("x"), *end("end_turn"))

    assert body.get("tool_choice") == sent_choice


async def test_tool_calls(server: ModelServer) -> None:
    response, tokens, _ = await answer(
        server,
        ASK,
        start(cache_read_input_tokens=10, cache_creation_input_tokens=3),
        *text("Well."),
        *tool(1, "c1", "add", '{"a"', ": 1}"),
        *tool(2, "c2", "now"),
        *end("tool_use"),
    )

    assert response == ChatResponse(
        text="Well.",
        tool_calls=(ToolCall(id="c1", name="add", arguments='{"a": 1}'), ToolCall(id="c2", name="now")),
        usage=Usage(prompt_tokens=18, completion_tokens=2, calls=1, cached_tokens=10),
        model="tiny-1",
        finish_reason="tool_calls",
    )
    assert tokens == ["Well."]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_tokens", "length"), ("stop_sequence", "stop"), ("refusal", "content_filter"), ("pause_turn", "pause_turn")],
)
async def test_why_it_stops(server: ModelServer, reason: str, finish: str) -> None:
    response, _, _ = await answer(server, ASK, start(), *text("x"), *end(reason))

    assert response.finish_reason == finish


async def test_a_whole_answer_instead_of_a_stream(server: ModelServer) -> None:
    whole = {
        "type": "message",
        "model": "tiny-1",
        "content": [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    server.steps = [lambda handler: handler.reply(200, "application/json", json.dumps(whole))]

    async with client_of(server) as client:
        response = await client.chat(ASK)

    assert response == ChatResponse(
        text="Hello",
        tool_calls=(ToolCall(id="c", name="f", arguments='{"a":1}'),),
        usage=Usage(prompt_tokens=5, completion_tokens=2, calls=1),
        model="tiny-1",
        finish_reason="tool_calls",
    )


async def test_an_answer_of_a_given_form_is_the_input_of_a_tool(server: ModelServer) -> None:
    request = ChatRequest(messages=ASK.messages, output_schema=SCHEMA)

    response, tokens, body = await answer(
        server, request, start(), *text("Sure:"), *tool(1, "c1", "answer", '{"a"', ": 1}"), *end("tool_use")
    )

    assert (response.text, response.tool_calls, response.finish_reason) == ('{"a": 1}', (), "stop")
    assert tokens == ['{"a"', ": 1}"]
    assert body["tools"] == [{"name": "answer", "description": "Give your answer.", "input_schema": SCHEMA}]
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (['{"value"', ": [1, 2]}"], "[1, 2]"),
        (['{"value": [1, '], '{"value": [1, '),
        (['{"values": [1]}'], '{"values": [1]}'),
    ],
    ids=["whole", "cut", "another name"],
)
async def test_an_answer_that_is_no_object_is_put_into_one(server: ModelServer, given: list[str], found: str) -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "number"}}}
    request = ChatRequest(messages=ASK.messages, output_schema=schema)

    response, tokens, body = await answer(server, request, start(), *tool(0, "c1", "answer", *given), *end("tool_use"))

    assert (response.text, tokens) == (found, [found])
    assert body["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/N"}}},
        "required": ["value"],
        "$defs": {"N": {"type": "number"}},
    }


async def test_an_overloaded_server_is_asked_again_and_other_errors_are_told(server: ModelServer) -> None:
    overloaded = sent("error", error={"type": "overloaded_error", "message": "Overloaded"})
    server.steps = [stream(start(), overloaded), GOOD]

    async with client_of(server) as client:
        assert await client.chat(ASK) == HELLO
        server.steps = [stream(start(), *text("Hel"), overloaded)]
        with pytest.raises(ModelError) as late:
            await client.chat(ASK)
        server.steps = [stream(sent("error", error={"type": "invalid_request_error", "message": "no"}))]
        with pytest.raises(ModelError) as refused:
            await client.chat(ASK)

    assert (late.value.message, late.value.status) == (
        f'model "tiny" at {server.url}: it failed: Overloaded',
        529,
    )
    assert (refused.value.message, refused.value.status) == (f'model "tiny" at {server.url}: it failed: no', 400)
    assert len(server.requests) == 4


async def test_a_stream_cut_in_the_middle(server: ModelServer) -> None:
    server.steps = [stream(start(), *text("Hel"))]

    async with client_of(server) as client:
        with pytest.raises(ModelUnavailable) as caught:
            await client.chat(ASK)

    assert caught.value.message == (
        f'model "tiny" at {server.url}: it broke off after 3 characters: the stream ended; ask again'
    )
