import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType

import pyarrow as pa
import pytest
import typing_extensions as te
from pydantic import BaseModel, JsonValue, PositiveInt, RootModel, create_model

from graphs.errors import SchemaError, StateInvalid
from graphs.messages import Message
from graphs.state.schema import StateSchema

UTC = dt.UTC


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(BaseModel):
    x: int
    y: int = 0
    tags: list[str] = []
    seen: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    w: int
    marks: list[Point] = dataclasses.field(default_factory=list)


class Doc(te.TypedDict):
    name: str
    words: te.NotRequired[int]


Score = NewType("Score", float)
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=UTC)
TABLE = pa.table({"a": [1, 2], "b": ["x", None]})


def schema(annotation, **more):
    return StateSchema.from_type(create_model("State", value=(annotation, None), **more))


def problems(annotation):
    with pytest.raises(SchemaError) as caught:
        StateSchema.from_type(dataclasses.make_dataclass("State", [("value", annotation)]))
    return caught.value.problems


POINT = {
    "struct": {
        "x": "int64",
        "y": {"type": "int64", "default": 0},
        "tags": {"type": {"list": "string"}, "default": []},
        "seen": {"type": {"nullable": "timestamp"}, "default": None},
    }
}
POINT_ARROW = pa.struct(
    [("x", pa.int64()), ("y", pa.int64()), ("tags", pa.list_(pa.string())), ("seen", pa.timestamp("us", "UTC"))]
)
WORDS = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    ("annotation", "spec", "arrow", "given", "held"),
    [
        (bool, "bool", pa.bool_(), True, True),
        (int, "int64", pa.int64(), "5", 5),
        (int, "int64", pa.int64(), Level.LOW, 1),
        (PositiveInt, "int64", pa.int64(), 5, 5),
        (float, "float64", pa.float64(), 5, 5.0),
        (float, "float64", pa.float64(), float("-inf"), float("-inf")),
        (Score, "float64", pa.float64(), 5, 5.0),
        (str, "string", pa.string(), "é\0😀", "é\0😀"),
        (str, "string", pa.string(), "x" * 3_000_000, "x" * 3_000_000),
        (bytes, "binary", pa.binary(), b"\xff\0", b"\xff\0"),
        (dt.datetime, "timestamp", pa.timestamp("us", "UTC"), NOON, NOON),
        (dt.datetime, "timestamp", pa.timestamp("us", "UTC"), "2026-01-02T13:00:00+01:00", NOON),
        (dt.date, "date", pa.date32(), dt.date(1, 1, 1), dt.date(1, 1, 1)),
        (Decimal, "decimal", pa.decimal256(76, 38), "1.10", Decimal("1.10")),
        (Any, "json", pa.json_(), {"a": (1, {2}, Point(x=1))}, {"a": [1, [2], Point(x=1).model_dump()]}),
        (object, "json", pa.json_(), 2**70, 2**70),
        (JsonValue, "json", pa.json_(), [None, "x"], [None, "x"]),
        (Colour, {"enum": ["red", "blue"]}, WORDS, "red", Colour.RED),
        (Level, {"enum": [1, 2]}, pa.dictionary(pa.int32(), pa.int64()), 2, Level.HIGH),
        (Literal["a", "b"], {"enum": ["a", "b"]}, WORDS, "b", "b"),
        (Literal["a"] | None, {"nullable": {"enum": ["a"]}}, WORDS, "a", "a"),
        (list[str], {"list": "string"}, pa.list_(pa.string()), ("a", ""), ["a", ""]),
        (list, {"list": "json"}, pa.list_(pa.json_()), [1, "a", None], [1, "a", None]),
        (list[list[int]], {"list": {"list": "int64"}}, pa.list_(pa.list_(pa.int64())), [[], [1]], [[], [1]]),
        (list[int | None], {"list": {"nullable": "int64"}}, pa.list_(pa.int64()), [1, None], [1, None]),
        (dict[str, float], {"map": "float64"}, pa.map_(pa.string(), pa.float64()), {"a": 1}, {"a": 1.0}),
        (dict, {"map": "json"}, pa.map_(pa.string(), pa.json_()), {"a": [None], "b": None}, {"a": [None], "b": None}),
        (Point, POINT, POINT_ARROW, {"x": "1", "seen": NOON}, Point(x=1, seen=NOON)),
        (
            Size,
            {"struct": {"w": "int64", "marks": {"type": {"list": POINT}, "default": []}}},
            pa.struct([("w", pa.int64()), ("marks", pa.list_(POINT_ARROW))]),
            Size(1, [Point(x=2)]),
            Size(1, [Point(x=2)]),
        ),
        (
            list[Doc],
            {"list": {"struct": {"name": "string", "words": {"type": {"nullable": "int64"}, "default": None}}}},
            pa.list_(pa.struct([("name", pa.string()), ("words", pa.int64())])),
            [{"name": "a"}, {"name": "b", "words": 2}],
            [{"name": "a"}, {"name": "b", "words": 2}],
        ),
        (
            dict[str, Point | None],
            {"map": {"nullable": POINT}},
            pa.map_(pa.string(), POINT_ARROW),
            {"a": None},
            {"a": None},
        ),
        (pa.Table, "table", pa.large_binary(), TABLE, TABLE),
        (pa.RecordBatch, "record_batch", pa.large_binary(), TABLE.to_batches()[0], TABLE.to_batches()[0]),
    ],
)
def test_every_mapping(annotation, spec, arrow, given, held):
    found = StateSchema.from_type(dataclasses.make_dataclass("State", [("value", annotation)]))
    channel = found.channels["value"]
    assert (channel.type.spec, channel.arrow_type, channel.required) == (spec, arrow, True)
    write = found.check_write("node", {"value": given}, None)
    assert write == {"value": held}
    assert type(write["value"]) is type(held)
    stored = found.decode_delta(found.encode_delta(write))
    assert stored == write
    assert type(stored["value"]) is type(held)
    assert found.decode_state(found.encode_state(write)) == write
    assert StateSchema.from_spec(found.to_spec()).to_spec() == found.to_spec()


