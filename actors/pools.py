"""The executors as a host sees them: the least busy one of a kind gets the next segment."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from actors.errors import DestinationDied
from actors.network import SUPERVISOR, Network
from actors.protocol import FetchPool, Message, Pool

_Reply = TypeVar("_Reply", bound=Message)


class ExecutorPools:
    """Addresses of the executors by kind, asked of the supervisor once and again when one has died."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pools: dict[str, tuple[str, ...]] = {}
        self._running: Counter[str] = Counter()

    async def run(self, kind: str, request: Message, expected: type[_Reply]) -> _Reply | None:
        """Have an executor of `kind` handle `request`; None if it died on the way. The next request finds another."""
        addresses = self._pools.get(kind) or await self._fetch(kind)
        address = min(addresses, key=self._running.__getitem__)
        self._running[address] += 1
        try:
            return await self._network.ask(address, request, expected)
        except DestinationDied as error:
            if error.fields.get("destination") != address:
                raise
            await self._fetch(kind, suspect=address)
            return None
        finally:
            self._running[address] -= 1

    async def _fetch(self, kind: str, *, suspect: str = "") -> tuple[str, ...]:
        pool = await self._network.ask(SUPERVISOR, FetchPool(kind=kind, suspect=suspect), Pool)
        self._pools[kind] = pool.executors
        return pool.executors
