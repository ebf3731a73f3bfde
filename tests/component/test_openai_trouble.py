"""The client of servers in the dialect of OpenAI, when they refuse, break off, hang or talk nonsense."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from actors.errors import ModelUnavailable, RateLimited
from actors.llm.http import HttpClient
from actors.llm.openai import OpenAIDialect
from actors.llm.settings import ModelSettings, Timeouts
from tests.component.model_server import DONE, USAGE, Handler, ModelServer, event, stream
from tests.component.test_openai_client import ASK, GOOD, HELLO, KEY, Sleeper, client_of, failure


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer().serving() as server:
        yield server


async def test_too_many_requests_are_repeated_when_the_server_says(server: ModelServer) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    server.steps = [
        lambda handler: handler.reply(429, "text/plain", "slow down", retry_after="2"),
        lambda handler: handler.reply(503, "text/plain", "not yet", retry_after=later),
        GOOD,
    ]
    sleeper = Sleeper()

    async with client_of(server.url, sleep=sleeper) as client:
        assert await client.chat(ASK) == HELLO

    assert sleeper.slept_s[0] == 2.0
    assert 40 < sleeper.slept_s[1] <= 50
    assert len(server.requests) == 3


async def test_failures_are_repeated_with_growing_waits_and_then_reported(server: ModelServer) -> None:
    server.steps = [lambda handler: handler.reply(500, "text/plain", f"no {KEY}\nno")]
    sleeper = Sleeper()

    error = await failure(server.url, ModelUnavailable, sleep=sleeper, max_retries=3)

    assert error.message == (
        f'model "tiny" at {server.url}: it answered 500 no *** no (4 attempts); '
        "see that the server runs and is not overloaded"
    )
    assert error.fields == {"model": "tiny", "url": server.url, "status": 500, "retry_after_s": None}
    assert error.retryable
    assert [slept_s // 0.5 * 0.5 for slept_s in sleeper.slept_s] == [0.5, 1.0, 2.0]
    assert len(server.requests) == 4


async def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(server: ModelServer) -> None:
    server.steps = [lambda handler: handler.reply(429, "text/plain", "", retry_after="3600")]
    sleeper = Sleeper()

    error = await failure(server.url, RateLimited, sleep=sleeper)

    assert error.retry_after_s == 3600.0
    assert (sleeper.slept_s, len(server.requests)) == ([], 1)


async def test_a_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        sleeper = Sleeper()

        error = await failure(
            f"http://user:pass%20word@127.0.0.1:{port}/v1?key=abc", ModelUnavailable, sleep=sleeper, max_retries=1
        )

    assert error.message == (
        f'model "tiny" at http://127.0.0.1:{port}/v1: no answer: ConnectError: All connection attempts failed '
        "(2 attempts); see that the server runs and is not overloaded"
    )
    assert error.url == f"http://127.0.0.1:{port}/v1"
    assert len(sleeper.slept_s) == 1


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "correct the request"),
        (401, "check its api_key"),
        (404, "check its base_url and model"),
        (301, "correct its base_url"),
    ],
)
async def test_refusals_are_not_repeated(server: ModelServer, status: int, remedy: str) -> None:
    server.steps = [lambda handler: handler.reply(status, "text/plain", f"bad key {KEY} " + "x" * 10_000, location="/")]

    error = await failure(server.url)

    text = "bad key *** " + "x" * 488 + "..."
    assert error.message == f'model "tiny" at {server.url}: it answered {status}: {text}; {remedy}'
    assert error.fields == {"model": "tiny", "status": status, "text": text}
    assert not error.retryable
    assert len(server.requests) == 1


async def test_a_stream_cut_in_the_middle(server: ModelServer) -> None:
    def cut(handler: Handler) -> None:
        handler.begin_stream()
        handler.send(event("Hel"))
        handler.cut()

    server.steps = [cut, GOOD]

    error = await failure(server.url, ModelUnavailable)

    assert error.message.startswith(f'model "tiny" at {server.url}: it broke off after 3 characters: ')
    assert len(server.requests) == 1


async def test_a_stream_that_ends_without_saying_so(server: ModelServer) -> None:
    server.steps = [stream(event("Hel")), GOOD]

    error = await failure(server.url, ModelUnavailable)

    assert error.message == (
        f'model "tiny" at {server.url}: it broke off after 3 characters: the stream ended; ask again'
    )


async def test_a_stream_lost_before_any_text_is_asked_for_again(server: ModelServer) -> None:
    def cut(handler: Handler) -> None:
        handler.begin_stream()
        handler.send(event(""))
        handler.cut()

    server.steps = [cut, lambda handler: handler.cut(), stream(), GOOD]
    tokens: list[str] = []

    async with client_of(server.url) as client:
        assert await client.chat(ASK, tokens.append) == HELLO

    assert tokens == ["Hel", "lo"]
    assert len(server.requests) == 4


async def test_an_error_inside_a_stream(server: ModelServer) -> None:
    late = stream(event("Hel"), 'data: {"error": {"code": 500, "message": "out of memory"}}\n\n')
    early = stream('data: {"error": {"code": 503, "message": "loading model"}}\n\n')
    server.steps = [early, late]

    error = await failure(server.url)

    assert error.message == f'model "tiny" at {server.url}: it failed: out of memory'
    assert error.status == 500
    assert len(server.requests) == 2


async def test_nothing_comes(server: ModelServer) -> None:
    def hang(handler: Handler) -> None:
        handler.begin_stream()
        handler.send(": ping\n\n")
        handler.server.released.wait(30)

    server.steps = [hang]

    error = await failure(server.url, ModelUnavailable, timeouts=Timeouts(first_token_s=0.2))

    assert error.message == (
        f'model "tiny" at {server.url}: nothing came within 0.2 s; raise timeouts.first_token_s or use a faster model'
    )
    assert len(server.requests) == 1


async def test_nothing_more_comes(server: ModelServer) -> None:
    def stall(handler: Handler) -> None:
        handler.begin_stream()
        handler.send(event("Hel"))
        handler.server.released.wait(30)

    server.steps = [stall]

    error = await failure(server.url, ModelUnavailable, timeouts=Timeouts(idle_s=0.2))

    assert error.message == (
        f'model "tiny" at {server.url}: nothing came for 0.2 s after 3 characters; '
        "raise timeouts.idle_s or use a faster model"
    )


async def test_the_whole_takes_too_long(server: ModelServer) -> None:
    def drip(handler: Handler) -> None:
        handler.begin_stream()
        while not handler.server.released.wait(0.02):
            handler.send(event("."))

    server.steps = [drip]

    error = await failure(server.url, ModelUnavailable, timeouts=Timeouts(total_s=0.3))

    assert error.message == (
        f'model "tiny" at {server.url}: no whole answer within 0.3 s; raise timeouts.total_s or ask for less'
    )


async def test_a_server_that_does_not_close_after_the_end(server: ModelServer) -> None:
    def linger(handler: Handler) -> None:
        handler.begin_stream()
        handler.send(event("Hello", finish="stop") + USAGE + DONE)
        handler.server.released.wait(30)

    server.steps = [linger]

    async with client_of(server.url) as client:
        assert await client.chat(ASK) == HELLO


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (
            stream("data: {oops\n\n"),
            "it sent something that is no answer (JSON is malformed: object keys must be strings (byte 1)): {oops",
        ),
        (
            stream("data: [1]\n\n"),
            "it sent something that is no answer (Expected `object`, got `array`): [1]",
        ),
        (
            lambda handler: handler.reply(200, "application/json", '{"choices": '),
            'it sent something that is no answer (Input data was truncated): {"choices":',
        ),
        (
            lambda handler: handler.reply(200, "application/json", '{"detail": "hello"}'),
            "there is no answer in what it sent; check its base_url",
        ),
        (
            lambda handler: handler.reply(200, "text/html", "<html>"),
            "it sent text/html instead of an answer; check its base_url",
        ),
    ],
)
async def test_what_is_no_answer(server: ModelServer, step: Callable[[Handler], None], problem: str) -> None:
    server.steps = [step]

    error = await failure(server.url)

    assert error.message == f'model "tiny" at {server.url}: {problem}'
    assert len(server.requests) == 1


async def test_cancelling_closes_the_connection(server: ModelServer) -> None:
    def drip(handler: Handler) -> None:
        handler.begin_stream()
        try:
            while not handler.server.released.wait(0.01):
                handler.send(event("."))
        except OSError:
            handler.server.client_gone.set()

    server.steps = [drip]
    begun = asyncio.Event()

    async with client_of(server.url) as client:
        chat = asyncio.ensure_future(client.chat(ASK, lambda _: begun.set()))
        await begun.wait()
        chat.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chat
        assert await asyncio.to_thread(server.client_gone.wait, 10)


async def test_an_error_of_the_listener_ends_the_chat(server: ModelServer) -> None:
    server.steps = [GOOD]

    def fail(text: str) -> None:
        raise TimeoutError(text)

    async with client_of(server.url) as client:
        with pytest.raises(TimeoutError, match="Hel"):
            await client.chat(ASK, fail)

    assert len(server.requests) == 1


async def test_credentials_in_the_url_are_sent_but_not_logged(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.steps = [GOOD]
    settings = ModelSettings(name="tiny", base_url=server.url.replace("://", "://ada:love@") + "/", model="m")

    client = HttpClient(settings, OpenAIDialect())
    try:
        assert await client.chat(ASK) == HELLO
    finally:
        await client.close()

    path, headers, _ = server.requests[0]
    assert (path, headers["authorization"]) == ("/v1/chat/completions", "Basic YWRhOmxvdmU=")
    assert "chat/completions" in caplog.text
    assert "love" not in caplog.text
