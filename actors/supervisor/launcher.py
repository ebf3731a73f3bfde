"""What the supervisor needs of the world: starting and watching processes, and a memory that outlives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.protocol import ProcessInfo

HOST = "host"
"""The kind of processes that carry sessions and threads; the others are executors."""


class Launcher(Protocol):
    """Starts, watches and ends actor processes."""

    async def spawn(self, kind: str, address: str) -> ProcessInfo:
        """Start a process of `kind` that answers at `address`; returns when it does."""

    async def running(self) -> Sequence[ProcessInfo]:
        """The processes that run, but for the supervisor: an earlier one has started them."""

    async def alive(self, process: ProcessInfo) -> bool:
        """Whether a process answers. One that does not is ended: it cannot come back."""

    async def died(self, process: ProcessInfo) -> None:
        """Returns when a process is dead, and cannot come back."""

    async def kill(self, address: str) -> None:
        """End the process at `address`, if there is one: it closes first, if it can."""

    async def end(self, process: ProcessInfo) -> None:
        """End a process at once: it is stuck."""


class Shelf(Protocol):
    """What the cluster remembers as long as it lives, whichever of its processes die."""

    async def put(self, key: str, value: bytes) -> None:
        """Remember `value`."""

    async def get(self, key: str) -> bytes | None:
        """What was put under `key`."""


def kind_of(address: str) -> str:
    """The kind of the process at an address `{kind}-{incarnation}.{number}`."""
    return address.rpartition("-")[0]
