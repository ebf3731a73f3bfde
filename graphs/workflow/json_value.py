"""Values that JSON and YAML hold exactly: what users may put into a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator


def plain_json(value: Any, place: str = "") -> Any:
    """`value` with its tuples as lists; raises ValueError, naming the place, if JSON cannot hold it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [plain_json(item, f"{place}[{index}]") for index, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"{place.removeprefix('.') or 'a mapping'}: the key {key!r} is not a text")
            return {key: plain_json(item, f"{place}.{key}") for key, item in value.items()}
        case _:
            where = f"{place.removeprefix('.')}: " if place else ""
            raise ValueError(f"{where}{_shown(value)} cannot be written as JSON")


Json = Annotated[Any, AfterValidator(plain_json)]
"""Type of a field that holds such a value."""


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"
