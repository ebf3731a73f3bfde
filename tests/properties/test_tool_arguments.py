"""Wrong arguments: a thousand of them are told by the name of the parameter, and none reaches the tool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.tools.factory import build_tools
from actors.tools.native import tool

called: list[dict[str, Any]] = []


@tool
async def probe(text: str, count: int, flag: bool, items: list[str], options: dict[str, Any]) -> None:
    """Note that it was called."""
    called.append({"text": text, "count": count, "flag": flag, "items": items, "options": options})


SERVICE = build_tools([probe])
GOOD: dict[str, Any] = {"text": "a", "count": 1, "flag": True, "items": ["b"], "options": {"c": 1}}
NOTHING = object()
BOXES = st.one_of(st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3))
NO_NUMBER = st.text(max_size=8).filter(lambda text: not any(character.isdigit() for character in text))
WRONG = {
    "text": st.one_of(BOXES, st.booleans(), st.none(), st.just(NOTHING)),
    "count": st.one_of(
        BOXES, st.booleans(), NO_NUMBER, st.none(), st.just(NOTHING), st.floats(0.001, 0.999), st.just("1.5")
    ),
    "flag": st.one_of(BOXES, st.integers(), st.sampled_from(["yes", "1", ""]), st.none(), st.just(NOTHING)),
    "items": st.one_of(
        st.text(), st.integers(), st.booleans(), st.just({"a": 1}), st.lists(st.integers(), min_size=1), st.none()
    ),
    "options": st.one_of(st.text(), st.integers(), st.booleans(), st.lists(st.integers()), st.none()),
}


@st.composite
def wrong_calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A name of a parameter, and arguments of which that one is wrong."""
    arguments = dict(GOOD)
    name = draw(st.sampled_from([*WRONG, "unknown"]))
    if name == "unknown":
        name = draw(st.text(min_size=1, max_size=12).filter(lambda text: text not in GOOD))
        arguments[name] = draw(st.integers())
        return name, arguments
    value = draw(WRONG[name])
    if value is NOTHING:
        del arguments[name]
    else:
        arguments[name] = value
    return name, arguments


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(call=wrong_calls())
def test_wrong_calls_name_the_parameter_and_reach_nothing(
    runner: asyncio.Runner, call: tuple[str, dict[str, Any]]
) -> None:
    name, arguments = call

    result = runner.run(SERVICE.execute_tool("probe", arguments))

    assert not result.success
    assert result.error is not None
    assert result.error.code == "ToolError"
    assert all(problem.startswith((f"{name}:", f"{name}.")) for problem in result.error.fields["problems"])
    assert called == []


async def test_the_call_without_a_mistake_reaches_the_tool() -> None:
    try:
        assert (await SERVICE.execute_tool("probe", GOOD)).success
        assert called == [GOOD]
    finally:
        called.clear()
