"""Large values are taken out of writes, and a reference stands in their place until they are read."""

import random
from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from graphs.errors import SchemaError, StateInvalid
from graphs.journal import Cursor
from graphs.state.arrow import encode_value
from graphs.state.large import LargeValue, at_least, pack, refer, small_state, unpack
from graphs.state.reducers import append, merge
from graphs.state.refs import LARGE_BYTES, NotLoaded, ValueRef, ref_of
from graphs.state.schema import StateSchema
from graphs.threads import ThreadState
from graphs.workflow import planner
from graphs.workflow.plan import Plan
from graphs.workflow.template import render, render_value
from runtime import END, START, Graph


def longest(old: str, new: str) -> str:
    return max(old, new, key=len)


class Part(BaseModel):
    name: str = ""
    data: str = ""


class State(BaseModel):
    n: int = 0
    text: str = ""
    other: str = ""
    numbers: list[int] = []
    notes: Annotated[list[str], append] = []
    parts: Annotated[list[Part], append] = []
    pages: Annotated[dict[str, str], merge] = {}
    own: Annotated[str, longest] = ""
    table: pa.Table | None = None

    model_config = {"arbitrary_types_allowed": True}


SCHEMA = StateSchema.from_type(State)
BIG = "x" * (LARGE_BYTES + 1)
REF = ValueRef("ab" * 32, 300_000)


def spilled(write: dict[str, Any]) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """`write` with references, and the bytes they name."""
    delta, large = pack(SCHEMA, write)
    assert delta == b""
    refs = [ref_of(found.blob) for found in large]
    return refer(write, large, refs), {ref.digest: found.blob for ref, found in zip(refs, large, strict=True)}


def test_small_writes_stay_as_they_are() -> None:
    for write in ({}, {"n": 1, "text": "short"}, {"text": "x" * 1000, "notes": ["a"] * 100, "table": None}):
        assert pack(SCHEMA, write) == (SCHEMA.encode_delta(write), [])


@pytest.mark.parametrize(
    ("write", "places"),
    [
        ({"text": BIG, "n": 1}, [("text", None)]),
        ({"text": BIG, "other": BIG}, [("text", None), ("other", None)]),
        ({"numbers": list(range(40_000))}, [("numbers", None)]),
        ({"notes": ["a", BIG, "b", BIG + "!"]}, [("notes", 1), ("notes", 3)]),
        ({"parts": [Part(name="a"), Part(data=BIG)]}, [("parts", 1)]),
        ({"table": pa.table({"x": list(range(40_000))})}, [("table", None)]),
        ({"text": "x" * (LARGE_BYTES - 2000), "other": "y" * (LARGE_BYTES - 2000)}, []),
        ({"notes": ["x" * 1000] * 1000}, []),
        ({"pages": {"a": BIG}}, []),
        ({"own": BIG}, []),
        ({"text": REF, "notes": [REF, "a"]}, []),
        ({"text": REF, "other": BIG}, [("other", None)]),
    ],
)
def test_what_is_large(write: dict[str, Any], places: list[tuple[str, int | None]]) -> None:
    delta, large = pack(SCHEMA, write)

    assert [(found.channel, found.index) for found in large] == places
    assert (delta == b"") == bool(places)


def test_it_is_read_back_as_it_was() -> None:
    table = pa.table({"x": list(range(40_000))})
    write = {"n": 1, "text": BIG, "notes": ["a", BIG, "b"], "parts": [Part(data=BIG)], "table": table}
    small, blobs = spilled(write)
    delta = SCHEMA.encode_delta(small)

    assert len(delta) < 1000
    assert small["n"] == 1
    assert [type(item) for item in small["notes"]] == [str, ValueRef, str]
    stored = SCHEMA.decode_delta(delta)
    assert stored == small
    assert SCHEMA.unloaded(stored) == ["notes", "parts", "text", "table"]
    assert unpack(SCHEMA.channel("text"), blobs[stored["text"].digest], item=False) == BIG
    assert unpack(SCHEMA.channel("notes"), blobs[stored["notes"][1].digest], item=True) == BIG
    assert unpack(SCHEMA.channel("parts"), blobs[stored["parts"][0].digest], item=True) == Part(data=BIG)
    assert unpack(SCHEMA.channel("table"), blobs[stored["table"].digest], item=False).equals(table)


def test_a_state_with_references_is_stored_and_read() -> None:
    state = {**SCHEMA.initial(), "n": 2, "text": REF, "notes": [REF, "a", REF]}

    assert SCHEMA.decode_state(SCHEMA.encode_state(state)) == state


def test_the_same_value_in_two_channels_is_the_same_bytes() -> None:
    small, blobs = spilled({"text": BIG, "other": BIG, "notes": [BIG]})

    assert small["text"] == small["other"] == small["notes"][0]
    assert len(blobs) == 1


def test_reducers_take_references() -> None:
    state = SCHEMA.apply(SCHEMA.initial(), {"notes": ["a"], "text": "b"})
    state = SCHEMA.apply(state, {"notes": [REF], "text": REF})

    assert (state["notes"], state["text"]) == (["a", REF], REF)
    assert SCHEMA.combine([{"notes": [REF]}, {"notes": ["b"], "text": REF}]) == [{"notes": [REF, "b"], "text": REF}]


