"""States made without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.state.schema import StateSchema


class StateFactory:
    """Makes states of one schema.

    Args:
        schema: Their schema.
    """

    def __init__(self, schema: StateSchema) -> None:
        self._schema = schema

    def create_state(self, values: Any = None, *, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A state after an input.

        Args:
            values: Channel -> value, or a model or dataclass, as a turn takes them; None: nothing.
            base: The state before; None: what the first turn begins with.

        Raises:
            StateInvalid: The values do not fit; all problems are listed.
        """
        state = self._schema.initial() if base is None else dict(base)
        return state if values is None else self._schema.apply(state, self._schema.check_input(values))
