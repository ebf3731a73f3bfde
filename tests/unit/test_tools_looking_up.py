"""The builtin tools for moments, parts of texts and parts of JSON."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.errors import ToolError
from actors.tools.builtin.json_path import json_path
from actors.tools.builtin.moments import date_and_time
from actors.tools.builtin.text import text_search, text_slice

BERLIN = {"timezone": "Europe/Berlin"}


def test_a_moment_in_a_time_zone() -> None:
    assert date_and_time("2026-03-01T12:00Z", since="2026-03-01", **BERLIN) == {
        "iso": "2026-03-01T13:00:00+01:00",
        "date": "2026-03-01",
        "time": "13:00:00",
        "weekday": "Sunday",
        "unix_s": 1772366400.0,
        "since_s": 46_800.0,
    }


@pytest.mark.parametrize(
    ("options", "iso"),
    [
        ({"plus_days": 1}, "2026-03-29T12:00:00+02:00"),
        ({"plus_seconds": 86_400}, "2026-03-29T13:00:00+02:00"),
        ({"plus_days": -1, "plus_seconds": 0.5}, "2026-03-27T12:00:00.500000+01:00"),
    ],
)
def test_days_are_those_of_the_calendar(options: dict[str, Any], iso: str) -> None:
    assert date_and_time("2026-03-28T12:00", **BERLIN, **options)["iso"] == iso


def test_now() -> None:
    before = datetime.now(UTC)

    found = datetime.fromisoformat(date_and_time(**BERLIN)["iso"])

    assert before <= found <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"moment": "soon"}, 'moment: "soon" is no moment in ISO 8601; write one such as 2026-03-01T12:00'),
        ({"since": ""}, 'since: "" is no moment in ISO 8601; write one such as 2026-03-01T12:00'),
        ({"timezone": "Mars"}, 'no time zone "Mars"; give a name such as Europe/Berlin'),
        ({"timezone": "../../etc/passwd"}, 'no time zone "../../etc/passwd"; give a name such as Europe/Berlin'),
        ({"timezone": "Europe"}, 'no time zone "Europe"; give a name such as Europe/Berlin'),
        ({"plus_days": 10**9}, "the moment is outside of the years 1 to 9999"),
        ({"plus_days": 10**30}, "the moment is outside of the years 1 to 9999"),
        ({"plus_seconds": float("nan")}, "the moment is outside of the years 1 to 9999"),
        ({"moment": "9999-12-31T23:59", "plus_seconds": 60}, "the moment is outside of the years 1 to 9999"),
    ],
)
def test_no_such_moment(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        date_and_time(**options)

    assert (caught.value.message, caught.value.tool) == (f"datetime: {reason}", "datetime")


def test_a_part_of_a_text() -> None:
    assert (text_slice("abcd", 1, 3), text_slice("abcd", -2), text_slice("abcd", 9)) == ("bc", "cd", "")


def test_what_matches_a_pattern() -> None:
    assert text_search("é Ab ac", r"(?P<first>a)([bc])", ignore_case=True) == [
        {"match": "Ab", "start": 2, "end": 4, "groups": ["A", "b"], "names": {"first": "A"}},
        {"match": "ac", "start": 5, "end": 7, "groups": ["a", "c"], "names": {"first": "a"}},
    ]
    assert [found["start"] for found in text_search("aaaa", "a", limit=2)] == [0, 1]
    assert text_search("A", "a") == []


@pytest.mark.parametrize("pattern", [r"(a|aa)+$", r"(a+)+b", r"(a*)*c"])
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.perf_counter()

    assert text_search("a" * 100_000 + "!", pattern) == []

    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"pattern": "("}, "pattern: missing ): ("),
        ({"pattern": r"(a)\1"}, r"pattern: invalid escape sequence: \1"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "pattern: invalid repetition size: {1000}"),
        ({"pattern": "a" * 1_001}, "pattern: has 1001 characters; 1000 are allowed"),
        ({"pattern": "a", "limit": 0}, "limit: must be from 1 to 1000, got 0"),
    ],
)
def test_no_such_pattern(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        text_search("a", **arguments)

    assert (caught.value.message, caught.value.tool) == (f"text_search: {reason}", "text_search")


GOODS = {"items": [{"name": "pen", "price": 2}, {"name": "desk", "price": 90}], "total": 92}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.total", [92]),
        ("$.items[?@.price < 10].name", ["pen"]),
        ("$..name", ["pen", "desk"]),
        ("$.items[-1]", [GOODS["items"][1]]),
        ("$.absent", []),
    ],
)
def test_values_at_a_path(path: str, found: list[Any]) -> None:
    assert json_path(GOODS, path) == found


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("items", "expected '$', found 'i', line 1, column 0"),
        ("$[?match(@.name, '(a+)+b')]", "function 'match' is not defined, line 1, column 3"),
        ("$..a..b..c", "is too costly; 2 times '..' and 2 filters are allowed"),
        ("$[?@.a][?@.b][?@.c]", "is too costly; 2 times '..' and 2 filters are allowed"),
        ("$." + "a" * 499, "has 501 characters; 500 are allowed"),
        ("$.many[*]", "finds more than 1000 values; narrow it"),
    ],
)
def test_no_such_path(path: str, reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        json_path({"many": [0] * 1_001}, path)

    assert (caught.value.message, caught.value.tool) == (f"json_path: path: {reason}", "json_path")


def test_a_value_that_is_too_deep() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}

    with pytest.raises(ToolError, match="recursion limit"):
        json_path(deep, "$..b")
