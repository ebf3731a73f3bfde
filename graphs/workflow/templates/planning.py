"""The functions of the template `plan-and-execute`."""

from __future__ import annotations

from typing import Any

MAX_STEPS = 5
"""Steps of a plan that are carried out."""


def choose(state: Any) -> dict[str, Any]:
    """The step that is next; empty when all are done."""
    done, steps = len(state.results), state.steps[:MAX_STEPS]
    return {"step": steps[done] if done < len(steps) else ""}


def note(state: Any) -> dict[str, Any]:
    """What came of the step, with the step before it."""
    return {"results": [f"{state.step}: {' '.join(state.result.split())}"]}
