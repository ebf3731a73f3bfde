"""Help for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from graphs.errors import ValidationError

_Choice = TypeVar("_Choice", bound=StrEnum)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message about the unknown `name`: `; did you mean "answer"?`, or nothing if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def one_of(kind: type[_Choice], what: str, name: str) -> _Choice:
    """The member of `kind` that `name` names. Raises `ValidationError`, which says what there is of `what`."""
    try:
        return kind(name)
    except ValueError:
        known = ", ".join(kind)
        problem = f"no {what} {name!r}{did_you_mean(str(name), list(kind)) or f'; there are {known}'}"
        raise ValidationError(problem, problems=[problem]) from None
