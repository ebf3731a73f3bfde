"""Does anything grow that should not, in many minutes at half of the highest rate?

Half of the turns that arrive are of new sessions, the others of sessions that have had some. Arrivals keep to their
times, whether or not what came before has ended. Sessions that have been idle for a while are deleted as retention
would, which is asked to come by more often. What is sampled: memory and open files of every actor process, objects
that Ray knows references to, keys of the store.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import deque
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import psutil
import ray
import redis.asyncio
import typer
import uvloop

from actors.clock import SystemClock
from actors.retention import Retention
from actors.settings import RetentionSettings
from benchmarks.chain import chain
from benchmarks.harness import percentile, progress, save, show
from benchmarks.loads import closed_loop
from benchmarks.ours import greenroom, one_turn
from benchmarks.servers import valkey
from runtime import AsyncRuntime

_QUESTION = "memory, files, references and keys at half of the highest rate"
_AT_A_TIME = 64
_MOST_UNDER_WAY = 5_000
_IDLE_S = 30.0
_NODES = 3


class Load:
    """Turns that arrive at a rate.

    Args:
        runtime: Where they run.
        per_s: How many arrive in a second.
    """

    def __init__(self, runtime: AsyncRuntime, per_s: float) -> None:
        self._runtime = runtime
        self._per_s = per_s
        self._known: deque[str] = deque(maxlen=200)
        self._under_way: set[asyncio.Task[None]] = set()
        self.latencies_s: list[float] = []
        """Since they were last taken, from when a turn should have begun."""
        self.ended = self.failed = self.refused = 0

    async def run(self, seconds: float) -> None:
        """Keep to the rate for so long, then wait for what is under way."""
        begin = time.perf_counter()
        number = 0
        while (due_s := number / self._per_s) < seconds:
            await asyncio.sleep(max(0.0, begin + due_s - time.perf_counter()))
            number += 1
            if len(self._under_way) >= _MOST_UNDER_WAY:
                self.refused += 1
                continue
            task = asyncio.create_task(self._turn(begin + due_s))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    async def _turn(self, due: float) -> None:
        if len(self._known) > 100 and random.random() < 0.5:
            session = await self._runtime.session(id=random.choice(self._known))
            result = await session.run({})
        else:
            result = await one_turn(self._runtime, "benchmark-chain", {})
            self._known.append(result.thread_id.partition(":")[0])
        self.failed += result.error is not None
        self.ended += 1
        self.latencies_s.append(time.perf_counter() - due)


async def sample(runtime: AsyncRuntime, store: redis.asyncio.Redis, load: Load, began: float) -> dict[str, Any]:
    """How it stands."""
    processes = {each.address: psutil.Process(each.pid) for each in (await runtime.cluster()).processes}
    latencies_s, load.latencies_s = load.latencies_s, []
    references = ray._private.worker.global_worker.core_worker.get_all_reference_counts()  # noqa: SLF001
    return {
        "at_s": time.perf_counter() - began,
        "rss_bytes": {address: process.memory_info().rss for address, process in processes.items()},
        "driver_rss_bytes": psutil.Process().memory_info().rss,
        "open_files": {address: process.num_fds() for address, process in processes.items()},
        "ray_references": len(references),
        "keys": await store.dbsize(),
        "store_bytes": (await store.info("memory"))["used_memory"],
        "turns": load.ended,
        "failed": load.failed,
        "refused": load.refused,
        "p50_s": percentile(latencies_s, 50) if latencies_s else None,
        "p99_s": percentile(latencies_s, 99) if latencies_s else None,
    }


async def measure(directory: str, minutes: float, every_s: float) -> tuple[float, list[dict[str, Any]]]:
    """Find the highest rate, then hold half of it."""
    async with AsyncExitStack() as stack:
        url = stack.enter_context(valkey())
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=url))
        store = redis.asyncio.Redis.from_url(url)
        stack.push_async_callback(store.aclose)
        await runtime.deploy(chain(_NODES))
        turn = partial(one_turn, runtime, "benchmark-chain", {})
        await closed_loop(turn, _AT_A_TIME, seconds=2.0)  # every process warm
        per_s = (await closed_loop(turn, _AT_A_TIME, seconds=5.0)).per_s / 2
        progress(f"{per_s:,.0f} turns/s for {minutes} minutes")
        settings = RetentionSettings(sessions_idle_s=_IDLE_S)
        retention = Retention(runtime.records.store, settings, SystemClock())
        load, samples, began = Load(runtime, per_s), [], time.perf_counter()

        async def watch() -> None:
            while True:
                await asyncio.sleep(every_s)
                await retention.sweep()
                samples.append(await sample(runtime, store, load, began))
                last = samples[-1]
                progress(
                    f"{last['at_s']:.0f} s: {sum(last['rss_bytes'].values()) / 1e6:,.0f} MB, "
                    f"{sum(last['open_files'].values())} files, {last['ray_references']} references, "
                    f"{last['keys']} keys, "
                    f"p99 {(last['p99_s'] or 0) * 1e3:.0f} ms, {last['failed']} failed"
                )

        watching = asyncio.create_task(watch())
        await load.run(minutes * 60)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await asyncio.sleep(_IDLE_S)
        await retention.sweep()
        samples.append(await sample(runtime, store, load, began))
    return per_s, samples


def run(
    minutes: Annotated[float, typer.Option(min=0.1)] = 20.0,
    every_s: Annotated[float, typer.Option(min=1.0, help="Seconds between two samples.")] = 15.0,
) -> None:
    """A soak: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        per_s, samples = uvloop.run(measure(directory, minutes, every_s))
    shown = samples[:: max(1, len(samples) // 10)]
    shown += [] if shown[-1] is samples[-1] else [samples[-1]]
    cells = [
        [
            f"{each['at_s']:.0f}",
            f"{each['turns']:,}",
            f"{sum(each['rss_bytes'].values()) / 1e6:,.0f}",
            f"{each['driver_rss_bytes'] / 1e6:,.0f}",
            str(sum(each["open_files"].values())),
            str(each["ray_references"]),
            f"{each['keys']:,}",
            "" if each["p99_s"] is None else f"{each['p99_s'] * 1e3:.0f}",
            str(each["failed"]),
        ]
        for each in shown
    ]
    columns = ["s", "turns", "actors MB", "driver MB", "files", "Ray references", "keys", "p99 ms", "failed"]
    show(f"{_QUESTION}: {per_s:,.0f} turns/s for {minutes} minutes", columns, cells)
    save("soak", _QUESTION, {"minutes": minutes, "turns_per_s": per_s, "idle_s": _IDLE_S}, samples)


if __name__ == "__main__":
    typer.run(run)
