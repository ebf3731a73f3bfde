"""What has changed between two states."""

from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from graphs.messages import Message
from graphs.state.changes import HistoryOperation, StateChange, diff, operation_of, state_diff
from graphs.state.reducers import add_messages
from graphs.state.schema import StateSchema

CREATE, UPDATE, DELETE = HistoryOperation.CREATE, HistoryOperation.UPDATE, HistoryOperation.DELETE
NAN = float("nan")


def changes(found: list[StateChange]) -> list[tuple[HistoryOperation, str, Any, Any]]:
    return [(each.operation, each.field_path, each.old_value, each.new_value) for each in found]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [(UPDATE, "a", 1, 2)]),
        ({"a": 1}, {}, [(DELETE, "a", 1, None)]),
        ({}, {"a": None}, [(CREATE, "a", None, None)]),
        ({"a": None}, {"a": 1}, [(UPDATE, "a", None, 1)]),
        ({"a": 1}, {"a": True}, [(UPDATE, "a", 1, True)]),
        ({"a": NAN}, {"a": NAN}, []),
        ({"a": 1}, {"a": 1.0}, [(UPDATE, "a", 1, 1.0)]),
        ({"a": [1, 2]}, {"a": [1, 2, {"b": [3]}]}, [(CREATE, "a[2]", None, {"b": [3]})]),
        ({"a": [1, 2, 3]}, {"a": [1, 9]}, [(UPDATE, "a[1]", 2, 9), (DELETE, "a[2]", 3, None)]),
        ({"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": 2}]}}, [(UPDATE, "a.b[0].c", 1, 2)]),
        ({"a": {"x": 1}}, {"a": [1]}, [(UPDATE, "a", {"x": 1}, [1])]),
        ({"a": {"two words": 1}}, {"a": {"two words": 2}}, [(UPDATE, 'a["two words"]', 1, 2)]),
        ({"a": {"x": 1, "y": 2}}, {"a": {"z": 3, "y": 2}}, [(DELETE, "a.x", 1, None), (CREATE, "a.z", None, 3)]),
    ],
)
def test_every_change_has_its_path(old, new, wanted):
    assert changes(diff(old, new)) == wanted


class Inner(BaseModel):
    name: str = ""


class State(BaseModel):
    text: str = ""
    inner: Inner = Inner()
    messages: Annotated[list[Message], add_messages] = []
    table: pa.Table | None = None

    model_config = {"arbitrary_types_allowed": True}


SCHEMA = StateSchema.from_type(State)


def test_models_and_messages_are_compared_by_their_fields():
    old = SCHEMA.apply(
        SCHEMA.initial(), SCHEMA.check_input({"messages": [{"role": "user", "content": "a", "id": "1"}]})
    )
    write = SCHEMA.check_input(
        {
            "inner": {"name": "x"},
            "messages": [{"role": "user", "content": "b", "id": "1"}, {"role": "assistant", "content": "c"}],
        }
    )
    new = SCHEMA.apply(old, write)

    assert changes(state_diff(SCHEMA, old, new)) == [
        (UPDATE, "inner.name", "", "x"),
        (UPDATE, "messages[0].content", "a", "b"),
        (CREATE, "messages[1]", None, SCHEMA.plain(new)["messages"][1]),
    ]


def test_appended_items_are_found_behind_those_that_stay():
    old = SCHEMA.apply(SCHEMA.initial(), SCHEMA.check_input({"messages": ["a", "b"]}))
    new = SCHEMA.apply(old, SCHEMA.check_input({"messages": ["c"]}))

    assert [change.field_path for change in state_diff(SCHEMA, old, new)] == ["messages[2]"]
    assert [change.operation for change in state_diff(SCHEMA, new, old)] == [DELETE]


def test_a_table_of_the_same_size_with_other_values_is_a_change():
    tables = [pa.table({"x": [1, 2]}), pa.table({"x": [1, 3]}), pa.table({"x": [1, 2]})]
    states = [SCHEMA.apply(SCHEMA.initial(), {"table": table}) for table in tables]

    assert [change.field_path for change in state_diff(SCHEMA, states[0], states[1])] == ["table"]
    assert state_diff(SCHEMA, states[0], states[2]) == []


def test_an_entry_that_only_takes_away_deletes():
    taken, put = diff({"a": [1]}, {"a": []}), diff({"a": []}, {"a": [1]})

    assert operation_of(taken, first=False, restored=False) is DELETE
    assert operation_of([*taken, *put], first=False, restored=False) is UPDATE
    assert operation_of([], first=False, restored=False) is UPDATE
    assert operation_of(taken, first=True, restored=False) is CREATE
    assert operation_of(taken, first=True, restored=True) is HistoryOperation.RESTORE


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a machine that is busy
@given(st.dictionaries(st.sampled_from("abc"), values), st.dictionaries(st.sampled_from("abc"), values))
def test_there_are_changes_exactly_where_states_differ(old, new):
    found = diff(old, new)

    assert (found == []) == _equal(old, new)
    swapped = {(each.field_path, repr(each.new_value), repr(each.old_value)) for each in diff(new, old)}
    assert {(each.field_path, repr(each.old_value), repr(each.new_value)) for each in found} == swapped


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_equal(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_equal, old, new))
    return type(old) is type(new) and old == new
