"""The executors as a host sees them: the least busy one of a kind gets the next segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec

from actors.course import Held
from actors.errors import DestinationDied, Overloaded, Retiring, StateForgotten
from actors.network import SUPERVISOR, Network
from actors.protocol import EndSegment, FetchPool, Pool, Retire, RunSegment, SegmentDone


class _UnderWay:
    """A segment that runs."""

    def __init__(self) -> None:
        self.address = ""
        """The executor; empty until one is found."""
        self.is_ended = False
        """Whether it is to end before it began."""


class ExecutorPools:
    """Addresses of the executors by kind, asked of the supervisor once and again when one has died."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pools: dict[str, tuple[str, ...]] = {}
        self._running: Counter[str] = Counter()
        self._segments: dict[str, _UnderWay] = {}
        """By thread id."""

    async def run(
        self, kind: str, request: RunSegment, held: Held | None, encode: Callable[[], bytes]
    ) -> SegmentDone | None:
        """Have an executor of `kind` run a segment; None if it died on the way. The next request finds another.

        Args:
            kind: Kind of nodes.
            request: The segment, without the state.
            held: The state as one of the executors has it.
            encode: Gives the encoded state, for all others.
        """
        segment = self._segments[request.thread.id] = _UnderWay()
        try:
            return await self._run(kind, request, segment, held, encode)
        finally:
            if self._segments.get(request.thread.id) is segment:
                del self._segments[request.thread.id]

    async def end(self, thread_id: str, epoch: int, *, now: bool = False) -> None:
        """Have the segment of a thread end after the step it is at, or in the middle of it, if it can be told."""
        segment = self._segments.get(thread_id)
        if segment is None:
            return
        segment.is_ended = True
        if segment.address:
            with suppress(DestinationDied, Overloaded):
                await self._network.tell(segment.address, EndSegment(thread_id=thread_id, epoch=epoch, now=now))

    async def give_up(self, thread_id: str) -> None:
        """Have the executor replaced that runs the segment of a thread, which does not end though it was told to."""
        segment = self._segments.get(thread_id)
        if segment is not None and segment.address:
            with suppress(DestinationDied, Overloaded):
                await self._network.tell(SUPERVISOR, Retire(address=segment.address))

    async def _run(
        self, kind: str, request: RunSegment, segment: _UnderWay, held: Held | None, encode: Callable[[], bytes]
    ) -> SegmentDone | None:
        addresses = self._pools.get(kind) or await self._fetch(kind)
        if segment.is_ended:
            return SegmentDone(seq=request.seq, cursor=request.cursor, kept=request.kept)
        address = segment.address = self._choose(addresses, held)
        if held is not None and held.address == address:
            asked = msgspec.structs.replace(request, base=held.state_id, deltas=tuple(held.deltas))
        else:
            asked = msgspec.structs.replace(request, state=encode())
        self._running[address] += 1
        try:
            return await self._network.ask(address, asked, SegmentDone)
        except StateForgotten:
            held = None
        except DestinationDied as error:
            if error.fields.get("destination") != address:
                raise
            await self._fetch(kind, suspect=address)
            return None
        except Retiring:
            segment.address = ""
            if address in await self._fetch(kind):
                raise  # its successor is not there yet
        finally:
            self._running[address] -= 1
        return await self._run(kind, request, segment, held, encode)

    def _choose(self, addresses: tuple[str, ...], held: Held | None) -> str:
        """The least busy executor: of those that are, the one that has the state."""
        least_busy = min(addresses, key=self._running.__getitem__)
        if held is None or held.address not in addresses:
            return least_busy
        return held.address if self._running[held.address] <= self._running[least_busy] else least_busy

    def set(self, kind: str, executors: tuple[str, ...]) -> None:
        """These are the executors of `kind` now."""
        self._pools[kind] = executors

    async def _fetch(self, kind: str, *, suspect: str = "") -> tuple[str, ...]:
        pool = await self._network.ask(SUPERVISOR, FetchPool(kind=kind, suspect=suspect), Pool)
        self._pools[kind] = pool.executors
        return pool.executors