def test_the_state_after_a_write_has_its_references() -> None:
    before = SCHEMA.apply(SCHEMA.initial(), {"notes": ["a"], "n": 1})
    write = {"notes": [BIG], "text": BIG, "n": 2}
    small, _ = spilled(write)
    after = small_state(SCHEMA, before, SCHEMA.apply(before, write), write, small)

    assert after == SCHEMA.apply(before, small)
    assert small_state(SCHEMA, before, after, {"n": 2}, {"n": 2}) is after


def test_what_reads_a_reference_asks_for_it() -> None:
    state = {**SCHEMA.initial(), "text": REF, "notes": ["a", REF]}

    assert SCHEMA.view(state, ["n", "other"]) == State()
    assert SCHEMA.plain(state, ["n"]) == {"n": 0}
    assert render("{n}", state) == "0"
    for read, channels in (
        (lambda: SCHEMA.view(state, None), ("text", "notes")),
        (lambda: SCHEMA.view(state, ["notes", "n"]), ("notes",)),
        (lambda: SCHEMA.plain(state), ("text", "notes")),
        (lambda: SCHEMA.plain(state, {"text"}), ("text",)),
        (lambda: render("{n} {text}", state), ("text",)),
        (lambda: render_value({"a": ["{notes}"]}, state), ("notes",)),
    ):
        with pytest.raises(NotLoaded) as missing:
            read()
        assert missing.value.channels == channels


def test_the_planner_asks_for_what_decides() -> None:
    graph = Graph("w", state=State)
    graph.node(_nothing, name="one")
    graph.node(_nothing, name="two")
    graph.map("each", over="notes", node="item", into="parts")
    graph.node(_nothing, name="item")
    graph.edge(START, "one")
    graph.edge("one", "two", when="state.n == 0 && state.text == 'x'")
    graph.edge("one", "each", default=True)
    graph.edge("two", END)
    graph.edge("each", END)
    plan = Plan(graph.model(), SCHEMA, {})
    cursor = Cursor(turn=1, status=ThreadState.RUNNING, node="one")
    finished = planner.NodeFinished()

    def asked(state: dict[str, Any]) -> tuple[str, ...]:
        with pytest.raises(NotLoaded) as missing:
            planner.advance(plan, cursor, finished, {**SCHEMA.initial(), **state}, 2)
        return missing.value.channels

    assert asked({"text": REF, "other": REF}) == ("text",)
    assert asked({"notes": REF, "other": REF}) == ("notes",)

    def after(state: dict[str, Any]) -> Cursor:
        return planner.advance(plan, cursor, finished, {**SCHEMA.initial(), **state}, 2)

    assert after({"text": "x", "notes": REF}).node == "two"
    fork = after({"text": "y", "notes": ["a", REF]}).fork
    assert fork is not None
    assert (fork.node, fork.size) == ("each", 2)


def _nothing(state: State) -> dict[str, Any]:
    return {}


def test_tables_are_neither_copied_nor_compressed() -> None:
    table = pa.table({"x": pa.array(range(200_000), pa.int64())})
    assert at_least(SCHEMA, {"table": table}, LARGE_BYTES)
    blob = encode_value(SCHEMA.channel("table").type, table)
    found = unpack(SCHEMA.channel("table"), blob, item=False)

    stored, column = pa.py_buffer(blob), found["x"].chunk(0).buffers()[1]
    assert stored.address < column.address < stored.address + stored.size
    assert stored.size < table.nbytes + 1000
    assert found.equals(table)


def test_a_slice_is_stored_without_the_rest() -> None:
    table = pa.table({"x": pa.array(range(200_000), pa.int64())}).slice(10, 5)

    assert not at_least(SCHEMA, {"table": table}, LARGE_BYTES)
    assert len(encode_value(SCHEMA.channel("table").type, table)) < 1000


def test_values_of_other_types_are_noticed() -> None:
    text = encode_value(SCHEMA.channel("text").type, BIG)
    table = encode_value(SCHEMA.channel("table").type, pa.table({"x": [1]}))

    for channel, blob in (("numbers", text), ("table", text), ("text", table), ("table", table[:-9])):
        with pytest.raises(SchemaError):
            unpack(SCHEMA.channel(channel), blob, item=False)


def test_damaged_references() -> None:
    state = {**SCHEMA.initial(), "text": REF, "notes": [REF, "a"]}
    blob = SCHEMA.encode_state(state)
    rng = random.Random(7)
    for _ in range(1000):
        damaged = bytearray(blob)
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        try:
            found = SCHEMA.decode_state(bytes(damaged))
        except SchemaError:
            continue
        assert found == state
    for length in range(len(blob)):
        with pytest.raises(SchemaError, match="stored state cannot be read: "):
            SCHEMA.decode_state(blob[:length])


def test_references_of_another_schema_are_noticed() -> None:
    class Other(BaseModel):
        gone: str = ""

    with pytest.raises(SchemaError, match="has channels that the schema has not: 'gone'"):
        SCHEMA.decode_delta(StateSchema.from_type(Other).encode_delta({"gone": REF}))


def test_an_item_that_does_not_fit() -> None:
    with pytest.raises(StateInvalid):
        pack(SCHEMA, {"notes": [BIG, 5]})


def test_the_write_itself_is_not_changed() -> None:
    write = {"notes": ["a", BIG]}
    found = LargeValue("notes", 1, BIG, memoryview(b"bytes"))

    assert refer(write, [found], [REF]) == {"notes": ["a", REF]}
    assert write == {"notes": ["a", BIG]}
