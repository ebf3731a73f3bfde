import operator
import pickle  # noqa: TID251 - as Ray does with the functions of a driver
from decimal import Decimal

import pytest

from graphs.errors import NotFoundError, SchemaError
from graphs.messages import Message
from graphs.state.reducers import add, add_messages, append, last_value, merge, own_reducer, reducer_named

INT64_MAX = 2**63 - 1


def said(text, message_id=""):
    return Message(role="user", content=text, id=message_id)


@pytest.mark.parametrize(
    ("reducer", "old", "new", "result"),
    [
        (last_value, 1, 2, 2),
        (last_value, 1, None, None),
        (append, ["a"], ["b", "c"], ["a", "b", "c"]),
        (append, None, ["b"], ["b"]),
        (append, ["a"], None, ["a"]),
        (add, 1, 2, 3),
        (add, None, 2, 2),
        (add, Decimal("0." + "1" * 37), Decimal("1" * 37), Decimal("1" * 37 + "." + "1" * 37)),
        (merge, {"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        (merge, None, {"b": 2}, {"b": 2}),
        (own_reducer(operator.add), [1], [2], [1, 2]),
        (own_reducer(operator.add), None, [2], [2]),
    ],
)
def test_apply(reducer, old, new, result):
    assert reducer.apply(old, new) == result
    assert reducer(old, new) == result


def test_apply_changes_neither_value():
    old, new = ["a"], ["b"]
    append.apply(old, new).append("c")
    append.apply(None, new).append("c")
    merge.apply({}, written := {"a": 1})["b"] = 2
    assert (old, new, written) == (["a"], ["b"], {"a": 1})


def test_messages_with_a_known_id_are_replaced():
    old = [said("one", "1"), said("no id"), said("two", "2")]
    new = [said("TWO", "2"), said("no id"), said("three", "3"), said("THREE", "3")]
    assert add_messages.apply(old, new) == [
        said("one", "1"),
        said("no id"),
        said("TWO", "2"),
        said("no id"),
        said("THREE", "3"),
    ]


@pytest.mark.parametrize(
    ("reducer", "writes", "combined"),
    [
        (last_value, [1, 2, None], [None]),
        (append, [["a"], ["b", "c"], None], [["a", "b", "c"]]),
        (append, [None], []),
        (add, [1, 2, 3], [6]),
        (add, [INT64_MAX, 1, -2], [INT64_MAX, -1]),
        (merge, [{"a": 1}, {"b": 1}, {"a": 2}], [{"a": 2, "b": 1}]),
        (add_messages, [[said("x", "1")], [said("y", "1")]], [[said("x", "1"), said("y", "1")]]),
        (own_reducer(operator.add), [[1], [2]], [[1], [2]]),
        (last_value, [], []),
    ],
)
def test_combine(reducer, writes, combined):
    assert reducer.combine(writes) == combined


def test_reducers_by_name():
    assert reducer_named("append", {}) is append
    assert reducer_named("a:b", {"a:b": max}).apply(1, 2) == 2
    imported = reducer_named("operator:concat", {})
    assert (imported.loaded, imported.apply("a", "b")) == (False, "ab")
    with pytest.raises(NotFoundError, match='cannot import "nowhere:f"'):
        reducer_named("nowhere:f", {}).apply(1, 2)
    with pytest.raises(SchemaError, match='no reducer "apend"; did you mean "append"'):
        reducer_named("apend", {})


def test_own_function_must_take_two_arguments():
    with pytest.raises(SchemaError, match=r"test_own_function_must_take_two_arguments.*must take two arguments"):
        own_reducer(lambda old: old)


def test_shipped_reducers_stay_themselves_when_pickled():
    assert pickle.loads(pickle.dumps(append)) is append
    assert pickle.loads(pickle.dumps(own_reducer(operator.add))).apply(1, 2) == 3
