"""Arithmetic on numbers, in bounded time and memory.

The expression is parsed by Python's own parser and walked node by node; only what the tables below name is computed.
Whole numbers are bounded, and what would make one too large is refused before it is computed.
"""

from __future__ import annotations

import ast
import math
import operator
import reprlib
import threading
from collections.abc import Callable
from typing import Any

from actors.errors import ToolError
from actors.tools.native import tool
from graphs.suggest import did_you_mean

_PARSING = threading.Lock()
"""CPython 3.11 counts the depth of a conversion to `ast` for the whole interpreter (its issue 106905): two threads that
convert at once may fail. Tools run in threads."""
MAX_LENGTH = 1_000
"""Characters of an expression."""
MAX_NODES = 1_000
"""Nodes of its syntax tree."""
MAX_DEPTH = 400
"""Levels of its syntax tree; a chain such as 1+1+1 has one level for each operator."""
MAX_BITS = 3_322
"""Bits of a whole number: 1,000 decimal digits."""
MAX_ROUND_DIGITS = 400
"""Largest second argument of round, in either direction."""

Number = int | float


@tool(tags=("math",))
def calculator(expression: str) -> int | float:
    """Compute an arithmetic expression such as `(1 + 2) * sqrt(16) / 3`.

    Knows + - * / // % **, parentheses, the constants pi, e and tau, and the functions abs, acos, asin, atan, atan2,
    ceil, cos, degrees, exp, floor, gcd, hypot, log, log10, log2, max, min, pow, radians, round, sin, sqrt, tan and
    trunc.

    Args:
        expression: The expression, in Python's notation.

    Raises:
        ToolError: It is no such expression, is too long, has no real and finite value, or a number in it is too large.
    """
    if len(expression) > MAX_LENGTH:
        raise _refusal(f"the expression has {len(expression)} characters; {MAX_LENGTH} are allowed")
    try:
        with _PARSING:
            tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal("this is no arithmetic expression; write one such as (1 + 2) * 3") from error
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise _refusal(f"the expression has too many parts; {MAX_NODES} are allowed")
    return _value(tree.body, 1)


def _refusal(reason: str) -> ToolError:
    return ToolError(f"calculator: {reason}", tool="calculator")


def _too_large() -> ToolError:
    return _refusal("a number is too large; whole numbers may have 1,000 digits, others about 1.8e308")


def _value(node: ast.expr, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise _refusal(f"the expression is nested more than {MAX_DEPTH} levels deep")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _compute(_UNARY[type(op)], "", [_value(operand, depth + 1)])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _compute(_BINARY[type(op)], "", [_value(left, depth + 1), _value(right, depth + 1)])
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _FUNCTIONS:
            function, fewest, most = _FUNCTIONS[name]
            if not fewest <= len(given) <= most:
                counts = str(fewest) if fewest == most else f"{fewest} to {most}"
                raise _refusal(f"{name} takes {counts} numbers, got {len(given)}")
            return _compute(function, name, [_value(argument, depth + 1) for argument in given])
    raise _refusal(_explain(node))


def _compute(function: Callable[..., Any], name: str, numbers: list[Number]) -> Number:
    try:
        return _bounded(function(*numbers))
    except ZeroDivisionError:
        raise _refusal("division by zero") from None
    except OverflowError:
        raise _too_large() from None
    except (TypeError, ValueError):
        shown = ", ".join(f"{number:.6g}" if isinstance(number, float) else str(number)[:20] for number in numbers)
        raise _refusal(f"{name}({shown}) is not defined") from None


def _bounded(value: Any) -> Number:
    if isinstance(value, complex):
        raise _refusal("the result is no real number")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _too_large()
        return value
    if value.bit_length() > MAX_BITS:
        raise _too_large()
    return int(value)


def _power(base: Number, exponent: Number) -> Any:
    # A whole number of b bits to the power n has at least (b - 1) * n bits.
    if isinstance(base, int) and isinstance(exponent, int) and (abs(base).bit_length() - 1) * exponent > MAX_BITS:
        raise _too_large()
    return base**exponent


def _round(number: Number, digits: Number | None = None) -> Number:
    if digits is None:
        return round(number)
    if not isinstance(digits, int) or abs(digits) > MAX_ROUND_DIGITS:
        raise ValueError(digits)
    return round(number, digits)


def _explain(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=value):
            return f"{reprlib.repr(value)} is no number"
        case ast.Name(id=name) if name in _FUNCTIONS:
            return f"{name} is a function; write {name}(...)"
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name not in _FUNCTIONS:
            known = [*_CONSTANTS, *_FUNCTIONS]
            return f'unknown name "{name[:40]}"{did_you_mean(name, known) or "; known are " + ", ".join(known)}'
        case ast.BinOp(op=ast.BitXor()):
            return "^ is not supported; write ** for powers"
    return f"{type(node).__name__} is not supported; use numbers, + - * / // % **, parentheses and functions"


_CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
#: name -> function, fewest and most arguments
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (abs, 1, 1),
    "acos": (math.acos, 1, 1),
    "asin": (math.asin, 1, 1),
    "atan": (math.atan, 1, 1),
    "atan2": (math.atan2, 2, 2),
    "ceil": (math.ceil, 1, 1),
    "cos": (math.cos, 1, 1),
    "degrees": (math.degrees, 1, 1),
    "exp": (math.exp, 1, 1),
    "floor": (math.floor, 1, 1),
    "gcd": (math.gcd, 2, 20),
    "hypot": (math.hypot, 1, 20),
    "log": (math.log, 1, 2),
    "log10": (math.log10, 1, 1),
    "log2": (math.log2, 1, 1),
    "max": (max, 2, 20),
    "min": (min, 2, 20),
    "pow": (_power, 2, 2),
    "radians": (math.radians, 1, 1),
    "round": (_round, 1, 2),
    "sin": (math.sin, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "tan": (math.tan, 1, 1),
    "trunc": (math.trunc, 1, 1),
}
