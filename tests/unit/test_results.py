"""What models are told of long results, and reading parts of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from graphs.results import handle_of, mentions_handle, outline, part_of, ref_in, told_of
from graphs.state.refs import ref_of

REF = ref_of(b"blob")
HANDLE = handle_of(REF)


def test_a_handle_is_read_as_it_is_written() -> None:
    assert ref_in(HANDLE) == REF
    assert mentions_handle(f'{{"handle":"{HANDLE}"}}')
    for other in (HANDLE + " ", "x" + HANDLE, HANDLE.upper(), HANDLE.rpartition(":")[0], "", 5, None, [HANDLE]):
        assert ref_in(other) is None


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("abc", "string of 3 characters"),
        (True, "boolean"),
        (1.5, "number"),
        (None, "null"),
        ([], "list of 0 items"),
        ({"a": [{"b": [1]}]}, {"a": {"list of 1 items, such as": {"b": "list of 1 items"}}}),
        ({"a": {"b": {"c": {"d": 1}}}}, {"a": {"b": {"c": "object of 1 fields"}}}),
        (dict.fromkeys(range(22), 0), {str(n): "number" for n in range(20)} | {"...": "2 more"}),
    ],
)
def test_the_form_of_a_value(value: Any, form: Any) -> None:
    assert outline(value) == form


def test_what_is_told_is_short_however_large_the_result_is() -> None:
    wide = {f"field {number}": [{"x" * 50: ["y" * 1_000]} for _ in range(50)] for number in range(1_000)}
    told = told_of(wide, msgspec.json.encode(wide).decode(), REF)
    assert len(told) < 6_000
    assert msgspec.json.decode(told)["handle"] == HANDLE


@pytest.mark.parametrize(
    ("path", "offset", "limit", "part"),
    [
        (None, 0, 5, {"part": '{"a":', "offset": 0, "total": 17, "unit": "characters"}),
        ("$.a", 1, 1, {"part": [2], "offset": 1, "total": 3, "unit": "items"}),
        ("$.a", 5, 1, {"part": [], "offset": 5, "total": 3, "unit": "items"}),
        ("$.b", 0, 9, {"part": "null", "offset": 0, "total": 4, "unit": "characters"}),
    ],
)
def test_parts(path: str | None, offset: int, limit: int, part: dict[str, Any]) -> None:
    assert part_of('{"a":[1,2,3]}    ', path, offset, limit) == part


@pytest.mark.parametrize(("text", "path"), [("no json", "$"), ("{}", "$["), ("{}", "")])
def test_what_cannot_be_read(text: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        part_of(text, path, 0, 1)
