"""Conditions: CEL expressions and Python predicates."""

import threading

import cel
import pytest

from graphs.errors import GraphInvalid, NotFoundError, RoutingError
from graphs.workflow.conditions import (
    FUNCTIONS,
    PythonPredicate,
    compile_condition,
    compile_expression,
    expression_problems,
)
from graphs.workflow.edge import Condition

STATE = {"kind": "math", "n": 3, "score": 0.5, "tags": ["a", "b"], "none": None, "part": {"name": "x"}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("state.kind == 'math'", True),
        ("state.n > 2.5", True),
        ("state['kind'] == 'chat'", False),
        ("state.tags.exists(tag, tag == 'b')", True),
        ("size(state.tags) == 2 && !(state.n in [1, 2])", True),
        ("state.none == null", True),
        ("has(state.part.name) && state.part.name == 'x'", True),
        ("state.missing == 1 || true", True),
        ("'n' in state && state.n == 3", True),
        ("type(state.n) == int", True),
    ],
)
def test_an_expression_holds_or_not(source, expected):
    assert compile_expression(source)(STATE) is expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("state.missing == 1", "state has no 'missing'"),
        ("state.n / 0 == 1", "division by zero in CEL expression"),
        ("state.tags[7] == 'a'", "index out of bounds: 7"),
        (
            "state.n > 'a'",
            "No such overload: the operation is not defined for the given operand types",
        ),
    ],
)
def test_an_evaluation_error_names_expression_and_reason(source, reason):
    with pytest.raises(RoutingError) as caught:
        compile_expression(source)(STATE)

    assert str(caught.value) == f'condition "{source}" failed: {reason}'
    assert caught.value.fields == {"expression": source, "reason": reason}


def test_a_result_that_is_no_bool_is_an_error():
    with pytest.raises(RoutingError) as caught:
        compile_expression("state.n + 1")(STATE)

    assert str(caught.value) == 'condition "state.n + 1" must be true or false, and is 4; compare it with something'


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("state.kind = 'a'", "column 12: token recognition error at: '= '"),
        ("state.kind ==", "column 14: mismatched input '<EOF>'"),
        ("", "column 1: mismatched input '<EOF>'"),
        ("state.kind ==\n&& true", "line 2, column 1: extraneous input '&&'"),
    ],
)
def test_a_compile_error_is_one_line_with_its_place(source, problem):
    with pytest.raises(GraphInvalid) as caught:
        compile_expression(source)

    shown = " ".join(source.split())
    assert str(caught.value) == f'condition "{shown}" does not compile: {problem}'


def test_a_huge_expression_is_refused_before_it_is_compiled():
    with pytest.raises(GraphInvalid, match="a condition has 5001 characters, more than 4000"):
        compile_expression("!" * 4_997 + "true")


def test_deep_nesting_is_an_error():
    with pytest.raises(GraphInvalid, match="does not compile"):
        compile_expression("(" * 1_000 + "true" + ")" * 1_000)


def test_the_channels_of_an_expression_are_known():
    source = """state.kind == 'state.quoted' && has(state . n) && state["tags"].exists(state_x, state_x == 'a')
        && {'a': {'state': {'inner': 1}}}.a.state.inner == 1"""

    expression = compile_expression(source)

    assert (expression.channels, expression.whole, expression.strangers) == ({"kind", "n", "tags"}, False, ())


def test_use_of_the_whole_state_is_noticed():
    expression = compile_expression("size(state) == 2 && state.n == 3")

    assert (expression.channels, expression.whole) == ({"n"}, True)
    assert expression({"n": 3, "m": 1}) is True


def test_only_the_channels_it_names_are_converted():
    assert compile_expression("state.n == 3")({"n": 3, "other": object()}) is True


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        ("state.kind == 'math'", []),
        ("state.kid == 1", ['no channel "kid"; did you mean "kind"?']),
        (
            "state['knd'] == state.zz",
            ['no channel "knd"; did you mean "kind"?', 'no channel "zz"; choose one of "kind", "n"'],
        ),
        ("kind == 'math'", ['no variable "kind"; a condition sees only `state`: write `state.kind` for a channel']),
        ("siz(state.kind) > 1", ['no function "siz"; did you mean "size"?']),
        ("state.n =! 1", ["condition \"state.n =! 1\" does not compile: column 9: token recognition error at: '=!'"]),
    ],
)
def test_problems_of_an_expression(source, problems):
    assert expression_problems(source, ["kind", "n"]) == problems


def test_channels_are_not_checked_without_a_schema():
    assert expression_problems("state.anything == 1", None) == []


def test_the_functions_we_list_exist():
    """Each of them can be called, so the list is right as long as the library has nothing more."""
    calls = {
        "bytes": "bytes('a') == b'a'",
        "contains": "'ab'.contains('b')",
        "double": "double(1) == 1.0",
        "duration": "duration('1h') == duration('60m')",
        "dyn": "dyn(1) == 1",
        "endsWith": "'ab'.endsWith('b')",
        "hasValue": "optional.of(1).hasValue()",
        "int": "int('1') == 1",
        "matches": "'ab'.matches('^a')",
        "none": "!optional.none().hasValue()",
        "of": "optional.of(1).value() == 1",
        "ofNonZeroValue": "!optional.ofNonZeroValue(0).hasValue()",
        "orValue": "optional.none().orValue(1) == 1",
        "size": "size('a') == 1",
        "startsWith": "'ab'.startsWith('a')",
        "string": "string(1) == '1'",
        "timestamp": "timestamp('2020-01-01T00:00:00Z') == timestamp('2020-01-01T00:00:00Z')",
        "type": "type(1) == int",
        "uint": "uint(1) == 1u",
        "value": "optional.of(1).value() == 1",
    }
    for name in FUNCTIONS - set(calls):
        calls[name] = f"timestamp('2020-01-01T00:00:00Z').{name}() >= 0"

    assert {name for name, source in calls.items() if cel.evaluate(source) is True} == FUNCTIONS
    assert [expression_problems(source, None) for source in calls.values()] == [[] for _ in calls]


def test_the_same_text_is_compiled_once():
    assert compile_expression("state.n == 99") is compile_expression("state.n == 99")


def test_a_compiled_expression_works_in_another_thread():
    expression = compile_expression("state.n == 98")
    found = []
    thread = threading.Thread(target=lambda: found.append(expression({"n": 98})))
    thread.start()
    thread.join()

    assert found == [True]


def is_long(state):
    return state["n"] > 2


def test_a_python_predicate_gets_the_state():
    predicate = compile_condition(Condition(function="somewhere:is_long"), {"somewhere:is_long": is_long})

    assert isinstance(predicate, PythonPredicate)
    assert (predicate({"n": 3}), predicate({"n": 1})) == (True, False)


def test_a_python_predicate_that_fails_is_a_routing_error():
    predicate = PythonPredicate("m:f", is_long)

    with pytest.raises(RoutingError, match=r"^predicate m:f raised KeyError: 'n'$"):
        predicate({})


def test_a_python_predicate_must_answer_with_a_bool():
    with pytest.raises(RoutingError, match="predicate m:f must answer True or False, and answered 3"):
        PythonPredicate("m:f", lambda state: 3)({})


def test_a_condition_has_exactly_one_form():
    for condition in (Condition(), Condition(cel="true", function="m:f")):
        with pytest.raises(GraphInvalid, match="either a CEL expression or a Python predicate"):
            compile_condition(condition, {})


def test_a_missing_predicate_is_not_found():
    with pytest.raises(NotFoundError, match='cannot import "no_such_module:f"'):
        compile_condition(Condition(function="no_such_module:f"), {})
