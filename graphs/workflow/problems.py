"""Problems of a graph: what they look like, and how several become one error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pydantic
from pydantic_core import ErrorDetails

from graphs.errors import GraphInvalid
from graphs.suggest import did_you_mean

SHOWN = 3
"""Problems that the message of an error shows; `GraphInvalid.problems` has them all."""

_CHOICE = re.compile(r"literal\[.*\]|int|constrained-float|str|function|llm|tool|call|fork|map|subworkflow|human|wait")
"""What pydantic adds to the place of a value in a union: the choice it tried."""
_UNIONS = frozenset({"config", "join", "seconds"})


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a graph; prints like `edges[3].target: no node "anwser"; did you mean "answer"?`."""

    path: str
    """Where, such as `nodes[2].config.prompt`."""
    message: str
    """What, and what to do about it; one line."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """`no node "anwser"; did you mean "answer"?`, or the names there are if none is close and they are few."""
    names = sorted(known)
    hint = did_you_mean(name, names)
    if not hint and names and len(names) <= 8:
        hint = "; choose one of " + ", ".join(f'"{each}"' for each in names)
    return f'no {kind} "{name}"{hint}'


def invalid(what: str, problems: Sequence[Problem]) -> GraphInvalid:
    """The error that reports `problems` of `what`: its message is one line, its `problems` are complete."""
    texts = [" ".join(str(problem).split()) for problem in problems]
    shown = "; ".join(texts[:SHOWN])
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return GraphInvalid(f"{what}: {shown}{more}", problems=texts)


def from_pydantic(error: pydantic.ValidationError, at: str = "") -> list[Problem]:
    """What pydantic found, one problem for each place; `at` is the path of the value it looked at."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        path = at + _path(detail["loc"])
        found.setdefault(path.removeprefix("."), _message(detail, path))
    return [Problem(path, message) for path, message in found.items()]


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    previous: int | str = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (previous in _UNIONS and _CHOICE.fullmatch(part)):
            text += f".{part}"
        previous = part
    return text


def _message(detail: ErrorDetails, path: str) -> str:
    kind = detail["type"]
    if path.endswith(".join"):
        return 'must be "all", "any" or a number of branches'
    if kind == "extra_forbidden":
        return "there is no such option"
    if kind == "missing":
        return "is missing"
    if path.endswith(".seconds"):
        return "must be a number of seconds from 0, or the name of a channel"
    if kind == "string_type" and isinstance(detail["input"], int | float):
        return "must be a text; put it in quotes"
    return detail["msg"].removeprefix("Value error, ")
