"""The function of the template `retrieval`."""

from __future__ import annotations

from typing import Any


def nothing_found(state: Any) -> dict[str, Any]:
    """An answer without a model, where there is nothing it could answer from."""
    return {"answer": f"No file says anything about: {state.question}"}
