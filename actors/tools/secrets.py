"""Secrets of tools: from their names to their values, and out of every text again."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

from actors.errors import ToolError

_PREFIX = "secret:"
_HIDDEN = "***"
_SHOWN_CHARACTERS = 500


class Secrets:
    """The secrets that tools may use.

    Args:
        values: Name -> value.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        forms = {form for value in values.values() if value for form in _forms(value)}
        self._hidden = sorted(forms, key=len, reverse=True)

    def resolve(self, reference: str, tool: str) -> str:
        """The value of `secret:NAME`. Raises `ToolError` if there is none."""
        name = reference.removeprefix(_PREFIX)
        if name not in self._values:
            raise ToolError(f"{tool}: there is no secret {name}; give it in the section secrets", tool=tool)
        return self._values[name]

    def shown(self, text: str) -> str:
        """`text` from outside for people: on one line, cut, and without any secret (servers like to repeat them)."""
        for form in self._hidden:
            text = text.replace(form, _HIDDEN)
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."


def _forms(value: str) -> set[str]:
    """How a value may stand in a text: as it is, and as URLs and headers have it."""
    return {value, quote(value, safe=""), quote_plus(value), base64.b64encode(value.encode()).decode()}
