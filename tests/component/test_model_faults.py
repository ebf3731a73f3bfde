"""Model servers that misbehave: each fault ends as `docs/models.md` says, at once, and with a true record."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from actors.errors import ModelError, ModelUnavailable, OutputInvalid, RateLimited
from graphs.calls import ModelCall
from graphs.journal import EntryKind
from runtime import END, START, Graph
from tests.component import test_anthropic_client as anthropic
from tests.component.actors_kit import runtime
from tests.component.model_server import DONE, USAGE, Handler, ModelServer, event, stream

MEGABYTE = 2**20
Step = Callable[[Handler], None]


class Server(ModelServer):
    """A misbehaving server of one provider."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.provider = provider

    def said(self, text: str) -> list[str]:
        """Events of an answer that has begun."""
        if self.provider == "openai":
            return [event(text)]
        return [anthropic.start(), *anthropic.text(text)]

    def formed(self, text: str) -> Step:
        """An answer in a form."""
        if self.provider == "openai":
            return stream(event(text), event(finish="stop"), USAGE, DONE)
        return stream(anthropic.start(), *anthropic.tool(0, "c", "answer", text), *anthropic.end("tool_use"))

    def good(self, text: str) -> Step:
        if self.provider == "openai":
            return stream(event(text), event(finish="stop"), USAGE, DONE)
        return stream(*self.said(text), *anthropic.end("end_turn"))


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param).serving() as server:
        yield server


class Review(BaseModel):
    stars: int


class State(BaseModel):
    answer: str = "nothing"
    stars: int = 0


class Outcome:
    """How a turn ended, and what is recorded of its one step."""

    def __init__(self, result: Any, entries: Any, took_s: float) -> None:
        self.result = result
        self.error = result.error
        self.took_s = took_s
        (self.step,) = (entry for entry in entries if entry.node == "ask")
        self.calls: list[ModelCall] = list(self.step.calls)


async def ask(server: Server, *steps: Step, output: Any = None, retry: int = 1, **options: Any) -> Outcome:
    server.steps = list(steps)
    g = Graph("ask", state=State)
    into = "answer" if output is None else None
    g.llm("ask", prompt="hi", into=into, output=output, repairs=1, retry=retry)
    g.edge(START, "ask")
    g.edge("ask", END)
    model = {"provider": server.provider, "base_url": server.url, "model": "x", "max_retries": 1, **options}
    async with runtime(models={"default": model}) as rt:
        await rt.deploy(g)
        session = await rt.session("ask")
        started = time.monotonic()
        async with asyncio.timeout(30):
            result = await session.run({})
        took_s = time.monotonic() - started
        return Outcome(result, await rt.records.store.journal.read(result.thread_id), took_s)


def check_failed(outcome: Outcome, kind: type[ModelError], text: str, *, calls: int = 1) -> None:
    """The step has failed with this error, wrote nothing, and each of its calls is on record, with the error."""
    assert (outcome.result.status, type(outcome.error)) == ("failed", kind)
    assert text in outcome.error.message
    assert outcome.result.state.answer == "nothing"
    assert outcome.step.kind is EntryKind.STEP_FAILED
    assert outcome.step.deltas == ()
    assert [call.error is not None for call in outcome.calls] == [True] * calls
    assert outcome.result.usage.calls == 0


def check_answered(outcome: Outcome, text: str) -> None:
    """There is one answer, and one call on record."""
    assert (outcome.result.status, outcome.result.state.answer) == ("completed", text)
    assert [(call.text, call.error) for call in outcome.calls] == [(text, None)]
    assert (outcome.result.usage.prompt_tokens, outcome.result.usage.completion_tokens) == (5, 2)


async def test_too_many_requests_with_retry_after(server: Server) -> None:
    outcome = await ask(
        server, lambda handler: handler.reply(429, "text/plain", "", retry_after="0.2"), server.good("yes")
    )

    check_answered(outcome, "yes")
    assert outcome.took_s >= 0.2
    assert len(server.requests) == 2


async def test_too_many_requests_for_longer_than_may_be_waited(server: Server) -> None:
    outcome = await ask(server, lambda handler: handler.reply(429, "text/plain", "", retry_after="3600"))

    check_failed(outcome, RateLimited, "it answered 429 (1 attempts)")
    assert outcome.error.retry_after_s == 3600.0


async def test_errors_of_the_server(server: Server) -> None:
    outcome = await ask(server, lambda handler: handler.reply(500, "text/plain", "out of memory"))

    check_failed(outcome, ModelUnavailable, "it answered 500 out of memory (2 attempts)")
    assert outcome.error.retryable
    assert len(server.requests) == 2


async def test_an_error_of_the_server_that_passes(server: Server) -> None:
    outcome = await ask(server, lambda handler: handler.reply(503, "text/plain", ""), server.good("yes"))

    check_answered(outcome, "yes")


