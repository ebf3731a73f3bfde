import dataclasses
import json
import operator
from typing import Annotated, Any, Literal, TypedDict

import pyarrow as pa
import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from graphs.errors import SchemaError, StateInvalid
from graphs.messages import Message
from graphs.state.reducers import add, add_messages, append, merge
from graphs.state.schema import StateSchema


class Part(BaseModel):
    name: str
    size: int = 0

    def label(self):
        return f"{self.name}:{self.size}"


class Ticket(BaseModel):
    text: str = ""
    kind: Literal["chat", "math"] = "chat"
    notes: Annotated[list[str], append] = ["first"]
    count: Annotated[int, add] = 0
    facts: Annotated[dict[str, int], merge] = {}
    messages: Annotated[list[Message], add_messages] = []
    seen: Annotated[list[int], operator.add] = []
    parts: list[Part] = []
    anything: Any = None
    owner: str

    def shout(self):
        return self.text.upper()


SCHEMA = StateSchema.from_type(Ticket)
REBUILT = StateSchema.from_spec(json.loads(json.dumps(SCHEMA.to_spec())), SCHEMA.own_reducers)
INITIAL = {
    "text": "",
    "kind": "chat",
    "notes": ["first"],
    "count": 0,
    "facts": {},
    "messages": [],
    "seen": [],
    "parts": [],
    "anything": None,
    "owner": None,
}


def assistant(text):
    return Message(role="assistant", content=text)


def problems_of(call, *args):
    with pytest.raises(StateInvalid) as caught:
        call(*args)
    return caught.value.problems


def test_schema_of_a_model():
    assert SCHEMA.name == "Ticket"
    assert list(SCHEMA.channels) == list(INITIAL)
    assert SCHEMA.arrow_schema.field("kind").type == pa.dictionary(pa.int32(), pa.string())
    assert dict(SCHEMA.own_reducers) == {"_operator:add": operator.add}
    assert [name for name, channel in SCHEMA.channels.items() if channel.required] == ["owner"]
    assert [name for name, channel in SCHEMA.channels.items() if channel.holds_messages] == ["messages"]
    assert [name for name, channel in SCHEMA.channels.items() if channel.holds_list] == [
        "notes",
        "messages",
        "seen",
        "parts",
    ]


def test_initial_states_share_nothing():
    first = SCHEMA.initial()
    assert first == INITIAL
    first["notes"].append("x")
    assert SCHEMA.initial() == INITIAL


def test_typed_dict_and_dataclass():
    class AsDict(TypedDict, total=False):
        text: str
        notes: Annotated[list[str], append]
        seen: Annotated[list[int], operator.add]

    @dataclasses.dataclass
    class AsData:
        text: str
        notes: Annotated[list[str], append] = dataclasses.field(default_factory=list)
        seen: Annotated[list[int], operator.add] = dataclasses.field(default_factory=list)

    spec = {
        "channels": {
            "text": {"type": "string"},
            "notes": {"type": {"list": "string"}, "reducer": "append", "default": []},
            "seen": {"type": {"list": "int64"}, "reducer": "_operator:add", "default": []},
        }
    }
    for t, expected in (
        (AsDict, {"text": "a", "notes": ["b"], "seen": [1]}),
        (AsData, AsData("a", ["b"], [1])),
    ):
        schema = StateSchema.from_type(t)
        assert schema.to_spec() == spec
        state = schema.apply(schema.initial(), schema.check_input({"text": "a", "notes": "b", "seen": [1]}))
        assert schema.view(state, None) == expected
    assert StateSchema.from_type(AsData).check_input(AsData("a", seen=[2])) == {"text": "a", "seen": [2]}


@pytest.mark.parametrize("t", [int, Ticket(owner="x"), {"text": str}])
def test_not_a_state_type(t):
    with pytest.raises(SchemaError, match="cannot be a state; use a pydantic model, a TypedDict or a dataclass"):
        StateSchema.from_type(t)


def test_misplaced_reducers():
    class State(BaseModel):
        a: Annotated[str, append] = ""
        b: Annotated[list[str], merge] = []
        c: Annotated[str, add] = ""
        d: Annotated[list[str], add_messages] = []
        e: Annotated[list[str], append, operator.add] = []
        f: Annotated[int, lambda: 1] = 0

    with pytest.raises(SchemaError) as caught:
        StateSchema.from_type(State)
    *first, last = caught.value.problems
    assert first == [
        "a: reducer append works on a list, and its type is 'string'",
        "b: reducer merge works on a dict[str, ...], and its type is {'list': 'string'}",
        "c: reducer add works on an int, float or Decimal, and its type is 'string'",
        "d: reducer add_messages works on a list[Message], and its type is {'list': 'string'}",
        "e: has 2 reducers; give it one",
    ]
    assert last.startswith("f: reducer test_state_schema:") or "must take two arguments" in last


