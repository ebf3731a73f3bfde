"""The functions of the template `load`."""

from __future__ import annotations

from typing import Any


def begin(_: Any) -> dict[str, Any]:
    """A turn begins with its first round."""
    return {"round": 0}


def keep(state: Any) -> dict[str, Any]:
    """The conversation grows by one answer."""
    return {"answers": [state.answer]}
