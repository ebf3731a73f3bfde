"""States that a process has at hand: what is long would take long to be sent and decoded again.

A conversation of a thousand messages is a megabyte, of which a turn adds a few. So whoever has had its state keeps it
for a while: the host of its thread, the executor that has run its last node, the driver that has got its last result.
They are sent what was written since. What nobody has any more is sent, or read from the journal, as ever.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")

LARGE_STATE_BYTES = 4 * 1024
"""A smaller state is sent whole: that costs no more than remembering it."""
LIMIT_BYTES = 128 * 1024 * 1024
IDLE_S = 60.0
_MAX_DELTAS = 64


class Remembered(Generic[_T]):
    """What a process remembers, each once: the least recently kept goes when there is too much, or after a while.

    Args:
        limit_bytes: Most of it.
        idle_s: How long it is kept.
    """

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES, idle_s: float = IDLE_S) -> None:
        self._limit_bytes = limit_bytes
        self._idle_s = idle_s
        self._kept: OrderedDict[str, tuple[_T, int, float]] = OrderedDict()
        """Key -> (what, its bytes, since when by the clock of the event loop)."""
        self._kept_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: str, what: _T, size_bytes: int) -> None:
        """Remember `what`, in place of what was remembered under this key."""
        self.take(key)
        loop = asyncio.get_running_loop()
        self._kept[key] = what, size_bytes, loop.time()
        self._kept_bytes += size_bytes
        while self._kept_bytes > self._limit_bytes:
            self._forget_oldest()
        if self._timer is None:
            self._timer = loop.call_later(self._idle_s, self._sweep)

    def take(self, key: str) -> _T | None:
        """What is remembered under `key`; it is not any more."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self._kept_bytes -= kept[1]
        return kept[0]

    async def close(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._kept_bytes = 0
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._kept:
            _, _, since = next(iter(self._kept.values()))
            if since + self._idle_s > loop.time():
                self._timer = loop.call_at(since + self._idle_s, self._sweep)
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, size_bytes, _) = self._kept.popitem(last=False)
        self._kept_bytes -= size_bytes


@dataclass(frozen=True, slots=True)
class StateAt:
    """A state that its holder knows, and after which seq it was so."""

    seq: int
    state: dict[str, Any]