def test_two_reducers_of_one_name_are_told_apart():
    class State(BaseModel):
        a: Annotated[int, lambda old, new: old * new] = 1
        b: Annotated[int, lambda old, new: old - new] = 1

    with pytest.raises(SchemaError, match=r"two reducers are called .*<lambda>; make them functions with names"):
        StateSchema.from_type(State)


def test_validators_of_the_model():
    class State(BaseModel):
        model_config = ConfigDict(str_strip_whitespace=True)
        text: str = Field(default="", max_length=5)

        @field_validator("text")
        @classmethod
        def lower(cls, text):
            return text.lower()

    schema = StateSchema.from_type(State)
    assert schema.check_input({"text": " ABC "}) == {"text": "abc"}
    assert problems_of(schema.check_input, {"text": "abcdef"}) == ["text: String should have at most 5 characters"]

    class Whole(State):
        @model_validator(mode="after")
        def consistent(self):
            return self

    with pytest.raises(SchemaError, match="model validators cannot run"):
        StateSchema.from_type(Whole)


def test_check_input():
    assert SCHEMA.check_input({}) == {}
    assert SCHEMA.check_input({"text": "a", "notes": "n", "parts": [{"name": "p"}]}) == {
        "text": "a",
        "notes": ["n"],
        "parts": [Part(name="p")],
    }
    assert SCHEMA.check_input(Ticket(owner="ada", notes=["x"])) == {"owner": "ada", "notes": ["x"]}


def test_check_input_tells_all_problems():
    found = problems_of(SCHEMA.check_input, {"txt": "a", "text": 1, "kind": "x", "notes": ["a", 2], "count": 2**63})
    assert found == [
        'txt: no such channel; did you mean "text"?',
        "text: Input should be a valid string",
        "kind: Input should be 'chat' or 'math'",
        "notes[1]: Input should be a valid string",
        "count: is outside the range of 64-bit integers; use a float or a string channel",
    ]
    assert problems_of(SCHEMA.check_input, [1]) == ["must be a mapping, not list"]


def test_check_write():
    assert SCHEMA.check_write("n", None, None) == {}
    assert SCHEMA.check_write("n", {"text": "a"}, ("text",)) == {"text": "a"}
    with pytest.raises(StateInvalid) as caught:
        SCHEMA.check_write("n", {"text": "a", "kind": 1, "nots": 1}, ("kind",))
    assert caught.value.message == (
        "node 'n' returned: text: is not among the channels it writes (kind); kind: Input should be 'chat' or 'math'; "
        'nots: no such channel; did you mean "notes"?'
    )
    assert caught.value.node == "n"
    with pytest.raises(StateInvalid, match="node 'n' returned Ticket; it must return a dict of the channels it writes"):
        SCHEMA.check_write("n", Ticket(owner="x"), None)


@pytest.mark.parametrize(
    ("channel", "written", "held"),
    [
        ("notes", "one", ["one"]),
        ("notes", ["one", "two"], ["one", "two"]),
        ("messages", "hello", [assistant("hello")]),
        ("messages", ["a", {"role": "user"}], [assistant("a"), Message(role="user")]),
        (
            "messages",
            Message(role="tool", content="4", tool_call_id="1"),
            [Message(role="tool", content="4", tool_call_id="1")],
        ),
        ("messages", {"role": "user", "content": "q"}, [Message(role="user", content="q")]),
    ],
)
def test_a_single_item_may_be_written(channel, written, held):
    assert SCHEMA.check_write("n", {channel: written}, None) == {channel: held}


@pytest.mark.parametrize(
    ("channel", "written", "problem"),
    [
        ("notes", 5, "notes: Input should be a valid string"),
        ("notes", None, "notes: Input should be a valid string"),
        ("messages", 5, "messages: Input should be a valid dictionary or object to extract fields from"),
        ("messages", [{"role": "robot"}], "messages[0].role: Input should be 'system', 'user', 'assistant' or 'tool'"),
    ],
)
def test_items_that_do_not_fit(channel, written, problem):
    assert problems_of(SCHEMA.check_write, "n", {channel: written}, None) == [problem]


def test_items_that_are_lists_or_anything():
    class State(BaseModel):
        rows: Annotated[list[list[int]], append] = []
        things: Annotated[list[Any], append] = []
        maybe: Annotated[list[str] | None, append] = None

    schema = StateSchema.from_type(State)
    write = schema.check_write("n", {"rows": [1, 2], "things": {"a": 1}, "maybe": "x"}, None)
    assert write == {"rows": [[1, 2]], "things": [{"a": 1}], "maybe": ["x"]}
    assert schema.apply(schema.initial(), write) == write
    assert schema.apply(write, schema.check_write("n", {"rows": [[3], [4]], "maybe": None}, None)) == {
        "rows": [[1, 2], [3], [4]],
        "things": [{"a": 1}],
        "maybe": ["x"],
    }


