"""Conditions of edges: CEL expressions over `state`, compiled once, and Python predicates."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cel

from graphs.errors import GraphInvalid, GreenroomError, RoutingError
from graphs.functions import Function, resolve
from graphs.workflow.edge import Condition
from graphs.workflow.problems import unknown

STATE = "state"
MAX_LENGTH = 4_000
"""Characters an expression may have."""

FUNCTIONS = frozenset({
    "bytes", "contains", "double", "duration", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek",
    "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "hasValue",
    "int", "matches", "none", "of", "ofNonZeroValue", "orValue", "size", "startsWith", "string", "timestamp", "type",
    "uint", "value",
})  # fmt: skip
"""What an expression may call; the library itself notices an unknown name only when it is called."""
_TYPES = frozenset({
    "bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "optional", "string", "timestamp",
    "type", "uint",
})  # fmt: skip
_EVALUATION_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)

# The library tells the variables of an expression, not their fields. So `state.kind` is rewritten to
# `_channel_kind.kind` for a second compilation: its variables then name the channels. Inside string literals and
# behind another variable the same text is replaced too, where it is no variable and is not reported.
_FIELD = re.compile(
    r"""\bstate(?=\s*\.\s*(?P<field>[A-Za-z_]\w*)(?!\w*\s*\()|\s*\[\s*(?P<q>["'])(?P<key>\w+)(?P=q)\s*\])"""
)
_CHANNEL = "_channel_"
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled CEL expression. Call it with a plain state (see `StateSchema.plain`).

    Attributes:
        source: Its text.
        channels: Channels it names.
        whole: Whether it also uses `state` as a whole, so that any channel may matter.
        strangers: Variables that are neither `state`, nor types, nor bound inside the expression.
        missing: Functions it calls that do not exist.
    """

    source: str
    channels: frozenset[str]
    whole: bool
    strangers: tuple[str, ...]
    missing: tuple[str, ...]
    program: cel.Program

    def __call__(self, state: Mapping[str, Any]) -> bool:
        """Whether it holds; raises RoutingError if it cannot be told, or is neither true nor false."""
        # Values are converted one by one for each evaluation: give it only those it looks at.
        seen = state if self.whole else {name: state[name] for name in self.channels if name in state}
        try:
            result = self.program.execute({STATE: dict(seen)})
        except _EVALUATION_ERRORS as error:
            raise RoutingError(
                f'condition "{_shown(self.source)}" failed: {_reason(error)}',
                expression=self.source,
                reason=_reason(error),
            ) from error
        if not isinstance(result, bool):
            raise RoutingError(
                f'condition "{_shown(self.source)}" must be true or false, and is {result!r}; '
                "compare it with something",
                expression=self.source,
                reason=f"not a bool: {type(result).__name__}",
            )
        return result


@dataclass(frozen=True, slots=True)
class PythonPredicate:
    """A Python predicate of a graph. Call it with the state it is to see."""

    ref: str
    function: Function

    def __call__(self, state: Any) -> bool:
        """What the function says; raises RoutingError if it raises, or answers neither True nor False."""
        try:
            result = self.function(state)
        except GreenroomError:
            raise
        except Exception as error:
            raise RoutingError(
                f"predicate {self.ref} raised {type(error).__name__}: {error}", expression=self.ref, reason=str(error)
            ) from error
        if not isinstance(result, bool):
            raise RoutingError(
                f"predicate {self.ref} must answer True or False, and answered {result!r}",
                expression=self.ref,
                reason=f"not a bool: {type(result).__name__}",
            )
        return result


@lru_cache(maxsize=4096)
def compile_expression(source: str) -> Expression:
    """Compile a CEL expression; the same text is compiled once.

    Raises:
        GraphInvalid: It is not CEL; the message says why and where, on one line.
    """
    if len(source) > MAX_LENGTH:
        raise GraphInvalid(f"a condition has {len(source)} characters, more than {MAX_LENGTH}; use a Python predicate")
    try:
        program = cel.compile(source)
        fields = cel.compile(_FIELD.sub(lambda match: _CHANNEL + (match["field"] or match["key"]), source))
    except ValueError as error:
        raise GraphInvalid(f'condition "{_shown(source)}" does not compile: {_syntax(error)}') from error
    names = set(fields.variables())
    channels = frozenset(name.removeprefix(_CHANNEL) for name in names if name.startswith(_CHANNEL))
    allowed = {STATE, *_TYPES, *_BOUND.findall(source)}
    return Expression(
        source=source,
        channels=channels,
        whole=STATE in names,
        strangers=tuple(sorted(name for name in names - allowed if not name.startswith(_CHANNEL))),
        missing=tuple(name for name in program.functions() if name.isidentifier() and name not in FUNCTIONS),
        program=program,
    )


def compile_condition(condition: Condition, functions: Mapping[str, Function]) -> Expression | PythonPredicate:
    """The predicate that `condition` describes.

    Args:
        condition: A CEL expression, or the name of a Python predicate.
        functions: Python callables by `module:qualname`; what is not in it is imported.

    Raises:
        GraphInvalid: The expression does not compile, or the condition has none or both of the two forms.
        NotFoundError: The Python predicate cannot be found.
    """
    match condition:
        case Condition(cel=str() as source, function=None):
            return compile_expression(source)
        case Condition(cel=None, function=str() as ref):
            return PythonPredicate(ref, resolve(ref, functions))
        case _:
            raise GraphInvalid("a condition is either a CEL expression or a Python predicate")


def expression_problems(source: str, channels: Collection[str] | None) -> list[str]:
    """What is wrong with a CEL expression; empty if nothing is.

    Args:
        source: The expression.
        channels: Names of the state's channels; None skips the check of them.
    """
    try:
        expression = compile_expression(source)
    except GraphInvalid as error:
        return [error.message]
    found = [
        f'no variable "{name}"; a condition sees only `state`: write `state.{name}` for a channel'
        for name in expression.strangers
    ]
    found += [unknown("function", name, FUNCTIONS) for name in expression.missing]
    if channels is not None:
        found += [unknown("channel", name, channels) for name in sorted(expression.channels - set(channels))]
    return found


def _shown(source: str) -> str:
    """`source` on one line, cut if it is long."""
    line = " ".join(source.split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def _reason(error: Exception) -> str:
    """The first sentence of an evaluation error, on one line."""
    if isinstance(error, KeyError):
        return f"state has no {error}"
    return " ".join(str(error).split()).split(". ")[0].removesuffix(".")


def _syntax(error: ValueError) -> str:
    """`column 12: mismatched input ...` out of the library's drawing."""
    lines = [line for line in str(error).splitlines() if "ERROR: <input>:" in line] or [str(error)]
    place, _, reason = lines[0].partition("ERROR: <input>:")[2].partition(": ")
    row, _, column = place.partition(":")
    reason = reason.removeprefix("Syntax error: ").partition(" expecting ")[0]
    if not column:
        return lines[0]
    return f"column {column}: {reason}" if row == "1" else f"line {row}, column {column}: {reason}"
