"""Several contenders do the same work in turn, round after round, so that what disturbs one disturbs all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

from benchmarks.harness import Summary, percentile, progress, show
from benchmarks.loads import Load, closed_loop
from benchmarks.peers.process import Peer, PeerMissing


class Racer(Protocol):
    """Whose closed loops are measured."""

    async def start(self) -> None:
        """Be ready. Raises `PeerMissing`."""

    async def load(self, in_flight: int, seconds: float) -> Load:
        """Measure. See `closed_loop`."""

    async def once(self) -> None:
        """One operation, which nobody measures."""

    async def close(self) -> None:
        """Stop all that was started."""


class Here:
    """An operation of this process.

    Args:
        operation: One unit of the work.
    """

    def __init__(self, operation: Callable[[], Awaitable[Any]]) -> None:
        self._operation = operation

    async def start(self) -> None:
        """See `Racer`."""
        await self._operation()

    async def load(self, in_flight: int, seconds: float) -> Load:
        """See `Racer`."""
        return await closed_loop(self._operation, in_flight, seconds=seconds)

    async def once(self) -> None:
        """See `Racer`."""
        await self._operation()

    async def close(self) -> None:
        """See `Racer`."""


class Absent(Here):
    """Somebody who cannot take part.

    Args:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(self.start)
        self._reason = reason

    async def start(self) -> None:
        """See `Racer`."""
        raise PeerMissing(self._reason)


class Several:
    """Processes of a peer that share the work, as whoever wants more than one core of it would run them.

    Args:
        peers: The processes.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers

    async def start(self) -> None:
        """See `Racer`."""
        for peer in self._peers:
            await peer.start()

    async def load(self, in_flight: int, seconds: float) -> Load:
        """See `Racer`."""
        shares = [(in_flight + number) // len(self._peers) for number in range(len(self._peers))]
        loads = await asyncio.gather(
            *(peer.load(share, seconds) for peer, share in zip(self._peers, shares, strict=True) if share)
        )
        return Load(
            per_s=sum(load.per_s for load in loads),
            latencies_s=[latency_s for load in loads for latency_s in load.latencies_s],
        )

    async def once(self) -> None:
        """See `Racer`."""
        await self._peers[0].once()

    async def close(self) -> None:
        """See `Racer`."""
        for peer in self._peers:
            await peer.close()


Loads = dict[int, dict[str, list[Load]]]
"""In flight -> contender -> what was measured, one of each round."""


async def race(
    racers: Mapping[str, Racer],
    in_flight: Sequence[int],
    *,
    rounds: int,
    seconds: float,
    unit: str,
    per_operation: int = 1,
    most: Mapping[str, int] | None = None,
    afterwards: Callable[[dict[str, Racer]], Awaitable[None]] | None = None,
) -> tuple[Loads, dict[str, str]]:
    """Measure everybody in turn, with each number in flight, every round.

    Args:
        racers: By name. The first of a round is another one every time.
        in_flight: How many operations are under way at a time.
        rounds: How often.
        seconds: Of each measurement, at least.
        unit: What is counted, for people.
        per_operation: How many of those an operation does.
        most: Name -> how many in flight at most are measured: what is slow takes minutes with hundreds.
        afterwards: Called with those who are there, before they are closed.

    Returns:
        What was measured, and why somebody was not.
    """
    missing: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name, racer in racers.items():
            try:
                await racer.start()
            except PeerMissing as error:
                missing[name] = str(error)
                progress(f"{name}: {error}")
            else:
                stack.push_async_callback(racer.close)
        present = [name for name in racers if name not in missing]
        limits = most or {}
        loads: Loads = {
            count: {name: [] for name in present if count <= limits.get(name, count)} for count in in_flight
        }
        for number in range(rounds):
            for count in in_flight:
                names = list(loads[count])
                for name in (*names[number % len(names) :], *names[: number % len(names)]):
                    load = await racers[name].load(count, seconds)
                    loads[count][name].append(load)
                    rate = f"{load.per_s * per_operation:,.1f} {unit}/s"
                    progress(f"round {number + 1}/{rounds}: {count:>4} at a time, {name}: {rate}")
        if afterwards is not None:
            await afterwards({name: racers[name] for name in present})
    return loads, missing


def rows_of(
    loads: Loads, ours: str, per_operation: int = 1, *, against: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One row for each contender and number in flight; ours over theirs is taken within each round.

    Args:
        loads: See `race`.
        ours: Whose rate and latency are divided by those of each other one.
        per_operation: How many units an operation does.
        against: Contender -> who takes the place of `ours` for it, since both promise the same.
    """

    def fair(by_name: Mapping[str, list[Load]], name: str) -> list[Load]:
        return by_name[(against or {}).get(name, ours)]

    return [
        {
            "in_flight": count,
            "contender": name,
            "per_s": Summary.of([load.per_s * per_operation for load in measured]),
            "p50_s": Summary.of([percentile(load.latencies_s, 50) for load in measured]),
            "p99_s": Summary.of([percentile(load.latencies_s, 99) for load in measured]),
            "ours_over": {
                "per_s": Summary.of([a.per_s / b.per_s for a, b in zip(fair(by_name, name), measured, strict=True)]),
                "p50_s": Summary.of(
                    [
                        percentile(a.latencies_s, 50) / percentile(b.latencies_s, 50)
                        for a, b in zip(fair(by_name, name), measured, strict=True)
                    ]
                ),
            },
        }
        for count, by_name in loads.items()
        for name, measured in by_name.items()
    ]


def _rate(per_s: Summary) -> str:
    return f"{per_s:,.0f}" if per_s.median >= 100 else f"{per_s:.1f}"


def show_race(title: str, unit: str, ours: str, rows: Sequence[Mapping[str, Any]], missing: Mapping[str, str]) -> None:
    """Print a table of a race."""
    cells = [
        [
            row["contender"],
            str(row["in_flight"]),
            _rate(row["per_s"]),
            f"{row['p50_s'].median * 1e3:.2f}",
            f"{row['p99_s'].median * 1e3:.2f}",
            *(["", ""] if row["contender"] == ours else [f"{row['ours_over'][key]:.2f}" for key in ("per_s", "p50_s")]),
        ]
        for row in rows
    ]
    cells += [[name, "", why, "", "", "", ""] for name, why in missing.items()]
    ratios = [f"{ours} over it", "p50 over it"]
    show(title, ["", "at a time", f"{unit}/s", "p50 ms", "p99 ms", *ratios], cells)
