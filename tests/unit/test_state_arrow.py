import contextlib
import random
from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from graphs.errors import SchemaError, StateInvalid
from graphs.messages import Message
from graphs.state.reducers import add_messages, append
from graphs.state.schema import StateSchema


class State(BaseModel):
    n: int = 0
    s: str = ""
    notes: Annotated[list[str], append] = []
    messages: Annotated[list[Message], add_messages] = []
    table: pa.Table | None = None

    model_config = {"arbitrary_types_allowed": True}


SCHEMA = StateSchema.from_type(State)
STATE = {
    "n": 1,
    "s": "é",
    "notes": ["a", ""],
    "messages": [Message(role="user", content="hello " * 20)],
    "table": None,
}


def words(length, seed=1):
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz ", k=length))


def test_small_deltas_are_small():
    assert len(SCHEMA.encode_delta({"n": 1})) < 130
    assert len(SCHEMA.encode_delta({"s": "hello"})) < 150
    assert len(SCHEMA.encode_delta({"n": 1, "s": "abc"})) < 160


def test_a_conversation_is_stored_in_less_than_twice_its_length():
    messages = [Message(role="user", content=words(1000, seed)) for seed in range(50)]
    deltas = [SCHEMA.encode_delta({"messages": [message]}) for message in messages]
    assert sum(map(len, deltas)) < 1.5 * 1000 * len(messages)
    assert len(SCHEMA.encode_state({**STATE, "messages": messages})) < 1.1 * 1000 * len(messages)


def test_delta_has_only_what_was_written():
    assert SCHEMA.decode_delta(SCHEMA.encode_delta({"notes": ["b"], "n": 2})) == {"notes": ["b"], "n": 2}
    assert SCHEMA.decode_delta(SCHEMA.encode_delta({})) == {}
    empty = StateSchema.from_spec({"channels": {}})
    assert empty.decode_state(empty.encode_state({})) == {}


def test_channels_that_a_stored_state_lacks_have_their_default():
    class Older(BaseModel):
        n: int = 0

    assert SCHEMA.decode_state(StateSchema.from_type(Older).encode_state({"n": 5})) == {**SCHEMA.initial(), "n": 5}


def test_other_schemas_are_noticed():
    class Other(BaseModel):
        n: str = ""
        gone: int = 0

    other = StateSchema.from_type(Other)
    with pytest.raises(SchemaError, match="stored channels n have other types than in the schema; read them with"):
        SCHEMA.decode_delta(other.encode_delta({"n": "a"}))
    with pytest.raises(SchemaError, match="stored state has channels that the schema has not: 'gone'; read it with"):
        SCHEMA.decode_delta(other.encode_delta({"gone": 1}))


def test_damaged_blobs():
    blob = SCHEMA.encode_state(STATE)
    rng = random.Random(7)
    for _ in range(2000):
        damaged = bytearray(blob)
        for _ in range(rng.choice([1, 3])):
            damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        # Only a header that says the same with other bytes may pass.
        with contextlib.suppress(SchemaError):
            assert SCHEMA.decode_state(bytes(damaged)) == STATE
    for length in range(len(blob)):
        with pytest.raises(SchemaError, match="stored state cannot be read: "):
            SCHEMA.decode_state(blob[:length])


def test_a_length_that_cannot_be_is_not_allocated():
    blob = bytearray(SCHEMA.encode_state(STATE))
    blob[9:13] = b"\xff" * 4
    with pytest.raises(SchemaError, match="its length is wrong"):
        SCHEMA.decode_state(bytes(blob))


def test_states_that_were_never_checked():
    with pytest.raises(StateInvalid, match=r"^n: cannot be stored: "):
        SCHEMA.encode_state({**STATE, "n": "one"})
    with pytest.raises(StateInvalid, match=r"^messages: cannot be stored: is incomplete: "):
        SCHEMA.encode_delta({"messages": [5]})
    with pytest.raises(StateInvalid, match='no channel "m"'):
        SCHEMA.encode_delta({"m": 5})


def test_tables_are_read_without_a_copy():
    table = pa.table({"x": pa.array(range(200_000), pa.int64())})
    blob = SCHEMA.encode_delta({"table": table})
    found = SCHEMA.decode_delta(blob)["table"]
    stored, column = pa.py_buffer(blob), found["x"].chunk(0).buffers()[1]
    assert stored.address < column.address < stored.address + stored.size
    assert found.equals(table)
    assert SCHEMA.plain({"table": found}) == {"table": {"rows": 200_000, "columns": ["x"]}}


def test_many_shapes_of_deltas_do_not_pile_up():
    wide = StateSchema.from_spec({"channels": {f"c{i}": {"type": "int64", "default": 0} for i in range(12)}})
    for shape in range(1, 2**12):
        write: dict[str, Any] = {f"c{i}": i for i in range(12) if shape >> i & 1}
        assert wide.decode_delta(wide.encode_delta(write)) == write
    assert len(wide._codec._layouts) <= 1024
