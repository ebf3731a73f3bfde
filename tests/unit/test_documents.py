"""Values as plain data, and as text for people."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import pyarrow
from pydantic import BaseModel

from graphs.errors import StateInvalid
from graphs.journal import Usage
from graphs.threads import ThreadState
from runtime.documents import as_yaml, plain, result_document
from runtime.results import StateDict, ThreadResult


class Colour(StrEnum):
    RED = "red"


class Part(BaseModel):
    name: str
    at: datetime = datetime(2026, 1, 2)  # noqa: DTZ001


class Array:
    """As numpy's: it gives its values with `tolist`."""

    def tolist(self) -> list[int]:
        return [1, 2]


def test_every_value_of_a_state_has_a_plain_form():
    state = StateDict(
        part=Part(name="a"),
        raw=b"\x00\xff",
        price=Decimal("1.50"),
        colour=Colour.RED,
        table=pyarrow.table({"x": [1, 2]}),
        array=Array(),
        numbers={1: 1.5},
        nothing=None,
    )

    assert plain(state) == {
        "part": {"name": "a", "at": "2026-01-02T00:00:00"},
        "raw": "AP8=",
        "price": "1.50",
        "colour": "red",
        "table": [{"x": 1}, {"x": 2}],
        "array": [1, 2],
        "numbers": {"1": 1.5},
        "nothing": None,
    }


def test_texts_of_several_lines_are_blocks():
    assert as_yaml({"b": "one\ntwo", "a": ["ä"], "c": {"d": 1}}) == "b: |-\n  one\n  two\na:\n- ä\nc:\n  d: 1\n"


def test_a_failed_result_says_why():
    result = ThreadResult(
        thread_id="s:0",
        status=ThreadState.FAILED,
        state=StateDict(text=""),
        usage=Usage(prompt_tokens=1, completion_tokens=2, calls=1),
        seq=2,
        error=StateInvalid("text: is no number", problems=["text: is no number"]),
        turn=1,
    )

    assert result_document(result, seconds=1.23456) == {
        "thread_id": "s:0",
        "turn": 1,
        "status": "failed",
        "seq": 2,
        "seconds": 1.235,
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "calls": 1},
        "state": {"text": ""},
        "error": {
            "code": "StateInvalid",
            "message": "text: is no number",
            "fields": {"problems": ["text: is no number"]},
        },
    }
