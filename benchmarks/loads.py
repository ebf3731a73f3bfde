"""Closed loops: how fast something goes with so many under way at a time."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement of a closed loop gave."""

    per_s: float
    """Operations per second."""
    latencies_s: list[float]
    """Of each operation, in the order in which they ended."""


async def closed_loop(
    operation: Callable[[], Awaitable[Any]], in_flight: int, *, seconds: float, warm_up_s: float = 0.2
) -> Load:
    """Keep `in_flight` operations under way; each one is followed by the next.

    The first `in_flight` of them, and those of the first `warm_up_s`, are not counted; then it is measured for at least
    `seconds` and until `in_flight` have ended once more. So a slow operation with many under way, whose callers go in
    step, is counted for as long as it takes.

    Args:
        operation: Started again and again.
        in_flight: How many are under way at a time.
        seconds: How long it is measured at least.
        warm_up_s: How long it runs before that at least.
    """
    clock = time.perf_counter
    begun = clock()
    skipped = 0
    measured_from: float | None = None
    latencies_s: list[float] = []
    over_at: float | None = None

    async def caller() -> None:
        nonlocal skipped, measured_from, over_at
        started = clock()
        while over_at is None:
            await operation()
            ended = clock()
            if measured_from is None:
                skipped += 1
                if skipped >= in_flight and ended - begun >= warm_up_s:
                    measured_from = ended
            elif over_at is None:
                latencies_s.append(ended - started)
                if ended - measured_from >= seconds and len(latencies_s) >= in_flight:
                    over_at = ended
            started = ended

    gc.collect()
    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(caller())
    assert measured_from is not None
    assert over_at is not None
    return Load(per_s=len(latencies_s) / (over_at - measured_from), latencies_s=latencies_s)
