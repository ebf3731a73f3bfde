"""The calculator agrees with Python where both have an answer, and never does anything but answer or refuse."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.errors import ToolError
from actors.tools.builtin.calculator import MAX_BITS, calculator

INTS = st.integers(min_value=0, max_value=10**6).map(str)
FLOATS = st.floats(min_value=0, max_value=1e6, allow_nan=False).map(repr)
ONE_ARGUMENT = st.sampled_from(["abs", "ceil", "cos", "exp", "floor", "log", "round", "sin", "sqrt", "trunc"])
TWO_ARGUMENTS = st.sampled_from(["max", "min", "pow", "atan2", "hypot"])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%"])


def composed(parts: st.SearchStrategy[str], operators: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, parts, operators, parts),
        st.builds("-{}".format, parts),
        st.builds("{}({})".format, ONE_ARGUMENT, parts),
        st.builds("{}({}, {})".format, TWO_ARGUMENTS, parts, parts),
    )


ARITHMETIC = st.recursive(
    st.one_of(INTS, FLOATS),
    lambda parts: st.one_of(
        st.builds("({} {} {})".format, parts, OPERATORS, parts),
        st.builds("({} ** {})".format, parts, st.integers(-3, 3).map("({})".format)),
        st.builds("-{}".format, parts),
        st.builds("round({})".format, parts),
        st.builds("sqrt(abs({}))".format, parts),
    ),
    max_leaves=12,
)
ANYTHING = st.recursive(
    st.one_of(INTS, FLOATS, st.sampled_from(["pi", "e", "x", "True", "'s'", "1j", "9" * 300, "1e300", "[1]"])),
    lambda parts: composed(parts, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<<", "^", "and", "<", ","])),
    max_leaves=20,
)


def by_python(expression: str) -> int | float | None:
    """What Python computes, or None where it has no finite real answer."""
    names = {"sqrt": math.sqrt, "abs": abs, "round": round}
    try:
        value = eval(compile(expression, "<test>", "eval"), {"__builtins__": {}}, names)
    except (ArithmeticError, ValueError):
        return None
    return value if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)) else None


def outcome(expression: str) -> int | float | ToolError:
    """The calculator's answer, or its refusal."""
    try:
        return calculator(expression)
    except ToolError as error:
        return error


@given(ARITHMETIC)
def test_it_agrees_with_python(expression: str) -> None:
    expected = by_python(expression)
    answer = outcome(expression)

    if isinstance(answer, ToolError):
        # Python computes with infinities and with numbers of any size on the way; the calculator stops at them.
        assert expected is None or "too large" in answer.message
    else:
        assert (answer, type(answer)) == (expected, type(expected))


@given(ANYTHING)
@example("9**9**9")
@example("9**9**9**9")
@example("10**-10**10")
@example("round(5, -10**10)")
@example("(" + "9" * 450 + ")**(" + "9" * 450 + ")")
@example("*".join(["10**999"] * 20))
@example("**".join(["9.9"] * 200))
@example("-" * 900 + "1")
@example("(" * 450 + "1" + ")" * 450)
@example("+".join(["1"] * 333))
def test_it_answers_or_refuses_at_once(expression: str) -> None:
    started = time.process_time()
    answer = outcome(expression)
    spent_s = time.process_time() - started

    assert spent_s < 1.0
    if isinstance(answer, ToolError):
        assert answer.tool == "calculator"
        assert "\n" not in answer.message
    elif isinstance(answer, float):
        assert math.isfinite(answer)
    else:
        assert type(answer) is int
        assert answer.bit_length() <= MAX_BITS


@given(st.text(max_size=1_200))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_any_text_is_answered_or_refused(text: str) -> None:
    answer = outcome(text)

    assert type(answer) in (int, float) or (isinstance(answer, ToolError) and "\n" not in answer.message)
