"""Parts of texts, by place and by pattern. Patterns run in RE2, whose time is linear in the text whatever they are."""

from __future__ import annotations

from itertools import islice
from typing import Any

import re2

from actors.errors import ToolError
from actors.tools.native import tool

MAX_MATCHES = 1_000
"""Matches in one answer."""
MAX_PATTERN_LENGTH = 1_000
"""Characters of a pattern."""


@tool(tags=("text",))
def text_slice(text: str, start: int = 0, end: int | None = None) -> str:
    """Cut a part out of a text.

    Args:
        text: The text.
        start: Number of its first character, counted from 0; a negative one counts from the end.
        end: Number of the character behind its last one; by default the end of the text.
    """
    return text[start:end]


@tool(tags=("text",))
def text_search(text: str, pattern: str, ignore_case: bool = False, limit: int = 100) -> list[dict[str, Any]]:
    """Find what matches a regular expression: each match with its place, and its groups.

    Args:
        text: The text.
        pattern: The expression, in the syntax of RE2, which has no back references and does not look around.
        ignore_case: Take small and capital letters for the same.
        limit: Most matches in the answer, at most 1,000.

    Raises:
        ToolError: The pattern is wrong or too long, or the limit is out of its range.
    """
    if not 1 <= limit <= MAX_MATCHES:
        raise _refusal(f"limit: must be from 1 to {MAX_MATCHES}, got {limit}")
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise _refusal(f"pattern: has {len(pattern)} characters; {MAX_PATTERN_LENGTH} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        expression = re2.compile(pattern, options)
    except re2.error as error:
        raise _refusal(f"pattern: {_reason(error)}") from error
    return [
        {
            "match": match.group(),
            "start": match.start(),
            "end": match.end(),
            "groups": list(match.groups()),
            "names": match.groupdict(),
        }
        for match in islice(expression.finditer(text), limit)
    ]


def _reason(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _refusal(problem: str) -> ToolError:
    return ToolError(f"text_search: {problem}", tool="text_search")
