"""Python functions as tools: their description and their execution."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from ray import cloudpickle

from actors.blocking import BlockingPool
from actors.tools.executor import FunctionExecutor
from actors.tools.factory import build_tools
from actors.tools.native import tool, tool_of
from graphs.errors import BusinessRuleViolation, ErrorInfo, NotFoundError, ValidationError
from graphs.tools import ParameterDefinition, ParameterType, Tool, ToolConfig, ToolMetadata, ToolType


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    """A place on a map."""

    x: int
    y: int = 0


@dataclass
class Found:
    name: str
    at: Place


@tool(name="find", tags=("geo", "test"), version="2.0.0", author="ada")
async def find_place(
    text: str,
    count: int,
    near: Place,
    color: Color = Color.RED,
    scale: Decimal = Decimal("1.5"),
    tags: list[str] | None = None,
    *,
    mode: Annotated[Literal["fast", "slow"], Field(description="How to search.")] = "fast",
    idempotency_key: str | None = None,
) -> Any:
    """Find places.

    Looks everywhere.

    Args:
        text: What to look for,
            in words.
        count: How many.
        near: Where to begin.
    """
    return [text, count, near, color, scale, tags, mode, idempotency_key]


@tool
def shout(text: str, times: int = 1) -> str:
    """Say it loud."""
    return text.upper() * times


def parameter(name: str, kind: ParameterType, **options: Any) -> dict[str, ParameterDefinition]:
    return {name: ParameterDefinition(name=name, parameter_type=kind, **options)}


def test_a_tool_is_read_from_signature_and_docstring() -> None:
    assert tool_of(find_place) == Tool(
        id="find@2.0.0",
        name="find",
        tool_type=ToolType.NATIVE,
        config=ToolConfig(
            parameters=parameter("text", ParameterType.STRING, description="What to look for,\nin words.")
            | parameter("count", ParameterType.NUMBER, description="How many.")
            | parameter("near", ParameterType.OBJECT, description="Where to begin.")
            | parameter("color", ParameterType.STRING, required=False, default_value="red")
            | parameter("scale", ParameterType.STRING, required=False, default_value="1.5")
            | parameter("tags", ParameterType.ARRAY, required=False)
            | parameter(
                "mode", ParameterType.STRING, required=False, default_value="fast", description="How to search."
            )
        ),
        metadata=ToolMetadata(
            description="Find places.\n\nLooks everywhere.", version="2.0.0", author="ada", tags=("geo", "test")
        ),
    )


def test_a_bare_tool_stays_the_function_it_is() -> None:
    assert shout("a", 2) == "AA"
    assert tool_of(shout).id == "shout@1.0.0"
    assert tool_of(shout).metadata == ToolMetadata(description="Say it loud.")


def test_a_plain_function_can_be_a_tool() -> None:
    def plain(x: float) -> float:
        return x

    assert tool_of(plain).config == ToolConfig(parameters=parameter("x", ParameterType.NUMBER))


def test_a_description_given_replaces_the_docstring() -> None:
    @tool(description="Given.")
    def documented() -> None:
        """Written."""

    assert tool_of(documented).metadata.description == "Given."


def test_a_default_without_plain_form_is_left_to_the_function() -> None:
    missing: Any = object()

    @tool
    def with_sentinel(text: str = missing) -> bool:
        return text is missing

    assert tool_of(with_sentinel).config == ToolConfig(
        parameters=parameter("text", ParameterType.STRING, required=False)
    )


def test_everything_that_keeps_a_function_from_being_a_tool_is_listed() -> None:
    class Opaque:
        pass

    def bad(untyped, anything: Any, either: int | str, opaque: Opaque, /, *rest: int, **more: int) -> Iterator[int]:
        yield 1

    bad.__annotations__["opaque"] = Opaque

    with pytest.raises(ValidationError) as caught:
        tool(name="bad tool")(bad)

    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "it yields; return the whole answer instead",
        "untyped",
        "anything",
        "either",
        "opaque",
        "rest",
        "more",
    ]


def test_each_unfit_parameter_says_what_to_do() -> None:
    def bad(untyped, anything: Any, either: int | str, *rest: int) -> None: ...

    with pytest.raises(ValidationError) as caught:
        tool_of(bad)

    narrow = "must have exactly one of the types string, number, boolean, array and object; narrow its hint"
    assert caught.value.problems == [
        "untyped: has no type hint; write one, such as `str`",
        f"anything: {narrow}",
        f"either: {narrow}",
        "rest: arguments are given by name; write a named parameter",
    ]


async def test_names_that_cannot_be_tool_names_are_refused() -> None:
    with pytest.raises(ValidationError, match=r'^tool "<lambda>": name: "<lambda>" is no tool name; use a letter'):
        tool_of(lambda: 1)
    with pytest.raises(TypeError, match="decorates functions"):
        tool(functools.partial(shout, "x"))

    async def stream() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ValidationError, match="it yields; return the whole answer instead"):
        tool_of(stream)


async def test_arguments_arrive_as_the_hints_say() -> None:
    service = build_tools([find_place])
    arguments = {"text": 5, "count": "3", "near": {"x": "1"}, "color": "blue", "tags": None}

    result = await service.execute_tool("find", arguments, idempotency_key="t:0:7")

    assert result.success
    assert result.output == ["5", 3, {"x": 1, "y": 0}, "blue", Decimal("1.5"), None, "fast", "t:0:7"]
    assert result.error is None
    assert result.execution_time_s > 0


async def test_all_problems_with_the_types_of_hints_are_in_the_result() -> None:
    service = build_tools([find_place])

    result = await service.execute_tool("find", {"text": "a", "count": 1.5, "near": {"y": "north"}, "color": "green"})

    message = (
        "find: count: Input should be a valid integer, got a number with a fractional part; near.x: Field required; "
        "near.y: Input should be a valid integer, unable to parse string as an integer; "
        "color: Input should be 'red' or 'blue'"
    )
    assert (result.success, result.output) == (False, None)
    assert result.error == ErrorInfo(
        code="ToolError",
        message=message,
        fields={"tool": "find", "problems": message.removeprefix("find: ").split("; ")},
    )


async def test_problems_with_the_parameters_are_in_the_result() -> None:
    result = await build_tools([shout]).execute_tool("shout", {"txt": "a", "times": True})

    problems = [
        "text: is required",
        "times: must be a number, got True",
        'txt: no such parameter; did you mean "text"?',
    ]
    assert result.error == ErrorInfo(
        code="ToolError",
        message="shout: " + "; ".join(problems),
        fields={"tool": "shout", "problems": problems},
    )


async def test_a_nullable_parameter_without_default_receives_none() -> None:
    async def nullable(x: int | None) -> bool:
        return x is None

    assert (await build_tools([nullable]).execute_tool("nullable", {})).output is True


async def test_sync_functions_run_in_a_thread_and_async_ones_in_the_loop() -> None:
    def where_sync() -> bool:
        return threading.current_thread() is threading.main_thread()

    async def where_async() -> bool:
        return asyncio.get_running_loop().is_running()

    class Callable:
        __name__ = "where_callable"

        async def __call__(self) -> bool:
            return asyncio.get_running_loop().is_running()

    service = build_tools([where_sync, where_async, Callable()])

    outputs = [
        (await service.execute_tool(name, {})).output for name in ("where_sync", "where_async", "where_callable")
    ]
    assert outputs == [False, True, True]


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (ValueError("no luck"), "ValueError", "no luck"),
        (KeyError("k"), "KeyError", "'k'"),
        (StopIteration(), "RuntimeError", "the function raised StopIteration; next() takes a default"),
        (SystemExit(3), "ToolError", "fails: it called sys.exit(3); return or raise instead"),
    ],
)
async def test_whatever_a_tool_raises_is_in_the_result(raised: BaseException, code: str, message: str) -> None:
    def fails() -> None:
        raise raised

    result = await build_tools([fails]).execute_tool("fails", {})

    assert not result.success
    assert result.error == ErrorInfo(code=code, message=message, fields={"tool": "fails"})


async def test_cancellation_is_not_swallowed() -> None:
    started = asyncio.Event()

    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    execution = asyncio.ensure_future(build_tools([forever]).execute_tool("forever", {}))
    await started.wait()
    execution.cancel()

    with pytest.raises(asyncio.CancelledError):
        await execution


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        (None, None),
        ([1, {2}], [1, [2]]),
        ({"c": Color.RED, 1: b"x"}, {"c": "red", "1": b"x"}),
        (Found(name="a", at=Place(x=1)), {"name": "a", "at": {"x": 1, "y": 0}}),
        ([date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), Decimal("0.1")],) * 2,
    ],
)
async def test_outputs_are_plain_values(output: Any, plain: Any) -> None:
    async def answers() -> Any:
        return output

    result = await build_tools([answers]).execute_tool("answers", {})

    assert (result.success, result.output) == (True, plain)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (object(), "object is no plain value"),
        (2**64, "can't serialize ints < -2**63 or > 2**64 - 1"),
        ("\ud800", "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"),
    ],
)
async def test_outputs_that_cannot_be_stored_are_failures(output: Any, reason: str) -> None:
    async def answers() -> Any:
        return output

    result = await build_tools([answers]).execute_tool("answers", {})

    assert result.error == ErrorInfo(
        code="ToolError",
        message=f"answers: its output cannot be stored ({reason}); return text, 64-bit numbers, lists, dicts or models",
        fields={"tool": "answers"},
    )


async def test_builtin_tools() -> None:
    service = build_tools()

    assert (await service.execute_tool("calculator", {"expression": "2**10"})).output == 1024
    assert (await service.execute_tool("text_stats", {"text": "Hi."})).output == {
        "chars": 3,
        "words": 1,
        "lines": 1,
        "sentences": 1,
    }
    assert (await service.execute_tool("calculator", {"expression": "1/0"})).error == ErrorInfo(
        code="ToolError", message="calculator: division by zero", fields={"tool": "calculator"}
    )


async def test_an_unknown_tool_is_an_error() -> None:
    with pytest.raises(NotFoundError) as caught:
        await build_tools().execute_tool("calculater", {})

    assert caught.value.info() == ErrorInfo(
        code="NotFoundError",
        message='no tool "calculater"; did you mean "calculator"?',
        fields={"kind": "tool", "key": "calculater"},
    )


def test_tools_are_listed_by_name_and_filtered() -> None:
    service = build_tools([shout, find_place])
    texts = ["text_search", "text_slice", "text_stats"]
    others = ["file_read", "file_search", "http_get", "json_path", "read_result", "sql"]
    builtin = ["calculator", "datetime", *others, *texts]

    def names(**filters: Any) -> list[str]:
        return [found.name for found in service.list_tools(**filters)]

    assert names() == sorted([*builtin, "find", "shout"])
    assert names(tags=["geo"]) == ["find"]
    assert names(tags=["geo", "math"]) == []
    assert names(tool_type=ToolType.BUILTIN) == builtin
    assert names(tool_type=ToolType.NATIVE, name_contains="SH") == ["shout"]


async def test_a_new_version_replaces_and_a_clash_is_refused() -> None:
    service = build_tools([shout])

    @tool(name="shout")
    def other(words: str) -> str:
        return words

    @tool(name="shout", version="1.1.0")
    def newer(words: str) -> str:
        return words + "!"

    @tool(name="calculator", version="9.0.0")
    def calculator(x: int) -> int:
        return x

    with pytest.raises(BusinessRuleViolation, match=r'^another tool "shout@1.0.0" is registered; raise its version'):
        service.register_tool(tool_of(other), FunctionExecutor(other, BlockingPool(1)))
    with pytest.raises(BusinessRuleViolation, match=r'^"calculator" is a builtin tool; choose another name$'):
        service.register_tool(tool_of(calculator), FunctionExecutor(calculator, BlockingPool(1)))
    service.register_tool(tool_of(shout), FunctionExecutor(shout, BlockingPool(1)))
    service.register_tool(tool_of(newer), FunctionExecutor(newer, BlockingPool(1)))

    assert (await service.execute_tool("shout", {"words": "a"})).output == "a!"


def test_a_tool_keeps_its_description_when_it_travels() -> None:
    travelled = cloudpickle.loads(cloudpickle.dumps(shout))

    assert tool_of(travelled) == tool_of(shout)
