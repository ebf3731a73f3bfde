"""The builtin tools."""

from __future__ import annotations

import math

import pytest

from actors.errors import ToolError
from actors.tools.builtin.calculator import calculator
from actors.tools.builtin.text_stats import text_stats


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("6 * 7", 42),
        ("  (1 + 2) * -3 ", -9),
        ("7 // 2 + 7 % 2 - 7 / 2", 0.5),
        ("2 ** 100", 2**100),
        ("10 ** -10 ** 10", 0.0),
        ("1 ** 10 ** 900", 1),
        ("1_000 + 0x10 + 1e3", 2016.0),
        ("sqrt(16) + abs(-2) + max(1, 2.5, 2)", 8.5),
        ("round(2.567, 1) + round(2.5)", 4.6),
        ("log(8, 2) + floor(2.9) + ceil(2.1) + trunc(-2.9)", 6.0),
        ("cos(pi) + gcd(12, 18) + hypot(3, 4)", 10.0),
        ("round(5, -300)", 0),
    ],
)
def test_calculator(expression: str, value: float) -> None:
    answer = calculator(expression)

    assert answer == value
    assert type(answer) is type(value)


TOO_LARGE = "a number is too large; whole numbers may have 1,000 digits, others about 1.8e308"
NO_EXPRESSION = "this is no arithmetic expression; write one such as (1 + 2) * 3"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 / 0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9 ** 9 ** 9", TOO_LARGE),
        ("pow(9, 9 ** 9)", TOO_LARGE),
        ("10 ** 999 * 10 ** 999", TOO_LARGE),
        ("10 ** 999 * 1.0", TOO_LARGE),
        ("1e308 * 10", TOO_LARGE),
        ("1e999", TOO_LARGE),
        ("exp(1000)", TOO_LARGE),
        ("(-8) ** (1 / 3)", "the result is no real number"),
        ("sqrt(-1)", "sqrt(-1) is not defined"),
        ("round(5, -10 ** 10)", "round(5, -10000000000) is not defined"),
        ("round(1.5, 0.5)", "round(1.5, 0.5) is not defined"),
        ("gcd(1.5, 2)", "gcd(1.5, 2) is not defined"),
        ("max(1)", "max takes 2 to 20 numbers, got 1"),
        ("sin()", "sin takes 1 numbers, got 0"),
        ("sqr(4)", 'unknown name "sqr"; did you mean "sqrt"?'),
        ("sin", "sin is a function; write sin(...)"),
        ("2 ^ 3", "^ is not supported; write ** for powers"),
        ("'a' * 3", "'a' is no number"),
        ("True + 1", "True is no number"),
        ("3j", "3j is no number"),
        ("(1).real", "Attribute is not supported; use numbers, + - * / // % **, parentheses and functions"),
        ("[x for x in (1,)]", "ListComp is not supported; use numbers, + - * / // % **, parentheses and functions"),
        ("1 << 2", "BinOp is not supported; use numbers, + - * / // % **, parentheses and functions"),
        ("round(number=3)", "Call is not supported; use numbers, + - * / // % **, parentheses and functions"),
        ("", NO_EXPRESSION),
        ("1 +", NO_EXPRESSION),
        ("\0", NO_EXPRESSION),
        ("a = 1", NO_EXPRESSION),
        ("(" * 300 + "1" + ")" * 300, NO_EXPRESSION),
        ("-" * 600 + "1", "the expression has too many parts; 1000 are allowed"),
        ("-" * 450 + "1", "the expression is nested more than 400 levels deep"),
        ("1" * 1_001, "the expression has 1001 characters; 1000 are allowed"),
    ],
)
def test_calculator_refuses(expression: str, reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        calculator(expression)

    assert caught.value.message == f"calculator: {reason}"
    assert caught.value.fields == {"tool": "calculator"}


def test_an_unknown_name_that_is_near_nothing_lists_what_is_known() -> None:
    with pytest.raises(ToolError, match=r'^calculator: unknown name "__import__"; known are pi, e, tau, abs, .*trunc$'):
        calculator("__import__('os')")


def test_trigonometry_is_that_of_math() -> None:
    assert calculator("atan2(1, 2) + degrees(asin(0.5)) + radians(acos(0.5))") == (
        math.atan2(1, 2) + math.degrees(math.asin(0.5)) + math.radians(math.acos(0.5))
    )


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", (0, 0, 0, 0)),
        (" \n ", (3, 0, 2, 0)),
        ("One.", (4, 1, 1, 1)),
        ("No full stop", (12, 3, 1, 1)),
        ('He said "stop!" Then 3.14 came...\nWhy?!', (39, 7, 2, 3)),
        ("你好。再见\uff01", (6, 1, 1, 2)),
        ("... !!", (6, 2, 1, 0)),
    ],
)
def test_text_stats(text: str, counts: tuple[int, int, int, int]) -> None:
    assert text_stats(text) == dict(zip(("chars", "words", "lines", "sentences"), counts, strict=True))
