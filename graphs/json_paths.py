"""JSONPath (RFC 9535) without its regular expressions, the time of which nothing bounds."""

from __future__ import annotations

from typing import Any

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery


class _Environment(JSONPathEnvironment):
    def setup_function_extensions(self) -> None:
        """Those that look at values only."""
        super().setup_function_extensions()
        for name in ("match", "search"):
            del self.function_extensions[name]


_PATHS = _Environment()


def compile_path(path: str) -> JSONPathQuery:
    """The query that `path` is; raises ValueError if it is none."""
    try:
        return _PATHS.compile(path)
    except (JSONPathError, RecursionError) as error:
        raise ValueError(str(error)) from error


def found_by(query: JSONPathQuery, value: Any) -> Any:
    """What `query` finds in `value`: a list; of a path that can find but one, that one, or None if it is not there.

    Raises ValueError if it cannot be told.
    """
    try:
        found = [node.value for node in query.finditer(value)]
    except (JSONPathError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if query.singular_query():
        return found[0] if found else None
    return found
