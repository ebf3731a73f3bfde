"""Whatever a schema admits can be stored and read, and writes can be combined without changing what they do."""

import datetime as dt
import json
import operator
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.state.schema import StateSchema

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda name: not name.startswith("model_"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ZONES = st.integers(-23, 23).map(lambda hours: dt.timezone(dt.timedelta(hours=hours)))
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": st.text(),
        "id": st.sampled_from(["", "1", "2"]),
        "name": st.none() | st.text(),
        "tool_calls": st.lists(st.fixed_dictionaries({"id": st.text(), "name": st.text()}), max_size=2),
    },
)
SCALARS = {
    "bool": st.booleans(),
    "int64": INT64,
    "float64": st.floats(),
    "string": st.text(),
    "binary": st.binary(),
    "timestamp": st.datetimes(timezones=ZONES).filter(lambda at: 1 < at.year < 9999),
    "date": st.dates(),
    "decimal": st.builds(lambda digits, point: Decimal(digits).scaleb(-point), INT64, st.integers(0, 19)),
    "json": JSON,
    "message": MESSAGES,
}


def structs(types):
    return st.dictionaries(NAMES, types, max_size=4)


TYPES = st.recursive(
    st.sampled_from(list(SCALARS))
    | st.lists(st.text(), min_size=1, max_size=4, unique=True).map(lambda values: {"enum": values})
    | st.lists(INT64, min_size=1, max_size=4, unique=True).map(lambda values: {"enum": values}),
    lambda inner: (
        inner.map(lambda item: {"list": item})
        | inner.map(lambda item: {"map": item})
        | inner.filter(lambda item: item != "json" and "nullable" not in item).map(lambda item: {"nullable": item})
        | structs(inner).map(lambda fields: {"struct": fields})
    ),
    max_leaves=5,
)


def values(kind):
    """Strategy of the values of a spec's type."""
    if isinstance(kind, str):
        return SCALARS[kind]
    ((form, inner),) = kind.items()
    return {
        "enum": lambda: st.sampled_from(inner),
        "nullable": lambda: st.none() | values(inner),
        "list": lambda: st.lists(values(inner), max_size=3),
        "map": lambda: st.dictionaries(st.text(), values(inner), max_size=3),
        "struct": lambda: st.fixed_dictionaries({name: values(field) for name, field in inner.items()}),
    }[form]()


@st.composite
def schemas_with_writes(draw):
    types = draw(structs(TYPES))
    writes = st.fixed_dictionaries({}, optional={name: values(kind) for name, kind in types.items()})
    return {"channels": {name: {"type": kind} for name, kind in types.items()}}, draw(writes)


@given(schemas_with_writes())
@settings(max_examples=200, deadline=None)
def test_what_is_admitted_can_be_stored(case):
    spec, given_values = case
    schema = StateSchema.from_spec(spec)
    write = schema.check_write("node", given_values, None)
    # Compared as text: that also tells NaN, -0.0, True and 1, and digits of decimals.
    assert repr(schema.decode_delta(schema.encode_delta(write))) == repr(write)
    state = schema.apply(schema.initial(), write)
    assert repr(schema.decode_state(schema.encode_state(state))) == repr(state)
    assert repr(schema.check_write("node", write, None)) == repr(write)


@given(schemas_with_writes())
@settings(max_examples=100, deadline=None)
def test_specs_are_one_to_one(case):
    spec, given_values = case
    for name, value in given_values.items():
        if "binary" not in json.dumps(spec["channels"][name]["type"]):
            spec["channels"][name]["default"] = value
    written = StateSchema.from_spec(spec).to_spec()
    again = StateSchema.from_spec(json.loads(json.dumps(written)))
    assert repr(again.to_spec()) == repr(written)
    assert repr(again.initial()) == repr(StateSchema.from_spec(spec).initial())


REDUCED = {
    "last": ({"nullable": "string"}, "last_value", st.none() | st.text()),
    "notes": ({"list": "string"}, "append", st.lists(st.text(), max_size=3) | st.text()),
    "maybe": ({"nullable": {"list": "int64"}}, "append", st.none() | st.lists(st.integers(0, 9), max_size=3)),
    "count": ("int64", "add", st.integers(-(2**60), 2**60)),
    "weight": ("float64", "add", st.integers(-(2**30), 2**30).map(float)),
    "price": ("decimal", "add", SCALARS["decimal"]),
    "facts": ({"map": "int64"}, "merge", st.dictionaries(st.sampled_from("abc"), INT64, max_size=3)),
    "messages": ({"list": "message"}, "add_messages", st.lists(MESSAGES, max_size=3) | MESSAGES | st.text()),
    "own": ({"list": "int64"}, "operator:add", st.lists(INT64, max_size=2)),
}
REDUCING = StateSchema.from_spec(
    {"channels": {name: {"type": kind, "reducer": reducer} for name, (kind, reducer, _) in REDUCED.items()}},
    {"operator:add": operator.add},
)
WRITES = st.lists(
    st.fixed_dictionaries({}, optional={name: written for name, (_, _, written) in REDUCED.items()}), max_size=6
)


@given(WRITES, WRITES)
@settings(max_examples=200, deadline=None)
def test_combined_writes_do_what_the_writes_do(before, after):
    def applied(state, writes):
        for write in writes:
            state = REDUCING.apply(state, write)
        return state

    old = [REDUCING.check_write("node", write, None) for write in before]
    new = [REDUCING.check_write("node", write, None) for write in after]
    start = applied(REDUCING.initial(), old)
    combined = REDUCING.combine(new)
    assert applied(start, combined) == applied(start, new)
    stored = [REDUCING.decode_delta(REDUCING.encode_delta(write)) for write in combined]
    assert applied(start, stored) == applied(start, new)
    assert len(combined) <= max(1, sum("own" in write for write in new))
