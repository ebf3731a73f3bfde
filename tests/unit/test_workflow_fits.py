"""Which types of answers and of other workflows' channels fit a channel."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from graphs.messages import Message
from graphs.state.reducers import add_messages, append
from graphs.state.schema import StateSchema
from graphs.workflow.checks.fits import fits_channel


class Part(BaseModel):
    name: str
    size: int = 0


class State(BaseModel):
    text: str = ""
    maybe: str | None = None
    whole: int = 0
    number: float = 0.0
    exact: Decimal = Decimal(0)
    kind: Literal["a", "b", "c"] = "a"
    anything: Any = None
    part: Part | None = None
    parts: list[Part] = []
    sizes: dict[str, int] = {}
    notes: Annotated[list[str], append] = []
    messages: Annotated[list[Message], add_messages] = []


CHANNELS = StateSchema.from_type(State).channels
NULLABLE_TEXT = {"nullable": "string"}


@pytest.mark.parametrize(
    ("given", "channel", "fits"),
    [
        ("string", "text", True),
        ("int64", "text", False),
        (NULLABLE_TEXT, "text", False),
        ("string", "maybe", True),
        (NULLABLE_TEXT, "maybe", True),
        ({"type": "string", "default": ""}, "text", True),
        ({"enum": ["a", "x"]}, "text", True),
        ({"enum": [1, 2]}, "text", False),
        ({"enum": [1, 2]}, "whole", True),
        ("int64", "number", True),
        ("float64", "whole", False),
        ("bool", "whole", False),
        ("float64", "exact", True),
        ({"enum": ["a", "b"]}, "kind", True),
        ({"enum": ["a", "x"]}, "kind", False),
        ("string", "kind", False),
        ({"list": "bool"}, "anything", True),
        ("json", "whole", True),
        ({"struct": {"name": "string"}}, "part", True),
        ({"struct": {"name": "string", "size": "int64"}}, "part", True),
        ({"struct": {"size": "int64"}}, "part", False),
        ({"struct": {"name": "string", "size": "string"}}, "part", False),
        ({"struct": {"name": "string", "more": "string"}}, "part", False),
        ({"list": {"struct": {"name": "string"}}}, "parts", True),
        ({"struct": {"name": "string"}}, "parts", False),
        ({"map": "int64"}, "sizes", True),
        ({"map": "string"}, "sizes", False),
        ({"struct": {"a": "int64", "b": "int64"}}, "sizes", True),
        ({"struct": {"a": "int64", "b": "string"}}, "sizes", False),
        ({"map": "json"}, "part", False),
        ("string", "notes", True),
        ({"list": "string"}, "notes", True),
        ("int64", "notes", False),
        ("string", "messages", True),
        ("message", "messages", True),
        ({"list": "message"}, "messages", True),
        ("int64", "messages", False),
    ],
)
def test_what_fits_a_channel(given: Any, channel: str, fits: bool):
    assert fits_channel(given, CHANNELS[channel]) is fits
