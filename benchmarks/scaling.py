"""Does one more cost the same when there are ten times as many: threads, turns, nodes, sessions, turns in flight?

Every point is what one unit costs at that size: a branch of a fork of so many, a turn of a conversation that has
had so many, a step of a chain of so many, a turn where so many sessions are known, a turn with so many under way. A
flat curve means that size costs nothing.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import Summary, progress, save, show
from benchmarks.loads import closed_loop
from benchmarks.ours import greenroom, in_a_row, one_turn
from benchmarks.servers import valkey
from runtime import END, START, AsyncRuntime, Graph, append

_QUESTION = "what one unit costs as there are ten times as many"
_AT_A_TIME = 100
_SAMPLE = 20
"""Turns of which a point of the curves of turns and sessions is the mean."""

Cost = Callable[[AsyncRuntime, int], Awaitable[float]]
"""Seconds that one unit takes at a size."""


class Items(BaseModel):
    """What is mapped."""

    items: list[int] = []
    done: list[int] = []


class Talk(BaseModel):
    """What a conversation appends to."""

    said: Annotated[list[str], append] = []


async def same(item: int) -> int:
    """A branch that does nothing."""
    return item


async def no_op(state: Talk) -> dict[str, Any]:
    """A step that does nothing."""
    return {}


def workflows(nodes: list[int]) -> list[Graph]:
    """A map, and chains of so many nodes."""
    mapped = Graph("benchmark-scaling-map", state=Items)
    mapped.node(same)
    mapped.map("each", over="items", node="same", into="done", max_concurrency=1_000)
    mapped.edge(START, "each")
    mapped.edge("each", END)
    chains = []
    for length in {1, *nodes}:
        chain = Graph(f"benchmark-scaling-{length}", state=Talk, max_steps=length + 1)
        names = [f"node{number}" for number in range(length)]
        for name in names:
            chain.node(no_op, name=name)
        in_a_row(chain, names, end=END)
        chains.append(chain)
    return [mapped, *chains]


async def _timed(operation: Awaitable[Any], units: int) -> float:
    began = time.perf_counter()
    await operation
    return (time.perf_counter() - began) / units


async def branches(runtime: AsyncRuntime, size: int) -> float:
    """A branch of a fork of so many."""
    return await _timed(one_turn(runtime, "benchmark-scaling-map", {"items": range(size)}), size)


async def nodes(runtime: AsyncRuntime, size: int) -> float:
    """A step of a chain of so many."""
    return await _timed(one_turn(runtime, f"benchmark-scaling-{size}", {}), size)


async def turns(runtime: AsyncRuntime, size: int) -> float:
    """A turn of a conversation that has had so many."""
    session = await runtime.session("benchmark-scaling-1")

    async def talk(count: int) -> None:
        for _ in range(count):
            result = await session.run({"said": ["a hundred bytes, more or less".ljust(100)]})
            assert result.status == "completed", result.error

    await talk(size)
    return await _timed(talk(_SAMPLE), _SAMPLE)


async def in_flight(runtime: AsyncRuntime, size: int) -> float:
    """A turn where so many are under way."""
    load = await closed_loop(partial(one_turn, runtime, "benchmark-scaling-1", {}), size, seconds=0.5)
    return 1 / load.per_s


class Known:
    """Sessions in the store, more with every point."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    async def __call__(self, runtime: AsyncRuntime, size: int) -> float:
        """A turn of any session where so many are known, found by its id."""

        async def make() -> None:
            self._ids.append((await one_turn(runtime, "benchmark-scaling-1", {})).thread_id.partition(":")[0])

        while len(self._ids) < size:
            await asyncio.gather(*(make() for _ in range(min(_AT_A_TIME, size - len(self._ids)))))

        async def wake() -> None:
            for session_id in random.sample(self._ids, _SAMPLE):
                await (await runtime.session(id=session_id)).run({})

        return await _timed(wake(), _SAMPLE)


async def measure(directory: str, largest: dict[str, int], rounds: int) -> list[dict[str, Any]]:
    """Every curve from a hundredth of its largest size on."""
    costs: dict[str, Cost] = {
        "branches of a fork": branches,
        "turns of a session": turns,
        "nodes of a chain": nodes,
        "turns in flight": in_flight,
        "sessions known": Known(),
    }
    rows = []
    async with AsyncExitStack() as stack:
        url = stack.enter_context(valkey())
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=url))
        sizes = {name: [size // 100, size // 10, size] for name, size in largest.items()}
        await runtime.deploy(*workflows(sizes["nodes of a chain"]))
        await closed_loop(partial(one_turn, runtime, "benchmark-scaling-1", {}), 16, seconds=1.0)  # every process warm
        for name, cost in costs.items():
            measured: dict[int, list[float]] = {size: [] for size in sizes[name]}
            if not isinstance(cost, Known):
                for size in sizes[name]:
                    await cost(runtime, size)  # what is done once for each workflow is done then
            # Known sessions only become more, so they are measured size by size.
            order = [size for _ in range(rounds) for size in sizes[name]]
            for size in sorted(order) if isinstance(cost, Known) else order:
                measured[size].append(await cost(runtime, size))
                progress(f"{name}, {size:,}: {measured[size][-1] * 1e3:.2f} ms each")
            first = Summary.of(measured[sizes[name][0]]).median
            for size, values in measured.items():
                summary = Summary.of(values)
                rows.append(
                    {"curve": name, "size": size, "seconds_each": summary, "over_first": summary.median / first}
                )
    return rows


def run(
    branches: Annotated[int, typer.Option(min=100, help="Most of a fork.")] = 1_000,
    turns: Annotated[int, typer.Option(min=100, help="Most of a session.")] = 1_000,
    nodes: Annotated[int, typer.Option(min=100, help="Most of a chain.")] = 1_000,
    in_flight: Annotated[int, typer.Option(min=100, help="Most turns under way.")] = 1_000,
    sessions: Annotated[int, typer.Option(min=2_000, help="Most that are known.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Curves of cost over size: measure, print a table, and write the result to benchmarks/results/."""
    largest = {
        "branches of a fork": branches,
        "turns of a session": turns,
        "nodes of a chain": nodes,
        "turns in flight": in_flight,
        "sessions known": sessions,
    }
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        rows = uvloop.run(measure(directory, largest, rounds))
    cells = [
        [
            row["curve"],
            f"{row['size']:,}",
            f"{Summary.of([value * 1e3 for value in row['seconds_each'].values]):.2f}",
            f"{row['over_first']:.2f}",
        ]
        for row in rows
    ]
    show(f"{_QUESTION}\n{rounds} rounds; median (lowest-highest)", ["", "size", "ms each", "over the smallest"], cells)
    save("scaling", _QUESTION, {"rounds": rounds, "largest": largest}, rows)


if __name__ == "__main__":
    typer.run(run)
