"""Route functions and their registry."""

import pytest
from pydantic import BaseModel

from graphs.errors import BusinessRuleViolation, GraphInvalid, NotFoundError, RoutingError
from graphs.journal import Usage
from graphs.messages import Message
from graphs.workflow.edge import Route
from graphs.workflow.routing import SHIPPED_ROUTES, RouteContext, RouteFunction, RouteRegistry

CONTEXT = RouteContext(steps=5, turn=1, usage=Usage(prompt_tokens=60, completion_tokens=40, calls=1))
CALL = {"id": "c", "name": "calculator", "arguments": "{}"}
TALK = [
    {"role": "user", "content": "What is 6 * 7?", "tool_calls": []},
    {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
]


def ask(function, state, paths, context=CONTEXT, **parameters):
    """The targets; each answer leads to itself."""
    route = Route(function=function, parameters=parameters, path_map={path: path for path in paths})
    return SHIPPED_ROUTES.bind(route, {})(state, context)


@pytest.mark.parametrize(
    ("function", "parameters", "state", "expected"),
    [
        ("has_tool_calls", {}, {"text": "a", "talk": TALK}, "tools"),
        ("has_tool_calls", {"channel": "talk"}, {"talk": TALK[:1]}, "none"),
        ("has_tool_calls", {}, {"talk": []}, "none"),
        ("has_tool_calls", {}, {"talk": [Message(role="assistant", tool_calls=[CALL])]}, "tools"),
        ("tool_call_count", {"threshold": 2}, {"talk": TALK}, "reached"),
        ("tool_call_count", {"threshold": 3}, {"talk": TALK}, "below"),
        ("tool_call_count", {"threshold": 1}, {"talk": []}, "below"),
        ("state_value", {"channel": "kind"}, {"kind": "math"}, "math"),
        ("state_value", {"channel": "kind"}, {"kind": True}, "true"),
        ("state_value", {"channel": "kind"}, {"kind": None}, "null"),
        ("state_value", {"channel": "kind"}, {"kind": 3}, "3"),
        ("threshold", {"channel": "n", "value": 3}, {"n": 3}, "reached"),
        ("threshold", {"channel": "n", "value": 3}, {"n": 2.9}, "below"),
        ("threshold", {"channel": "n", "value": 2}, {"n": ["a", "b"]}, "reached"),
        ("message_contains", {"keywords": ["urgent"]}, {"text": "It is URGENT", "notes": []}, "matched"),
        ("message_contains", {"keywords": ["urgent"]}, {"text": "hi", "notes": ["a", "so urgent"]}, "matched"),
        ("message_contains", {"keywords": ["urgent"]}, {"text": "hi", "n": 3, "nothing": None}, "not_matched"),
        (
            "message_contains",
            {"keywords": ["urgent"], "channel": "notes"},
            {"text": "urgent", "notes": []},
            "not_matched",
        ),
        ("message_contains", {"keywords": ["URGENT"], "case_sensitive": True}, {"text": "urgent"}, "not_matched"),
        ("message_contains", {"keywords": ["6 * 7"]}, {"talk": TALK[:1]}, "matched"),
        ("message_contains", {"keywords": ["6 * 7"]}, {"talk": TALK}, "not_matched"),
        ("message_contains", {"keywords": ["a", "b"]}, {"talk": [Message(role="user", content="b")]}, "matched"),
        ("budget", {"max_tokens": 100}, {}, "within"),
        ("budget", {"max_tokens": 99}, {}, "exceeded"),
        ("budget", {"max_steps": 5, "max_tokens": 100}, {}, "within"),
        ("budget", {"max_steps": 4}, {}, "exceeded"),
    ],
)
def test_shipped_route_functions(function, parameters, state, expected):
    registered = SHIPPED_ROUTES.get(function)

    assert ask(function, state, registered.answers or [expected], **parameters) == (expected,)


def test_state_value_of_a_list_answers_with_each_item_once():
    assert ask("state_value", {"kinds": ["b", "a", "b"]}, ["a", "b"], channel="kinds") == ("b", "a")


def test_an_empty_list_is_no_answer():
    with pytest.raises(RoutingError, match="route function state_value gave no answer"):
        ask("state_value", {"kinds": []}, ["a"], channel="kinds")


def test_threshold_of_a_text_is_an_error():
    with pytest.raises(RoutingError, match="threshold: channel \"n\" holds 'a', which is no number"):
        ask("threshold", {"n": "a"}, ["reached", "below"], channel="n", value=1)


def test_an_unknown_channel_is_an_error_with_the_nearest_name():
    with pytest.raises(RoutingError, match=r'no channel "knd"; did you mean "kind"\?'):
        ask("state_value", {"kind": "a"}, ["a"], channel="knd")


def test_an_answer_outside_the_path_map_names_both():
    with pytest.raises(RoutingError) as caught:
        ask("state_value", {"kind": "maths"}, ["math", "chat"], channel="kind")

    assert str(caught.value) == (
        "route function state_value answered 'maths', which is not in its path map (math, chat); did you mean \"math\"?"
    )
    assert caught.value.fields == {
        "function": "state_value",
        "answer": "maths",
        "path_map": {"math": "math", "chat": "chat"},
    }


@pytest.mark.parametrize(
    ("function", "parameters", "problems"),
    [
        (
            "message_contains",
            {"keyword": ["a"]},
            ["keywords: is missing", 'keyword: no parameter "keyword"; did you mean "keywords"?'],
        ),
        ("message_contains", {"keywords": []}, ["keywords: List should have at least 1 item after validation, not 0"]),
        ("budget", {"max_tokens": -1}, ["max_tokens: Input should be greater than or equal to 0"]),
        (
            "threshold",
            {"channel": "n", "value": "many"},
            ["value: Input should be a valid number, unable to parse string as a number"],
        ),
    ],
)
def test_wrong_parameters_are_found_when_it_is_bound(function, parameters, problems):
    with pytest.raises(GraphInvalid) as caught:
        SHIPPED_ROUTES.bind(Route(function=function, parameters=parameters, path_map={}), {})

    assert caught.value.problems == problems


def test_a_python_function_gets_state_and_parameters():
    seen = []

    def choose(state, *, limit):
        seen.append((state, limit))
        return ["big", "odd"]

    route = Route(function="m:choose", parameters={"limit": 2}, path_map={"big": "x", "odd": "y", "small": "z"})
    bound = SHIPPED_ROUTES.bind(route, {"m:choose": choose})

    assert bound({"n": 3}, CONTEXT) == ("x", "y")
    assert (seen, bound.python) == ([({"n": 3}, 2)], True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda state: 1 / 0, "route function m:f raised ZeroDivisionError: division by zero"),
        (lambda state: None, "route function m:f answered None, which is not in its path map (a); an answer is a text"),
        (lambda state: "b", "route function m:f answered 'b', which is not in its path map (a)"),
    ],
)
def test_a_python_function_that_fails_is_a_routing_error(function, message):
    bound = SHIPPED_ROUTES.bind(Route(function="m:f", path_map={"a": "x"}), {"m:f": function})

    with pytest.raises(RoutingError) as caught:
        bound({}, CONTEXT)

    assert str(caught.value) == message


