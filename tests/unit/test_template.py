"""Templates over the state."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from graphs.errors import GraphInvalid, StateInvalid
from graphs.workflow.template import fields, render, render_value


class Part(BaseModel):
    name: str
    words: int = 1

    @property
    def secret(self) -> str:
        return "no field"


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


VALUES: dict[str, Any] = {
    "text": "héllo {not a field}",
    "n": 3,
    "score": 0.125,
    "flag": True,
    "nothing": None,
    "notes": ["a", "b"],
    "part": Part(name="intro"),
    "parts": [Part(name="one"), Part(name="two", words=2)],
    "table": {"a key": {"x": [10, 20]}, "items": "data"},
    "point": Point(x=7),
    "color": Color.RED,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("no fields", "no fields"),
        ("Answer: {text}", "Answer: héllo {not a field}"),
        ("{{{n}}} {{x}}", "{3} {x}"),
        ("{n:03d}|{score:.2f}|{text:>24}", "003|0.12|     héllo {not a field}"),
        ("{flag}|{nothing}|{score}", "True||0.125"),
        ("{notes[0]}{notes[-1]}", "ab"),
        ("{color}", "red"),
        ("{part.name}/{parts[1].words}/{point.x}", "intro/2/7"),
        ("{table[a key].x[1]} {table.items}", "20 data"),
        ("{notes}", '["a","b"]'),
        ("{part} {point}", '{"name":"intro","words":1} {"x":7}'),
        ("{parts}", '[{"name":"one","words":1},{"name":"two","words":2}]'),
    ],
)
def test_render(template: str, text: str) -> None:
    assert render(template, VALUES) == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{txt}", 'no channel "txt"; did you mean "text"?'),
        ("{part.nam}", 'channel "part": no field "nam"; did you mean "name"?'),
        ("{part.secret}", 'channel "part": no field "secret"'),
        ("{part.__class__}", 'channel "part": no field "__class__"'),
        ("{part.model_dump}", 'channel "part": no field "model_dump"'),
        ("{part.__class__.__init__.__globals__}", 'channel "part": no field "__class__"'),
        ("{point.__dict__}", 'channel "point": no field "__dict__"'),
        ("{text.upper}", 'channel "text": a value of type str has no field "upper"'),
        ("{text.value}", 'channel "text": a value of type str has no field "value"'),
        ("{notes.append}", 'channel "notes": a value of type list has no field "append"'),
        ("{table.__len__}", 'channel "table": no field "__len__"'),
        ("{notes[2]}", 'channel "notes": no item 2 in a list of 2'),
        ("{notes[x]}", 'channel "notes": a list has no item "x"; use a number'),
        ("{nothing.x}", 'channel "nothing": null has no field "x"'),
        ("{n:zz}", "channel \"n\": Unknown format code 'z' for object of type 'int'"),
        ("{notes:>3}", 'channel "notes": unsupported format string passed to list.__format__'),
    ],
)
def test_values_that_do_not_fit_are_named(template: str, problem: str) -> None:
    with pytest.raises(StateInvalid) as caught:
        render(template, VALUES)

    assert caught.value.problems == [problem]
    assert caught.value.message == f"template field {template}: {problem}"
    assert caught.value.channel == problem.split('"')[1]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{", "Single '{' encountered in format string; write {{ and }} for literal braces"),
        ("a }", "Single '}' encountered in format string; write {{ and }} for literal braces"),
        ("{}", "{} names no channel; write {{ and }} for literal braces"),
        ("{0}", "{0} names no channel; write {{ and }} for literal braces"),
        ('{"a": 1}', '{"a"} names no channel; write {{ and }} for literal braces'),
        ("{n!r}", "{n!r}: conversions are not supported; remove !r"),
        ("{text:>{n}}", "{text:>{n}}: a format spec cannot hold fields"),
        ("{text.}", "{text.}: Empty attribute in format string"),
        ("{notes[0]x}", "{notes[0]x}: Only '.' or '[' may follow ']' in format field specifier"),
    ],
)
def test_wrong_templates_are_refused_before_any_value_is_there(template: str, problem: str) -> None:
    with pytest.raises(GraphInvalid) as caught:
        fields(template)

    assert caught.value.problems == [problem]


def test_fields_are_channel_names() -> None:
    assert fields("{a} {b.c} {{d}} {e[0].f:>3} {a}") == {"a", "b", "e"}


def test_a_lone_field_keeps_its_type() -> None:
    value = {
        "n": "{n}",
        "list": ["{notes}", "x{n}", 5],
        "deep": {"part": "{parts[0].words}"},
        "spec": "{n:02d}",
        "c": "{color}",
    }

    assert render_value(value, VALUES) == {
        "n": 3,
        "list": [["a", "b"], "x3", 5],
        "deep": {"part": 1},
        "spec": "03",
        "c": "red",
    }


def test_a_lone_field_is_a_copy() -> None:
    values = {"notes": ["a", ["b"]]}

    render_value("{notes}", values)[1].append("c")

    assert values == {"notes": ["a", ["b"]]}
