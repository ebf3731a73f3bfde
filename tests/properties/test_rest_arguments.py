"""Wrong arguments of a REST tool name the parameter, and never reach its server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.tools.http import HttpClient
from actors.tools.rest import RestExecutor
from actors.tools.service import execute
from actors.tools.settings import ToolSettings
from graphs.errors import ValidationError
from graphs.tools import ToolExecutionResult
from graphs.workflow.requests import HttpRequest, request_of
from runtime import RestTool
from tests.component.web_server import WebServer, web_server


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


PARAMETERS = {
    "word": {"type": "string", "minLength": 2, "pattern": "^[a-z]+$"},
    "count": {"type": "integer", "minimum": 1, "maximum": 10},
    "share": {"type": "number", "exclusiveMaximum": 1},
    "flag": {"type": "boolean"},
    "names": {"type": "array", "items": {"type": "string"}, "maxItems": 3, "uniqueItems": True},
    "thing": {"$ref": "#/$defs/Thing"},
    "color": {"type": "string", "enum": ["red", "green"]},
    "either": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
}
DEFINITIONS = {
    "Thing": {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "inner": {"$ref": "#/$defs/Thing"}},
        "required": ["n"],
        "additionalProperties": False,
    }
}
RIGHT: dict[str, Any] = {
    "word": "abc",
    "count": 3,
    "share": 0.5,
    "flag": True,
    "names": ["a", "b"],
    "thing": {"n": 1, "inner": {"n": 2}},
    "color": "red",
    "either": [1, 2],
}
_OTHERS = (
    st.none()
    | st.lists(st.integers() | st.none(), min_size=1)
    | st.dictionaries(st.text(min_size=1), st.none(), min_size=1)
)
WRONG: dict[str, st.SearchStrategy[Any]] = {
    "word": _OTHERS | st.sampled_from(["", "a", "ABC", "a b", "ab\n1"]) | st.booleans() | st.integers(),
    "count": _OTHERS | st.integers(max_value=0) | st.integers(min_value=11) | st.sampled_from([1.5, "x", "1.5", True]),
    "share": _OTHERS | st.floats(min_value=1) | st.sampled_from(["1", "nan", "inf", "a", False]),
    "flag": _OTHERS | st.sampled_from(["yes", "1", "", 0, 1, 2.0]),
    "names": st.none()
    | st.booleans()
    | st.text()
    | st.sampled_from([["a", "a"], [1], ["a", None], list("abcd"), {"a": "b"}]),
    "thing": st.none() | st.text() | st.sampled_from([{}, {"n": "x"}, {"n": 1, "m": 2}, {"n": 1, "inner": {}}, [1], 7]),
    "color": _OTHERS | st.sampled_from(["blue", "RED", "", 1, True]),
    "either": st.none() | st.text(min_size=1) | st.sampled_from([["a"], [1.5], {}, [None]]),
}


def tool(server: WebServer) -> RestTool:
    names = list(PARAMETERS)
    return RestTool(
        name="strict",
        method="POST",
        url=f"{server.url}/{{word}}",
        query={name: "{" + name + "}" for name in names[1:4]},
        body={name: "{" + name + "}" for name in names[4:]},
        parameters=PARAMETERS,
        definitions=DEFINITIONS,
    )


async def run(server: WebServer, arguments: dict[str, Any]) -> ToolExecutionResult:
    http, strict = HttpClient(), tool(server)
    try:
        return await execute(
            strict.described(), RestExecutor(strict, ToolSettings(), http), arguments, idempotency_key=None
        )
    finally:
        await http.close()


def test_the_right_arguments_are_sent(server: WebServer) -> None:
    assert tool(server).problems() == []

    assert asyncio.run(run(server, RIGHT)).success

    assert [asked.target for asked in server.requests] == ["/abc?count=3&share=0.5&flag=true"]
    assert server.requests.pop().json() == {name: RIGHT[name] for name in ("names", "thing", "color", "either")}


@st.composite
def wrong_calls(draw: st.DrawFn) -> tuple[dict[str, Any], set[str]]:
    """Arguments, and the names that must be told."""
    wrong = draw(st.sets(st.sampled_from(sorted(PARAMETERS)), max_size=3))
    missing = draw(st.sets(st.sampled_from(sorted(set(PARAMETERS) - wrong)), max_size=2))
    unknown = draw(st.sets(st.text(min_size=1).filter(lambda name: name not in PARAMETERS), max_size=1))
    if not (wrong or missing or unknown):
        wrong = {draw(st.sampled_from(sorted(PARAMETERS)))}
    arguments = {
        name: draw(WRONG[name]) if name in wrong else RIGHT[name] for name in PARAMETERS if name not in missing
    }
    return {**arguments, **dict.fromkeys(unknown, 1)}, wrong | missing | unknown


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=wrong_calls())
def test_a_wrong_call_names_each_parameter_and_sends_nothing(
    server: WebServer, call: tuple[dict[str, Any], set[str]]
) -> None:
    arguments, named = call

    result = asyncio.run(run(server, arguments))

    assert result.error is not None
    assert result.error.code == "ToolError"
    problems = result.error.fields["problems"]
    assert {name for name in named if not any(problem.startswith(f"{name}: ") for problem in problems)} == set()
    assert {
        name for name in set(RIGHT) - named if any(problem.startswith(f"{name}: ") for problem in problems)
    } == set()
    assert server.requests == []


def attempt(endpoint: RestTool, arguments: dict[str, Any]) -> HttpRequest | list[str]:
    """The request, or what keeps it from being made."""
    try:
        return request_of(endpoint, arguments)
    except ValidationError as error:
        return error.problems


@settings(max_examples=1_000, deadline=None)
@given(segment=st.text(), header=st.text(), query=st.text())
def test_no_argument_leaves_its_place(segment: str, header: str, query: str) -> None:
    endpoint = RestTool(
        name="place",
        url="http://api.test/a/{segment}/b",
        headers={"X-Given": "{header}"},
        query={"q": "{query}"},
        parameters={"segment": {"type": "string"}, "header": {"type": "string"}, "query": {"type": "string"}},
    )
    request = attempt(endpoint, {"segment": segment, "header": header, "query": query})
    if isinstance(request, list):
        hopeless = any(not (" " <= letter <= "\xff" or letter == "\t") or letter == "\x7f" for letter in header)
        blamed = [name for name, wrong in (("segment", segment in ("", ".", "..")), ("header", hopeless)) if wrong]
        assert [problem.partition(":")[0] for problem in request] == blamed
        return
    assert request.url.isascii()
    assert request.url.startswith("http://api.test/a/")
    path, _, rest = request.url.removeprefix("http://api.test/a/").partition("?")
    assert path.endswith("/b")
    assert path.count("/") == 1
    assert rest.startswith("q=")
    assert "&" not in rest
    assert "#" not in request.url
    assert request.headers == (("X-Given", header),)
