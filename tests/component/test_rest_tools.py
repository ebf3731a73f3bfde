"""REST tools against servers that behave and that do not: each ends in its documented outcome."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.errors import AccessRefused, AnswerInvalid, ToolError, ToolRefused, ToolTimeout, ToolUnavailable
from actors.tools.http import HttpClient
from actors.tools.rest import MAX_WAIT_S, RestExecutor
from actors.tools.service import execute
from actors.tools.settings import ToolSettings
from graphs.errors import GreenroomError
from graphs.tools import ToolExecutionResult
from runtime import ApiKeyAuth, BasicAuth, BearerAuth, RestTool
from tests.component.actors_kit import until
from tests.component.web_server import WebHandler, WebServer, reply, web_server

SECRET = "s3cr3t/with+odd=characters"
KEY = "thread:7"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


class Caller:
    """Calls tools as an executor does; waits are noted instead of waited for."""

    def __init__(self, settings: ToolSettings | None = None) -> None:
        self.settings = settings or ToolSettings(secrets={"key": SECRET})
        self.http = HttpClient()
        self.waited_s: list[float] = []

    async def __call__(self, tool: RestTool, key: str | None = None, **arguments: Any) -> ToolExecutionResult:
        assert tool.problems() == []
        executor = RestExecutor(tool, self.settings, self.http, sleep=self._sleep)
        return await execute(tool.described(), executor, arguments, idempotency_key=key)

    async def _sleep(self, seconds: float) -> None:
        self.waited_s.append(seconds)

    async def error(self, tool: RestTool, key: str | None = None, **arguments: Any) -> GreenroomError:
        result = await self(tool, key, **arguments)
        assert result.error is not None, result.output
        assert result.error.fields["tool"] == tool.name
        assert SECRET not in repr(result)
        return GreenroomError.from_info(result.error)


@pytest.fixture
async def call() -> Any:
    caller = Caller()
    yield caller
    await caller.http.close()


def get(server: WebServer, **options: Any) -> RestTool:
    return RestTool(**{"name": "look", "url": f"{server.url}/things", **options})


def post(server: WebServer, **options: Any) -> RestTool:
    return get(server, **{"method": "POST", "body": {"n": 1}, **options})


# --- requests -------------------------------------------------------------------------------------------------------


async def test_arguments_stand_where_they_belong(server: WebServer, call: Caller) -> None:
    tool = RestTool(
        name="place",
        method="PUT",
        url=f"{server.url}/a/{{where}}/b",
        query={
            "q": "{text}",
            "n": "{number}",
            "f": "{flag}",
            "many": "{many}",
            "some": "{many}",
            "o": "{thing}",
            "fix": 1,
        },
        query_style={"some": "comma", "o": "deep"},
        headers={"X-Text": "<{text}>", "X-Absent": "{absent}"},
        cookies={"c": "{number}"},
        body={"text": "{text}", "list": ["{many}", "{absent}"], "absent": "{absent}", "both": "{text}-{number:.1f}"},
        parameters={
            "where": {"type": "string"},
            "text": {"type": "string"},
            "number": {"type": "number"},
            "flag": {"type": "boolean"},
            "many": {"type": "array", "items": {"type": "string"}},
            "thing": {"type": "object"},
            "absent": {"type": "string"},
        },
        required=("where", "text", "number", "flag", "many", "thing"),
    )

    result = await call(
        tool, KEY, where="x/../ü?", text="a&b c", number=2, flag=True, many=["1", "2"], thing={"k": "v"}
    )

    assert result.success
    [asked] = server.requests
    assert (asked.method, asked.target) == (
        "PUT",
        "/a/x%2F..%2F%C3%BC%3F/b?q=a%26b%20c&n=2&f=true&many=1&many=2&some=1%2C2&o%5Bk%5D=v&fix=1",
    )
    assert asked.json() == {"text": "a&b c", "list": [["1", "2"]], "both": "a&b c-2.0"}
    wanted = {"x-text": "<a&b c>", "cookie": "c=2", "content-type": "application/json", "idempotency-key": KEY}
    assert {name: asked.headers.get(name) for name in (*wanted, "x-absent")} == {**wanted, "x-absent": None}


async def test_a_form(server: WebServer, call: Caller) -> None:
    tool = post(server, body=None, form={"a": "{a}", "b": ["x y", "z"]}, parameters={"a": {"type": "string"}})

    await call(tool, a="ü&")

    assert server.requests[0].body == b"a=%C3%BC%26&b=x+y&b=z"
    assert server.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("template", "argument", "problem"),
    [
        ("path", "..", "must not be a part of . or .., which leads elsewhere"),
        ("path", ".", "must not be a part of . or .., which leads elsewhere"),
        ("path", "", "must not be empty, it is a part of the path"),
        ("header", "a\r\nX-Evil: 1", "cannot stand in a header; use printable characters of Latin-1"),
        ("header", "a\x00", "cannot stand in a header; use printable characters of Latin-1"),
        ("header", "日本", "cannot stand in a header; use printable characters of Latin-1"),
        ("cookie", "a; b=c", "cannot stand in a cookie; encode it first"),
        ("cookie", "a\n", "cannot stand in a cookie; encode it first"),
    ],
)
async def test_an_argument_that_would_leave_its_place_is_refused(
    server: WebServer, call: Caller, template: str, argument: str, problem: str
) -> None:
    tool = RestTool(
        name="place",
        url=f"{server.url}/a" + ("/{x}/b" if template == "path" else ""),
        headers={"X": "{x}"} if template == "header" else {},
        cookies={"c": "{x}"} if template == "cookie" else {},
        parameters={"x": {"type": "string"}},
    )

    error = await call.error(tool, x=argument)

    assert type(error) is ToolError
    assert error.problems == [f"x: {problem}"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (BearerAuth(token="secret:key"), {"authorization": f"Bearer {SECRET}"}),
        (
            BasicAuth(username="ada", password="secret:key"),
            {"authorization": "Basic YWRhOnMzY3IzdC93aXRoK29kZD1jaGFyYWN0ZXJz"},
        ),
        (ApiKeyAuth(name="X-Key", key="secret:key"), {"x-key": SECRET}),
        (ApiKeyAuth(place="cookie", name="k", key="secret:key"), {"cookie": f"a=1; k={SECRET}"}),
        (
            ApiKeyAuth(place="query", name="k", key="secret:key"),
            {"target": "/things?q=1&k=s3cr3t%2Fwith%2Bodd%3Dcharacters"},
        ),
    ],
)
async def test_secrets_are_put_in_when_a_request_is_sent(
    server: WebServer, call: Caller, auth: Any, expected: dict[str, str]
) -> None:
    await call(get(server, auth=auth, query={"q": "1"}, cookies={"a": "1"}))

    [asked] = server.requests
    assert {name: asked.headers.get(name, asked.target) for name in expected} == expected


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "options", "output"),
    [
        (reply(200, {"a": [1, {"b": 2}]}), {}, {"a": [1, {"b": 2}]}),
        (reply(200, '{"a": 1}', "application/problem+json; charset=utf-8"), {}, {"a": 1}),
        (reply(200, "grüße", "text/plain"), {}, "grüße"),
        (reply(200, "grüße".encode("latin-1"), "text/plain; charset=latin-1"), {}, "grüße"),
        (reply(200, "grüße", "text/plain; charset=nonsense"), {}, "grüße"),
        (reply(200, "<a/>", "application/xml"), {}, "<a/>"),
        (reply(200, b"\x00\x01", "image/png"), {"answer": "bytes"}, b"\x00\x01"),
        (reply(200, '{"a": 1}', "application/json"), {"answer": "text"}, '{"a": 1}'),
        (reply(204), {}, None),
        (reply(200), {}, None),
        (reply(201, {"id": 7}), {"result": "$.id"}, 7),
        (reply(200, {"items": [{"n": 1}, {"n": 2}]}), {"result": "$.items[*].n"}, [1, 2]),
        (reply(200, {"items": []}), {"result": "$.items[0].n"}, None),
        (reply(404, "gone"), {"nothing_on": (404,)}, None),
        (reply(200, gzip.compress(b'{"a": 1}'), "application/json", content_encoding="gzip"), {}, {"a": 1}),
    ],
)
async def test_outputs(
    server: WebServer, call: Caller, answer: Callable[[WebHandler], None], options: dict[str, Any], output: Any
) -> None:
    server.steps = [answer]

    result = await call(get(server, **options))

    assert (result.error, result.output) == (None, output)


@pytest.mark.parametrize(
    ("answer", "options", "problem"),
    [
        (reply(200, "<html>", "text/html"), {"result": "$.a"}, "look: it sent text/html instead of JSON"),
        (reply(200, "<html>", "text/html"), {"answer": "json"}, "look: it sent text/html instead of JSON"),
        (
            reply(200, b"\x89PNG", "image/png"),
            {},
            'look: it sent image/png, neither JSON nor text; set answer to "bytes"',
        ),
        (reply(200, '{"a": ', "application/json"), {}, "look: it sent JSON that cannot be read"),
        (reply(200, "[" * 100_000, "application/json"), {}, "look: it sent JSON that cannot be read"),
        (reply(200, "x" * 1_001), {}, "look: its answer has more than 1000 bytes"),
        (reply(200, gzip.compress(b"x" * 10_000_000), content_encoding="gzip"), {}, "more than 1000 bytes"),
        (reply(200, b"no gzip", content_encoding="gzip"), {}, "look: its answer cannot be unpacked"),
        (reply(200, b"x", content_encoding="br"), {}, "look: its answer is packed as br, which was not asked for"),
    ],
)
async def test_answers_that_are_none(
    server: WebServer, call: Caller, answer: Callable[[WebHandler], None], options: dict[str, Any], problem: str
) -> None:
    server.steps = [answer]

    error = await call.error(get(server, max_size_bytes=1_000 if "1000" in problem else 200_000, **options))

    assert type(error) is AnswerInvalid
    assert problem in str(error)
    assert len(server.requests) == 1


async def test_of_50_mb_no_more_is_read_than_allowed(server: WebServer, call: Caller) -> None:
    sent = 0

    def endless(handler: WebHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("content-type", "text/plain")
        handler.send_header("content-length", str(50_000_000))
        handler.end_headers()
        for _ in range(500):
            handler.wfile.write(b"x" * 100_000)
            sent += 100_000

    server.steps = [endless]

    error = await call.error(get(server, max_size_bytes=100_000))

    assert (type(error), error.status) == (AnswerInvalid, 200)
    assert str(error) == "look: its answer has more than 100000 bytes; see max_size_bytes and its url"
    assert sent < 25_000_000  # what buffers hold, and not the rest


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
async def test_refusals_are_told_with_what_was_said(server: WebServer, call: Caller, status: int) -> None:
    server.steps = [reply(status, {"detail": f"no {SECRET} here", "more": "x" * 2_000})]

    error = await call.error(post(server, auth=BearerAuth(token="secret:key")), KEY)

    assert (type(error), error.status, error.retryable) == (ToolRefused, status, False)
    assert str(error).startswith(f'look: it answered {status}: {{"detail": "no *** here"')
    assert len(str(error)) < 700
    assert len(server.requests) == 1


# --- trouble --------------------------------------------------------------------------------------------------------


async def test_a_busy_server_is_asked_again_when_it_wants_to_be(server: WebServer, call: Caller) -> None:
    server.steps = [reply(429, "slow down", retry_after="7"), reply(503, retry_after="9"), reply(200, "done")]

    result = await call(get(server))

    assert result.output == "done"
    assert call.waited_s == [7.0, 9.0]


async def test_waits_grow_where_nothing_is_said(server: WebServer, call: Caller) -> None:
    server.steps = [reply(500, "oops")]

    error = await call.error(get(server, max_attempts=4))

    assert (type(error), error.status, error.retryable) == (ToolUnavailable, 500, True)
    assert str(error) == "look: it answered 500: oops; try again later"
    assert len(server.requests) == 4
    assert [
        0.25 <= first <= 0.5 and 0.5 <= second <= 0.75 and 1 <= third <= 1.25
        for first, second, third in [call.waited_s]
    ]


async def test_nobody_waits_longer_than_half_a_minute(server: WebServer, call: Caller) -> None:
    server.steps = [reply(429, retry_after=str(int(MAX_WAIT_S) + 1))]

    error = await call.error(get(server))

    assert (type(error), error.status, error.retry_after_s) == (ToolUnavailable, 429, MAX_WAIT_S + 1)
    assert (len(server.requests), call.waited_s) == (1, [])


@pytest.mark.parametrize(
    ("options", "key", "attempts"),
    [
        ({"method": "GET"}, None, 3),
        ({"method": "PUT"}, None, 3),
        ({"method": "DELETE"}, None, 3),
        ({"method": "POST"}, None, 1),
        ({"method": "PATCH"}, None, 1),
        ({"method": "POST"}, KEY, 3),
        ({"method": "POST", "safe_to_repeat": True}, None, 3),
        ({"method": "GET", "safe_to_repeat": False}, KEY, 1),
        ({"method": "POST", "at_most_once": True}, KEY, 1),
        ({"method": "GET", "max_attempts": 1}, KEY, 1),
    ],
)
async def test_what_may_act_twice_is_sent_once(
    server: WebServer, call: Caller, options: dict[str, Any], key: str | None, attempts: int
) -> None:
    server.steps = [reply(502)]

    await call.error(get(server, **options), key)

    assert len(server.requests) == attempts
    assert {asked.headers.get("idempotency-key") for asked in server.requests} == {key}


async def test_a_connection_that_breaks_off(server: WebServer, call: Caller) -> None:
    def cut(handler: WebHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100")
        handler.end_headers()
        handler.wfile.write(b"half of it")
        handler.cut()

    server.steps = [cut, WebHandler.cut, reply(200, "whole")]
    assert (await call(get(server))).output == "whole"

    server.requests.clear()
    error = await call.error(get(server, max_attempts=2))
    assert (type(error), error.retryable) == (ToolUnavailable, True)


async def test_nobody_listens(server: WebServer, call: Caller) -> None:
    tool = get(server, url="http://127.0.0.1:9/", max_attempts=2)

    error = await call.error(tool)

    assert type(error) is ToolUnavailable
    assert str(error).endswith("; see that the server runs")
    assert len(call.waited_s) == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_a_server_that_hangs(server: WebServer, call: Caller, begun: bool) -> None:
    def hang(handler: WebHandler) -> None:
        if begun:
            handler.send_response(200)
            handler.send_header("content-length", "100")
            handler.end_headers()
            handler.wfile.write(b"half of it")
        handler.server.released.wait()

    server.steps = [hang]
    started = time.monotonic()

    error = await call.error(get(server, timeout_s=0.2, max_attempts=2))

    assert (type(error), error.timeout_s, error.retryable) == (ToolTimeout, 0.2, True)
    assert len(call.waited_s) == 1
    assert time.monotonic() - started < 10


async def test_cancelling_a_call_gives_its_connection_back(server: WebServer, call: Caller) -> None:
    server.steps = [lambda handler: handler.server.released.wait() and None, reply(200, "next")]
    task = asyncio.create_task(call(get(server)))
    await until(lambda: server.requests)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await call(get(server))).output == "next"


async def test_connections_are_kept(server: WebServer, call: Caller) -> None:
    for _ in range(5):
        await call(get(server))

    assert len(server.clients) == 1


# --- redirections ---------------------------------------------------------------------------------------------------


async def test_a_redirection_within_the_endpoint_is_followed(server: WebServer, call: Caller) -> None:
    server.steps = [reply(302, location="/elsewhere?x=1"), reply(200, "there")]

    result = await call(get(server, auth=BearerAuth(token="secret:key")))

    assert result.output == "there"
    assert [asked.target for asked in server.requests] == ["/things", "/elsewhere?x=1"]
    assert server.requests[1].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://127.0.0.1:1/", 'the host "127.0.0.1" is not allowed'),
        ("http://169.254.169.254/latest/meta-data/", 'the host "169.254.169.254" is not allowed'),
        ("http://localhost:{port}/", 'the host "localhost" is not allowed'),
        ("file:///etc/passwd", "it does not begin with http:// or https:// and a host"),
        ("http://me:pw@127.0.0.1:{port}/", "it holds a user or password"),
        ("http://trusted.test:{port}/", '"trusted.test" leads to an address that is not allowed'),
    ],
)
async def test_a_redirection_to_where_it_may_not_is_refused(server: WebServer, location: str, problem: str) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["169.254.169.254"] if host == "trusted.test" else ["127.0.0.1"]

    call = Caller(ToolSettings(hosts=(f"trusted.test:{server.server_port}",)))
    call.http = HttpClient(resolver)
    server.steps = [reply(302, location=location.format(port=server.server_port)), reply(200, "there")]

    error = await call.error(get(server))

    await call.http.close()
    assert type(error) is AccessRefused
    assert problem in str(error)
    assert len(server.requests) == 1


async def test_another_origin_gets_no_credentials(server: WebServer) -> None:
    with web_server() as other:

        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        hosts = (f"other.test:{other.server_port}",)
        call = Caller(ToolSettings(secrets={"key": SECRET}, hosts=hosts, networks=("127.0.0.0/8",)))
        call.http = HttpClient(resolver)
        server.steps = [reply(307, location=f"http://other.test:{other.server_port}/x")]
        result = await call(get(server, auth=BearerAuth(token="secret:key"), headers={"X-Mine": "1"}), KEY)
        await call.http.close()

        assert result.output["target"] == "/x"
        [asked] = other.requests
        assert set(asked.headers) == {"host", "user-agent", "accept-encoding"}
        assert SECRET not in json.dumps(asked.headers)


async def test_redirections_end(server: WebServer, call: Caller) -> None:
    server.steps = [reply(302, location="/again")]

    error = await call.error(get(server))

    assert (type(error), error.status) == (AnswerInvalid, 302)
    assert len(server.requests) == 6


async def test_what_acts_is_not_sent_on(server: WebServer, call: Caller) -> None:
    server.steps = [reply(307, location="/elsewhere")]

    error = await call.error(post(server), KEY)

    assert (type(error), error.status) == (ToolRefused, 307)
    assert len(server.requests) == 1
