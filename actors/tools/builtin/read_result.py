"""Parts of results that were too long for a model to be given."""

from __future__ import annotations

from typing import Any

from actors.errors import ToolError
from actors.tools.native import tool
from graphs.results import part_of, ref_in

MAX_LIMIT = 20_000


@tool(tags=("results",))
def read_result(handle: str, path: str | None = None, offset: int = 0, limit: int = 4_000) -> dict[str, Any]:
    """Read a part of a long result of a tool.

    Args:
        handle: The handle of the result, such as result:3f...:70000.
        path: JSONPath of what is meant within it, such as $.items[3].name; by default all of it, as text.
        offset: How many items of a list, or characters of everything else, to leave out.
        limit: Most items or characters to read, at most 20,000.

    Raises:
        ToolError: It is no handle of this session, the path leads nowhere, or a number is out of its range.
    """
    if ref_in(handle) is not None:
        raise _refusal("handle: only an agent of the session that has the result can read it")
    if offset < 0 or not 1 <= limit <= MAX_LIMIT:
        raise _refusal(f"offset must be 0 or more, and limit from 1 to {MAX_LIMIT}, got {offset} and {limit}")
    try:
        return part_of(handle, path, offset, limit)
    except ValueError as error:
        raise _refusal(f"path: {error}") from error


def _refusal(problem: str) -> ToolError:
    return ToolError(f"read_result: {problem}", tool="read_result", problems=[problem])