async def test_a_request_that_is_refused(server: Server) -> None:
    outcome = await ask(server, lambda handler: handler.reply(401, "application/json", '{"error": "who are you?"}'))

    check_failed(outcome, ModelError, "it answered 401")
    assert not outcome.error.retryable
    assert len(server.requests) == 1


def cut_after(server: Server, text: str) -> Step:
    def step(handler: Handler) -> None:
        handler.begin_stream()
        for each in server.said(text):
            handler.send(each)
        handler.cut()

    return step


async def test_a_stream_that_is_cut(server: Server) -> None:
    outcome = await ask(server, cut_after(server, "Hel"), server.good("Hello"))

    check_failed(outcome, ModelUnavailable, "it broke off after 3 characters")
    assert len(server.requests) == 1


async def test_a_stream_that_is_cut_is_asked_for_again_by_a_node_with_retry(server: Server) -> None:
    outcome = await ask(server, cut_after(server, "Hel"), server.good("Hello"), retry=2)

    assert (outcome.result.status, outcome.result.state.answer) == ("completed", "Hello")
    assert [(call.attempt, call.text, call.error is None) for call in outcome.calls] == [
        (1, "", False),
        (2, "Hello", True),
    ]
    assert (outcome.step.attempt, outcome.result.usage.calls) == (2, 1)


async def test_a_hang_before_the_first_word(server: Server) -> None:
    def hang(handler: Handler) -> None:
        handler.begin_stream()
        handler.server.released.wait(30)

    outcome = await ask(server, hang, timeouts={"first_token_s": 0.3})

    check_failed(outcome, ModelUnavailable, "nothing came within 0.3 s")
    assert outcome.took_s < 15


async def test_a_hang_in_the_middle(server: Server) -> None:
    def hang(handler: Handler) -> None:
        handler.begin_stream()
        for each in server.said("Hel"):
            handler.send(each)
        handler.server.released.wait(30)

    outcome = await ask(server, hang, timeouts={"idle_s": 0.3})

    check_failed(outcome, ModelUnavailable, "nothing came for 0.3 s after 3 characters")
    assert outcome.took_s < 15


async def test_malformed_json(server: Server) -> None:
    outcome = await ask(server, stream("data: {oops\n\n"))

    check_failed(outcome, ModelError, "it sent something that is no answer (JSON is malformed")
    assert len(server.requests) == 1


async def test_json_that_is_no_answer(server: Server) -> None:
    outcome = await ask(server, lambda handler: handler.reply(200, "application/json", '{"type": "hello"}'))

    check_failed(outcome, ModelError, "there is no answer in what it sent")


async def test_an_answer_that_does_not_fit_its_form(server: Server) -> None:
    outcome = await ask(server, server.formed('{"stars": "many"}'), output=Review)

    assert type(outcome.error) is OutputInvalid
    assert outcome.error.problems == [
        "answer.stars: Input should be a valid integer, unable to parse string as an integer"
    ]
    assert outcome.step.deltas == ()
    assert [call.text for call in outcome.calls] == ['{"stars": "many"}'] * 2
    assert outcome.step.usage.calls == 2


async def test_an_answer_that_fits_once_the_model_is_told(server: Server) -> None:
    outcome = await ask(server, server.formed('{"stars": "many"}'), server.formed('{"stars": 4}'), output=Review)

    assert (outcome.result.status, outcome.result.state.stars) == ("completed", 4)
    last = server.requests[-1][2]["messages"][-2:]
    assert '{"stars": "many"}' in json.dumps(last[0]).replace('\\"', '"')
    assert "answer.stars: Input should be a valid integer" in json.dumps(last[1])


async def test_a_wrong_content_type(server: Server) -> None:
    outcome = await ask(server, lambda handler: handler.reply(200, "text/html", "<html>"))

    check_failed(outcome, ModelError, "it sent text/html instead of an answer; check its base_url")


def endless(server: Server, kind: str) -> Step:
    """50 MB, of which the client takes as much as it will."""

    def step(handler: Handler) -> None:
        piece = "x" * MEGABYTE
        if kind == "error":
            handler.send_response(400)
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
        elif kind == "whole":
            handler.send_response(200)
            handler.send_header("content-type", "application/json")
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            handler.send('{"text": "')
        else:
            handler.begin_stream()
            handler.send("data: {" if kind == "event" else "".join(server.said("x")))
        for _ in range(50):
            if kind == "events":
                for each in server.said("y" * MEGABYTE):
                    handler.send(each)
            else:
                handler.send(piece)

    return step


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("event", "it sent more than 8,388,608 bytes in one piece; check its base_url"),
        ("events", "its answer has more than 4,194,304 characters; set max_tokens"),
        ("whole", "it sent more than 8,388,608 bytes in one piece; check its base_url"),
        ("error", "it answered 400: xxxx"),
    ],
)
async def test_fifty_megabytes(server: Server, kind: str, problem: str) -> None:
    outcome = await ask(server, endless(server, kind))

    check_failed(outcome, ModelError, problem)
    assert len(outcome.error.message) < 1_000
    assert len(server.requests) == 1