class Limits(BaseModel):
    at_most: int = 3


def test_a_registered_function_of_the_user():
    routes = SHIPPED_ROUTES.copy()
    function = RouteFunction(
        name="few",
        description="Are there few?",
        call=lambda state, context, *, at_most: "yes" if state["n"] <= at_most else "no",
        parameters=Limits,
        answers=("yes", "no"),
    )
    routes.register(function)

    assert routes.bind(Route(function="few", path_map={"yes": "a", "no": "b"}), {})({"n": 3}, CONTEXT) == ("a",)
    assert function.parameter_schema == {
        "properties": {"at_most": {"default": 3, "title": "At Most", "type": "integer"}},
        "title": "Limits",
        "type": "object",
    }
    assert [known.name for known in routes.list()] == sorted([known.name for known in SHIPPED_ROUTES.list()] + ["few"])


def test_a_function_without_parameters_takes_none():
    routes = RouteRegistry.of([RouteFunction(name="one", description="", call=lambda state, context: "a")])

    with pytest.raises(GraphInvalid, match='x: no parameter "x"'):
        routes.bind(Route(function="one", parameters={"x": 1}, path_map={"a": "b"}), {})


def test_a_name_is_registered_once_and_has_no_colon():
    routes = SHIPPED_ROUTES.copy()
    with pytest.raises(BusinessRuleViolation, match='a route function "budget" exists already'):
        routes.register(RouteFunction(name="budget", description="", call=lambda state, context: "a"))
    with pytest.raises(BusinessRuleViolation, match="must not have a colon"):
        routes.register(RouteFunction(name="m:f", description="", call=lambda state, context: "a"))


def test_an_unknown_function_is_not_found():
    with pytest.raises(NotFoundError) as caught:
        SHIPPED_ROUTES.get("message_contain")

    assert str(caught.value) == 'no route function "message_contain"; did you mean "message_contains"?'
    assert caught.value.fields == {"kind": "route", "key": "message_contain"}
