"""Long results of tools with agents: the model gets a handle, and reads or passes on what it stands for."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from graphs.results import handle_of
from graphs.state.refs import ref_of
from runtime import AsyncLocalRuntime, ThreadState, tool
from tests.component.actors_kit import runtime
from tests.component.test_agents import agent_graph, asks, models, run, said

ROWS = [{"id": number, "name": f"name {number}", "tags": ["a", "b"]} for number in range(2_000)]
HANDLE = handle_of(ref_of(msgspec.json.encode(ROWS)))
TEXT = "line\n" * 10_000
TEXT_HANDLE = handle_of(ref_of(msgspec.json.encode(TEXT)))
MANY = {"query": "all"}


@tool
async def rows(query: str) -> list[dict[str, Any]]:
    """Look something up."""
    return ROWS


@tool
async def text(query: str) -> str:
    """Write something long."""
    return TEXT


@tool
async def count(items: list[dict[str, Any]]) -> int:
    """Count items."""
    return len(items)


@tool
async def small(query: str) -> str:
    """As much as is just allowed."""
    return "x" * (32 * 1024 - 2)


async def answers(rt: AsyncLocalRuntime, *tools: Any) -> list[Any]:
    """What the model was told, parsed where it is JSON."""
    result = await run(rt, agent_graph(*tools))
    assert result.status is ThreadState.COMPLETED, result.error
    told = [content for role, content in said(result) if role == "tool"]
    return [msgspec.json.decode(each) if each[:1] in "{[" else each for each in told]


async def test_the_model_is_told_handle_form_and_beginning() -> None:
    async with runtime(models=models(asks(("rows", MANY)), "Done.")) as rt:
        (told,) = await answers(rt, rows)

    size = len(msgspec.json.encode(ROWS))
    assert told == {
        "handle": HANDLE,
        "size_bytes": size,
        "form": {
            "list of 2000 items, such as": {
                "id": "number",
                "name": "string of 6 characters",
                "tags": {"list of 2 items, such as": "string of 1 characters"},
            }
        },
        "preview": msgspec.json.encode(ROWS).decode()[:1_000],
        "note": "Too long to be shown. Read parts with read_result, or give the handle to a tool as an argument.",
    }


async def test_what_just_fits_is_given() -> None:
    async with runtime(models=models(asks(("small", MANY)), "Done.")) as rt:
        assert await answers(rt, small) == ["x" * (32 * 1024 - 2)]


async def test_parts_are_read_by_path_and_place() -> None:
    def read(**arguments: Any) -> tuple[str, dict[str, Any]]:
        return "read_result", {"handle": HANDLE, **arguments}

    calls = asks(
        read(path="$[1999].name"),
        read(path="$[*].id", offset=10, limit=3),
        read(path="$[0]", limit=5),
        ("read_result", {"handle": TEXT_HANDLE, "offset": 49_995}),
        read(path="$[", limit=5),
        read(limit=0),
    )
    async with runtime(models=models(asks(("rows", MANY), ("text", MANY)), calls, "Done.")) as rt:
        told = await answers(rt, rows, text)

    assert told[2:6] == [
        {"part": "name 1999", "offset": 0, "total": 9, "unit": "characters"},
        {"part": [10, 11, 12], "offset": 10, "total": 2_000, "unit": "items"},
        {"part": '{"id"', "offset": 0, "total": len('{"id":0,"name":"name 0","tags":["a","b"]}'), "unit": "characters"},
        {"part": "line\n", "offset": 49_995, "total": 50_000, "unit": "characters"},
    ]
    assert told[6].startswith("Error: read_result: path: ")
    assert told[7] == "Error: read_result: offset must be 0 or more, and limit from 1 to 20000, got 0 and 0"


async def test_a_tool_takes_the_handle_for_the_result() -> None:
    calls = asks(("count", {"items": HANDLE}), ("text_stats", {"text": TEXT_HANDLE}), ("text_stats", {"text": HANDLE}))
    async with runtime(models=models(asks(("rows", MANY), ("text", MANY)), calls, "Done.")) as rt:
        result = await run(rt, agent_graph(rows, text, count, "text_stats"))
        told = [content for role, content in said(result) if role == "tool"]

        assert told[2] == "2000"
        assert msgspec.json.decode(told[3])["lines"] == 10_000
        assert msgspec.json.decode(told[4])["chars"] == len(msgspec.json.encode(ROWS))
        stored = msgspec.json.encode([message.model_dump() for message in result.state.messages])
        assert len(stored) < 10_000, "nothing of them went through the conversation"


@pytest.mark.parametrize("wrong", [HANDLE[:-1] + "7", "result:" + "0" * 64 + ":70000"])
async def test_a_handle_that_is_none_is_refused(wrong: str) -> None:
    calls = asks(("count", {"items": wrong}))
    async with runtime(models=models(asks(("rows", MANY)), calls, "Done.")) as rt:
        told = await answers(rt, rows, count)
    assert re.fullmatch(
        r"Error: count: items: there is no result:\S+ in this conversation; copy the handle as it is", told[1]
    )


async def test_a_handle_means_nothing_in_another_session() -> None:
    async with runtime(models=models(asks(("rows", MANY)), "Done.")) as rt:
        await answers(rt, rows)
        outside = await rt.tools.execute("read_result", {"handle": HANDLE})
        assert outside.error is not None
        assert outside.error.message == (
            "read_result: handle: only an agent of the session that has the result can read it"
        )
    async with runtime(models=models(asks(("read_result", {"handle": HANDLE})), "Done.")) as rt:
        (told,) = await answers(rt, rows)
        assert (
            told == f"Error: read_result: handle: there is no {HANDLE} in this conversation; copy the handle as it is"
        )