def test_apply_makes_a_new_state():
    state = SCHEMA.initial()
    write = SCHEMA.check_write(
        "n", {"text": "t", "notes": "n", "count": 2, "facts": {"a": 1}, "messages": "m", "seen": [1]}, None
    )
    once = SCHEMA.apply(state, write)
    twice = SCHEMA.apply(once, write)
    assert state == INITIAL
    assert once == {
        **INITIAL,
        "text": "t",
        "notes": ["first", "n"],
        "count": 2,
        "facts": {"a": 1},
        "messages": [assistant("m")],
        "seen": [1],
    }
    assert twice == {**once, "notes": ["first", "n", "n"], "count": 4, "messages": [assistant("m")] * 2, "seen": [1, 1]}


def test_reducers_that_fail():
    def broken(old, new):
        if new == 1:
            raise KeyError("x")
        return "text"

    class State(BaseModel):
        a: Annotated[int, broken] = 0
        total: Annotated[int, add] = 2**63 - 1

    schema = StateSchema.from_type(State)
    (raised,) = problems_of(schema.apply, schema.initial(), {"a": 1})
    assert raised.endswith("broken raised KeyError: 'x'")
    assert problems_of(schema.apply, schema.initial(), {"a": 2}) == [
        "a: Input should be a valid integer, unable to parse string as an integer"
    ]
    assert problems_of(schema.apply, schema.initial(), {"total": 1}) == [
        "total: the sum is outside the range of 64-bit integers; use a float or a string channel"
    ]
    assert problems_of(schema.apply, schema.initial(), {"totl": 1}) == ['totl: no such channel; did you mean "total"?']


def test_combine():
    writes = [
        {"text": "a", "seen": [1]},
        {"notes": ["x"], "seen": [2]},
        {"text": "b", "notes": ["y"], "count": 1},
        {"count": 2},
    ]
    assert SCHEMA.combine(writes) == [{"text": "b", "seen": [1], "notes": ["x", "y"], "count": 3}, {"seen": [2]}]
    assert SCHEMA.combine([]) == []


def test_view_is_the_users_class():
    state = {**SCHEMA.initial(), "text": "a", "parts": [Part(name="p")], "owner": "ada"}
    view = SCHEMA.view(state, None)
    assert type(view) is Ticket
    assert (view.shout(), view.parts[0].label(), view.notes) == ("A", "p:0", ["first"])
    assert view == Ticket.model_construct(**state)
    assert SCHEMA.view(state, ["text"]) == Ticket.model_construct(**{**INITIAL, "text": "a"})
    assert SCHEMA.view(state, ["text"], as_dict=True) == {**INITIAL, "text": "a"}
    with pytest.raises(StateInvalid, match='no channel "txt"; did you mean "text"'):
        SCHEMA.view(state, ["txt"])


def test_lists_of_a_view_are_copies():
    state = SCHEMA.initial()
    SCHEMA.view(state, None).notes.append("x")
    SCHEMA.view(state, ["notes"]).notes.append("x")
    SCHEMA.view(state, ["text"]).notes.append("x")
    assert (state, SCHEMA.initial()) == (INITIAL, INITIAL)


def test_a_rebuilt_schema_takes_the_users_objects():
    assert REBUILT.to_spec() == SCHEMA.to_spec()
    assert dict(REBUILT.own_reducers) == dict(SCHEMA.own_reducers)
    write = REBUILT.check_write("n", {"parts": [Part(name="p", size=3)]}, None)
    state = REBUILT.apply(REBUILT.initial(), write)
    view = REBUILT.view(state, None)
    assert (view.parts[0].name, view.parts[0].size, view.notes, view.owner) == ("p", 3, ["first"], None)
    assert REBUILT.plain(state) == {**INITIAL, "parts": [{"name": "p", "size": 3}]}


def test_blobs_are_the_same_for_both():
    state = {**SCHEMA.initial(), "parts": [Part(name="p", size=3)]}
    assert REBUILT.plain(REBUILT.decode_state(SCHEMA.encode_state(state))) == SCHEMA.plain(state)


def test_plain():
    state = {
        **SCHEMA.initial(),
        "parts": [Part(name="p")],
        "messages": [Message(role="user", content="q", id="1")],
        "anything": {"a": [1]},
    }
    message = {"role": "user", "content": "q", "id": "1", "name": None, "tool_call_id": None, "tool_calls": []}
    assert SCHEMA.plain(state) == {
        **INITIAL,
        "parts": [{"name": "p", "size": 0}],
        "messages": [message],
        "anything": {"a": [1]},
    }
    assert SCHEMA.plain(state, only={"parts"}) == {"parts": [{"name": "p", "size": 0}]}
