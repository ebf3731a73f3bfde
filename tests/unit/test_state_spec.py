import datetime as dt
import enum
import json
from decimal import Decimal

import pytest
from pydantic import BaseModel

from graphs.errors import SchemaError, StateInvalid
from graphs.state.schema import StateSchema

SPEC = {
    "channels": {
        "text": {"type": "string", "default": ""},
        "notes": {"type": {"list": "string"}, "reducer": "append", "default": []},
        "score": {"type": "float64"},
        "price": {"type": "decimal", "default": "1.10"},
        "data": {"type": "binary", "default": "é"},
        "since": {"type": "timestamp", "default": "2026-01-02T03:04:05+00:00"},
        "day": {"type": {"nullable": "date"}, "default": None},
        "kind": {"type": {"enum": ["a", "b"]}, "default": "a"},
        "files": {
            "type": {"list": {"struct": {"name": "string", "size": {"type": "int64", "default": 0}}}},
            "default": [{"name": "x", "size": 1}],
        },
        "counts": {"type": {"map": "int64"}, "reducer": "merge", "default": {"a": 1}},
        "anything": {"type": "json", "default": {"a": [None]}},
        "messages": {"type": {"list": "message"}, "reducer": "add_messages", "default": []},
        "table": {"type": {"nullable": "table"}, "default": None},
        "total": {"type": "int64", "reducer": "operator:add", "default": 0},
        "copy": {"type": "string", "default": "a name that models use too"},
    }
}


def problems(spec):
    with pytest.raises(SchemaError) as caught:
        StateSchema.from_spec(spec)
    return caught.value.problems


def test_one_to_one():
    schema = StateSchema.from_spec(SPEC)
    assert schema.to_spec() == SPEC
    assert json.loads(json.dumps(schema.to_spec())) == SPEC
    state = schema.initial()
    assert state["price"] == Decimal("1.10")
    assert state["data"] == "é".encode()
    assert state["since"] == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert state["files"][0].name == "x"
    assert schema.view(state, None).copy == "a name that models use too"
    assert schema.decode_state(schema.encode_state(state)) == state


def test_short_forms():
    schema = StateSchema.from_spec({"channels": {"text": "string", "notes": {"list": "string"}}})
    assert schema.to_spec() == {"channels": {"text": {"type": "string"}, "notes": {"type": {"list": "string"}}}}


def test_values_as_yaml_reads_them():
    schema = StateSchema.from_spec({"channels": {"day": {"type": "date", "default": dt.date(2026, 1, 2)}}})
    assert schema.to_spec() == {"channels": {"day": {"type": "date", "default": "2026-01-02"}}}


def test_reducers_that_need_a_start_have_one():
    given = {
        "a": ({"list": "string"}, "append", []),
        "b": ({"map": "string"}, "merge", {}),
        "c": ("float64", "add", 0.0),
        "d": ({"list": "message"}, "add_messages", []),
        "e": ({"list": "int64"}, "operator:add", []),
        "f": ({"nullable": {"list": "int64"}}, "append", []),
    }
    schema = StateSchema.from_spec(
        {"channels": {name: {"type": kind, "reducer": reducer} for name, (kind, reducer, _) in given.items()}}
    )
    assert schema.initial() == {name: start for name, (_, _, start) in given.items()}


def test_own_reducers_come_along_or_are_imported():
    spec = {"channels": {"total": {"type": "int64", "reducer": "operator:add", "default": 1}}}
    imported = StateSchema.from_spec(spec)
    assert imported.apply({"total": 1}, {"total": 2}) == {"total": 3}
    given = StateSchema.from_spec(spec, {"operator:add": max})
    assert given.apply({"total": 1}, {"total": 2}) == {"total": 2}
    assert (dict(imported.own_reducers), dict(given.own_reducers)) == ({}, {"operator:add": max})


def test_nodes_may_return_their_own_classes():
    class Kind(enum.Enum):
        A = "a"

    class File(BaseModel):
        name: str
        size: int

    schema = StateSchema.from_spec(SPEC)
    write = schema.check_write("n", {"kind": Kind.A, "files": [File(name="f", size=2)]}, None)
    assert schema.plain(write) == {"kind": "a", "files": [{"name": "f", "size": 2}]}
    with pytest.raises(StateInvalid, match=r"files\[0\]: Input should be a valid dictionary or object"):
        schema.check_write("n", {"files": [object()]}, None)


def test_all_problems_with_their_paths():
    spec = {
        "chanels": {},
        "channels": {
            "a": "strng",
            "_b": "string",
            "two words": "string",
            "model_fields": "string",
            "c": {"type": {"list": "text"}, "reducer": "apend", "defalt": 1},
            "d": {"type": "int64", "default": "x"},
            "e": {"enum": [True, False]},
            "f": {"enum": ["a", "a"]},
            "g": {"struct": {"x": "strin", "y": {"type": "int64", "default": []}}},
            "h": {"foo": 1},
            "i": {"type": {"list": "string", "map": "string"}},
            "j": {"type": "string", "reducer": "append"},
            "k": {"struct": ["x"]},
            "l": 5,
            "m": {"list": "table"},
        },
    }
    names = (
        "bool, int64, float64, string, binary, timestamp, date, decimal, table, record_batch, json, message, "
        "list, map, struct, enum, nullable"
    )
    form = "is no type; write a name such as string, or a mapping with one key of list, map, struct, enum, nullable"
    enums = "must be a list of distinct strings, or of distinct integers; put words like yes in quotes"
    name = "cannot be a name; use letters, digits and _, and begin with a letter"
    assert problems(spec) == [
        "no key 'chanels'; did you mean \"channels\"?",
        'channels.a: no type "strng"; did you mean "string"?',
        f"channels._b: '_b' {name}",
        f"channels.two words: 'two words' {name}",
        "channels.model_fields: 'model_fields' is a name that models use themselves; choose another",
        f'channels.c.type.list: no type "text"; there are {names}',
        "channels.c: no key 'defalt'; did you mean \"default\"?",
        'channels.c.reducer: no reducer "apend"; did you mean "append"?',
        "channels.d.default: Input should be a valid integer, unable to parse string as an integer",
        f"channels.e.enum: {enums}",
        f"channels.f.enum: {enums}",
        'channels.g.struct.x: no type "strin"; did you mean "string"?',
        "channels.g.struct.y.default: Input should be a valid integer",
        f"channels.h: {{'foo': 1}} {form}",
        f"channels.i.type: {{'list': 'string', 'map': 'string'}} {form}",
        "channels.j: reducer append works on a list, and its type is 'string'",
        "channels.k.struct: must be a mapping of field names to types",
        f"channels.l: 5 {form}",
        "channels.m[]: Table has no mapping to Arrow; a table must be a channel of its own",
    ]
    assert problems({"channels": ["a"]}) == ["channels: must be a mapping of names to types"]