def test_a_message_has_a_name_of_its_own():
    assert schema(list[Message]).to_spec() == {"channels": {"value": {"type": {"list": "message"}}}}


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (
            tuple[int, str],
            "value: tuple[int, str] has no mapping to Arrow; use list[...], or a model with a field for each part",
        ),
        (set[int], "value: set[int] has no mapping to Arrow; use list[...]"),
        (uuid.UUID, "value: UUID has no mapping to Arrow; use a mapped type, a model, or Any"),
        (
            Sequence[int],
            "value: collections.abc.Sequence[int] has no mapping to Arrow; use a mapped type, a model, or Any",
        ),
        (int | str, "value: a union of int and str has no mapping; use one of them, or Any"),
        (dict[int, str], "value: dict keys must be str, and are int"),
        (Literal["a", 1], "value: the values of an enum or Literal must all be strings or all be integers"),
        (list[pa.Table], "value[]: Table has no mapping to Arrow; a table must be a channel of its own"),
        (list[dt.time], "value[]: time has no mapping to Arrow; use a string"),
        (
            create_model("Open", __config__={"extra": "allow"}),
            "value: Open allows extra fields, which have no type; declare them, or hold them in one Any",
        ),
        (RootModel[int], "value: RootModel[int] is a RootModel, which has no fields; use the type of its root"),
        (
            create_model("Sloppy", name=(str, None)),
            "value.name: its default is None, but its type does not allow None; add `| None` to it",
        ),
        (
            te.TypedDict("Vague", {"a": te.NotRequired[int | None]}),
            "value.a: a missing key and None are the same in Arrow; drop NotRequired or None",
        ),
    ],
)
def test_types_without_a_mapping(annotation, problem):
    assert problems(annotation) == [problem]


