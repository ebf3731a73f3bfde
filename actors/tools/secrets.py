"""Secrets of tools: from their names to their values, and out of every text again."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from actors.errors import ToolError

_PREFIX = "secret:"
_HIDDEN = "***"
_SHOWN_CHARACTERS = 500
_MIN_LENGTH = 8
"""Shorter secrets are not looked for in outputs, where they may well be something else."""


def name_of(reference: str) -> str:
    """The name in `secret:NAME`."""
    return reference.removeprefix(_PREFIX)


class Secrets:
    """The secrets that tools may use.

    Args:
        values: Name -> value.
        derived: What was made of them, and is as secret.
    """

    def __init__(self, values: Mapping[str, str], derived: Iterable[str] = ()) -> None:
        self._values = values
        forms = {form for value in (*values.values(), *derived) if value for form in _forms(value)}
        self._hidden = sorted(forms, key=len, reverse=True)
        self._long = [form for form in self._hidden if len(form) >= _MIN_LENGTH]

    def resolve(self, reference: str, tool: str) -> str:
        """The value of `secret:NAME`. Raises `ToolError` if there is none."""
        name = name_of(reference)
        if name not in self._values:
            raise ToolError(f"{tool}: there is no secret {name}; give it in the section secrets", tool=tool)
        return self._values[name]

    def shown(self, text: str) -> str:
        """`text` from outside for people: on one line, cut, and without any secret (servers like to repeat them)."""
        for form in self._hidden:
            text = text.replace(form, _HIDDEN)
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."

    def without(self, output: Any) -> Any:
        """`output` of a tool without any secret that the other side has repeated: it will be journalled."""
        if not self._long:
            return output
        match output:
            case str():
                for form in self._long:
                    output = output.replace(form, _HIDDEN)
                return output
            case bytes():
                for form in self._long:
                    output = output.replace(form.encode(), _HIDDEN.encode())
                return output
            case Mapping():
                return {self.without(key): self.without(value) for key, value in output.items()}
            case list():
                return [self.without(value) for value in output]
            case _:
                return output


def _forms(value: str) -> set[str]:
    """How a value may stand in a text: as it is, and as URLs and headers have it."""
    return {value, quote(value, safe=""), quote_plus(value), base64.b64encode(value.encode()).decode()}
