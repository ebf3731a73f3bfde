"""Parts of JSON values, by path."""

from __future__ import annotations

from itertools import islice
from typing import Any

from jsonpath_rfc9535 import JSONPathError

from actors.errors import ToolError
from actors.tools.native import tool
from graphs.json_paths import compile_path

MAX_FOUND = 1_000
"""Values in one answer."""
MAX_PATH_LENGTH = 500
"""Characters of a path."""
MAX_DESCENTS = 2
"""Times `..` may be in a path: each multiplies the work by the size of the value."""
MAX_FILTERS = 2
"""Filters in a path, for the same reason."""


@tool(tags=("json",))
def json_path(data: dict[str, Any], path: str) -> list[Any]:
    """Look up values in a JSON object by a JSONPath (RFC 9535), such as `$.items[?@.price < 10].name`.

    Args:
        data: The object.
        path: The path.

    Raises:
        ToolError: It is no such path, is too long, or finds too much.
    """
    if len(path) > MAX_PATH_LENGTH:
        raise _refusal(f"has {len(path)} characters; {MAX_PATH_LENGTH} are allowed")
    if path.count("..") > MAX_DESCENTS or path.count("?") > MAX_FILTERS:
        raise _refusal(f"is too costly; {MAX_DESCENTS} times '..' and {MAX_FILTERS} filters are allowed")
    try:
        found = [node.value for node in islice(compile_path(path).finditer(data), MAX_FOUND + 1)]
    except (JSONPathError, RecursionError, ValueError) as error:
        raise _refusal(str(error)) from error
    if len(found) > MAX_FOUND:
        raise _refusal(f"finds more than {MAX_FOUND} values; narrow it")
    return found


def _refusal(problem: str) -> ToolError:
    return ToolError(f"json_path: path: {problem}", tool="json_path")