class Tree(BaseModel):
    children: list["Tree"] = []


def test_recursive_models_have_no_mapping():
    assert problems(Tree) == ["value.children[]: Tree contains itself, which Arrow cannot hold; use Any"]


def test_all_problems_are_reported_at_once():
    @dataclasses.dataclass
    class State:
        good: int
        a: set[str]
        b: list[uuid.UUID]

    with pytest.raises(SchemaError, match=r"^state State: a: set\[str\].*; b\[\]: UUID .*$") as caught:
        StateSchema.from_type(State)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (int, 2**63, "value: is outside the range of 64-bit integers; use a float or a string channel"),
        (
            list[Point],
            [Point(x=-(2**63) - 1)],
            "value[0].x: is outside the range of 64-bit integers; use a float or a string channel",
        ),
        (
            str,
            "a\ud800",
            "value: has a lone surrogate at 1, which is no character; decode the text with errors='replace'",
        ),
        (
            dict[str, int],
            {"\udfff": 1},
            "value: its key '\\udfff' has a lone surrogate at 0, which is no character; "
            "decode the text with errors='replace'",
        ),
        (
            dt.datetime,
            NOON.replace(tzinfo=None),
            "value: has no time zone; make it aware, for example with datetime.now(UTC)",
        ),
        (
            dt.datetime,
            dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "value: is outside the years 1 to 9999 in UTC",
        ),
        (Decimal, Decimal("1e38"), "value: must be finite, with at most 38 digits before and after the point"),
        (Decimal, Decimal("1e-39"), "value: must be finite, with at most 38 digits before and after the point"),
        (Any, object(), "value: cannot be written as JSON: Unable to serialize unknown type: <class 'object'>"),
        (Colour, "green", "value: Input should be 'red' or 'blue'"),
        (str, 5, "value: Input should be a valid string"),
        (str, None, "value: Input should be a valid string"),
        (Point, {"x": 1, "tags": [1]}, "value.tags[0]: Input should be a valid string"),
        (list[Point], [Point.model_construct(y=1)], "value[0]: is incomplete: 'Point' object has no attribute 'x'"),
        (Point, Point.model_construct(x="one"), "value.x: should be an int, not str"),
        (pa.Table, 5, "value: Input should be an instance of Table"),
    ],
)
def test_values_that_do_not_fit(annotation, value, problem):
    found = StateSchema.from_type(dataclasses.make_dataclass("State", [("value", annotation)]))
    with pytest.raises(StateInvalid) as caught:
        found.check_input({"value": value})
    assert caught.value.problems == [problem]


def test_an_instance_of_a_subclass_would_lose_its_own_fields():
    class Point3(Point):
        z: int = 0

    with pytest.raises(StateInvalid, match="value: should be a Point itself, not Point3"):
        schema(Point | None).check_input({"value": Point3(x=1)})


def test_json_keeps_numbers_as_they_are():
    found = schema(Any)
    write = found.check_input({"value": [float("inf"), -0.0, 5e-324, 2**64, 0.1, True]})
    assert repr(found.decode_delta(found.encode_delta(write))) == repr(write)
    assert repr(write["value"]) == "[inf, -0.0, 5e-324, 18446744073709551616, 0.1, True]"


def test_constraints_and_validators_of_fields_hold():
    def short(text):
        if len(text) > 3:
            raise ValueError("is too long")
        return text.strip()

    from pydantic import AfterValidator, Field

    found = schema(Annotated[str, AfterValidator(short)] | None, count=(Annotated[int, Field(ge=0)], 0))
    assert found.check_input({"value": " a "}) == {"value": "a"}
    with pytest.raises(StateInvalid) as caught:
        found.check_input({"value": "long", "count": -1})
    assert caught.value.problems == ["value: is too long", "count: Input should be greater than or equal to 0"]
