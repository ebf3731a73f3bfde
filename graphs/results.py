"""Large results of tools: what models are told in their place, and reading parts of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from graphs.json_paths import compile_path, found_by
from graphs.state.refs import ValueRef

LARGE_RESULT_BYTES = 32 * 1024
"""JSON text above which a model is not given the result of a tool, but its handle."""
PREVIEW_CHARACTERS = 1_000
READER = "read_result"
"""The tool that models read parts of results with."""
_HANDLE = re.compile(r"result:([0-9a-f]{64}):([0-9]{1,15})")
_SHOWN_FIELDS = 20
_SHOWN_DEPTH = 3


def handle_of(ref: ValueRef) -> str:
    """What models call a stored result."""
    return f"result:{ref.digest}:{ref.size_bytes}"


def ref_in(value: Any) -> ValueRef | None:
    """The stored result whose handle `value` is, if it is one."""
    found = _HANDLE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else ValueRef(found[1], int(found[2]))


def mentions_handle(text: str) -> bool:
    """Whether there is a handle somewhere in a text."""
    return _HANDLE.search(text) is not None


def told_of(output: Any, text: str, ref: ValueRef) -> str:
    """What a model is told in place of a result: its handle, its form, and how its text begins.

    Args:
        output: The result.
        text: The same as text.
        ref: Where it is stored.
    """
    told = {
        "handle": handle_of(ref),
        "size_bytes": ref.size_bytes,
        "form": outline(output),
        "preview": text[:PREVIEW_CHARACTERS],
        "note": f"Too long to be shown. Read parts with {READER}, or give the handle to a tool as an argument.",
    }
    return msgspec.json.encode(told).decode()


def outline(value: Any, depth: int = _SHOWN_DEPTH) -> Any:
    """The form of a JSON value: of an object its fields, of a list the first item and how many there are."""
    match value:
        case str():
            return f"string of {len(value)} characters"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case Mapping():
            if not depth:
                return f"object of {len(value)} fields"
            fields = {str(key): outline(value[key], depth - 1) for key in list(value)[:_SHOWN_FIELDS]}
            return fields | ({"...": f"{len(value) - _SHOWN_FIELDS} more"} if len(value) > _SHOWN_FIELDS else {})
        case Sequence():
            if not depth or not value:
                return f"list of {len(value)} items"
            return {f"list of {len(value)} items, such as": outline(value[0], depth - 1)}
        case _:
            return type(value).__name__


def part_of(text: str, path: str | None, offset: int, limit: int) -> dict[str, Any]:
    """A part of a result.

    Args:
        text: The result as text.
        path: JSONPath (RFC 9535) of what is meant within it; None: the text.
        offset: How many items of a list, or characters of everything else, come before the part.
        limit: Most items or characters in it.

    Raises:
        ValueError: The path is none, or the text no JSON.
    """
    whole: Any = text if path is None else found_by(compile_path(path), msgspec.json.decode(text))
    if not isinstance(whole, str | list):
        whole = msgspec.json.encode(whole).decode()
    return {
        "part": whole[offset : offset + limit],
        "offset": offset,
        "total": len(whole),
        "unit": "items" if isinstance(whole, list) else "characters",
    }
