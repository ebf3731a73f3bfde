"""How much faster is a fork whose branches compute, on all cores, than the same work in a plain loop on one?

The branches are synchronous functions in pure Python, which hold the interpreter's lock. LangGraph runs them in
threads of one process.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import Summary, save
from benchmarks.ours import greenroom, one_turn
from benchmarks.peers.burn import burn
from benchmarks.peers.process import Peer
from benchmarks.race import Here, Loads, Racer, race, rows_of, show_race
from runtime import END, START, Graph

_QUESTION = "a fork whose branches compute, on all cores, against one core"
OURS = "Greenroom map"
ONE_CORE = "plain loop, one core"
TARGET = 0.85
"""Of each core."""
BRANCHES = 16
LOOPS = 1_000_000


class Work(BaseModel):
    """What branches begin with, and what they bring."""

    items: list[int] = []
    done: list[int] = []


def compute(item: int) -> int:
    """A branch."""
    return burn(LOOPS)


def burning() -> Graph:
    """One branch for each item."""
    graph = Graph("benchmark-burning", state=Work)
    graph.node(compute)
    graph.map("each", over="items", node="compute", into="done", max_concurrency=BRANCHES)
    graph.edge(START, "each")
    graph.edge("each", END)
    return graph


async def measure(directory: str, rounds: int, seconds: float) -> tuple[Loads, dict[str, str]]:
    """One fork at a time, everybody in turn."""
    work = {"branches": BRANCHES, "loops": LOOPS}
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(greenroom(directory))
        await runtime.deploy(burning())
        racers: dict[str, Racer] = {
            OURS: Here(partial(one_turn, runtime, "benchmark-burning", {"items": range(BRANCHES)})),
            ONE_CORE: Peer("benchmarks.peers.burn:Burning", **work),
            "LangGraph Send, memory": Peer("benchmarks.peers.langgraph:Burns", saver="memory", **work),
        }
        return await race(racers, [1], rounds=rounds, seconds=seconds, unit="branches", per_operation=BRANCHES)


def run(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 2.0,
) -> None:
    """Computing forks: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        loads, missing = uvloop.run(measure(directory, rounds, seconds))
    rows = rows_of(loads, OURS, BRANCHES)
    cores = os.cpu_count() or 1
    speed_up = next(row["ours_over"]["per_s"] for row in rows if row["contender"] == ONE_CORE)
    each = Summary.of([value / cores for value in speed_up.values])
    show_race(f"{_QUESTION}\nof each of {cores} cores: {each:.2f}, to reach: {TARGET}", "branches", OURS, rows, missing)
    save("cpu_fork", _QUESTION, {"cores": cores, "branches": BRANCHES, "of_each_core": each, "missing": missing}, rows)


if __name__ == "__main__":
    typer.run(run)
