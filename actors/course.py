"""How the state of a thread has come about lately: what others who have had it before need to have it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphs.state.schema import StateSchema

_MAX_DELTAS = 64


@dataclass(slots=True)
class Held:
    """The state of a thread as an executor has it."""

    state_id: str
    """What the executor calls it: its address, a slash, a number."""
    deltas: list[bytes] = field(default_factory=list)
    """Encoded writes since."""

    @property
    def address(self) -> str:
        """The executor."""
        return self.state_id.rpartition("/")[0]


class Course:
    """The writes of a thread's turn, and who knows the state before which of them."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Any]] = []
        """What the turn has written, its input not included."""
        self.size_bytes = 0
        """About how many the state has, encoded; less if that is not known."""
        self.encoded = b""
        """The state, encoded; empty if nobody has needed that since it changed."""
        self._input: tuple[bytes, ...] = ()
        self._began_after: int | None = None
        """Seq before the turn, if the state has come from that by `_input` and `written` alone."""
        self._held: dict[str, Held] = {}
        """By kind of executors."""

    def begin(self, after: int, deltas: tuple[bytes, ...]) -> None:
        """A turn begins after seq `after`, with an input."""
        self.written, self._input, self._began_after = [], deltas, after
        self._changed(deltas)

    def wrote(self, writes: Sequence[Mapping[str, Any]], deltas: Sequence[bytes]) -> None:
        """The turn has written this, which is encoded in `deltas`."""
        self.written.extend(writes)
        self._changed(deltas)

    def replaced(self, written: Sequence[Mapping[str, Any]] = ()) -> None:
        """The state has become another one; `written` is what the turn has written that led there."""
        self.written, self._began_after, self.size_bytes, self.encoded = list(written), None, 0, b""
        self._held.clear()

    def executor_at(self, kind: str, state_id: str) -> None:
        """The present state is what an executor of `kind` calls `state_id`; empty: it has none."""
        self._held.pop(kind, None)
        if state_id:
            self._held[kind] = Held(state_id)

    def held(self, kind: str) -> Held | None:
        """What an executor of `kind` has."""
        return self._held.get(kind)

    def since(self, seq: int, schema: StateSchema) -> tuple[bytes, ...] | None:
        """Encoded writes from the state after `seq` to that of now, if they are known."""
        if seq != self._began_after:
            return None
        return (*self._input, *map(schema.encode_delta, schema.combine(self.written)))

    def _changed(self, deltas: Sequence[bytes]) -> None:
        if deltas:
            self.encoded = b""
        self.size_bytes += sum(map(len, deltas))
        for kind, held in list(self._held.items()):
            held.deltas += deltas
            if len(held.deltas) > _MAX_DELTAS:
                del self._held[kind]
