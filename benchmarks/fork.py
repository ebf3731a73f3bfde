"""How long does a fork of 100 branches take, each of which waits for 50 ms, until they are joined?

Each branch of Greenroom is a thread with a journal of its own, on two hosts. LangGraph has a task of one process
for each `Send`. Everything over 50 ms is what the runtime adds.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import save
from benchmarks.ours import greenroom, one_turn
from benchmarks.peers.process import Peer
from benchmarks.race import Here, Loads, Racer, race, rows_of, show_race
from benchmarks.servers import valkey
from runtime import END, START, Graph, append

_QUESTION = "a fork of 100 branches of 50 ms, joined"
OURS = "Greenroom map"
BRANCH_S = 0.05


class Many(BaseModel):
    """What branches begin with, and what they bring."""

    items: list[int] = []
    done: list[int] = []


class Each(BaseModel):
    """What branches bring."""

    done: Annotated[list[int], append] = []


async def wait(item: int) -> int:
    """A branch of a map."""
    await asyncio.sleep(BRANCH_S)
    return item


def mapped(branches: int) -> Graph:
    """One node for each of so many items."""
    graph = Graph("benchmark-map", state=Many)
    graph.node(wait)
    graph.map("each", over="items", node="wait", into="done", max_concurrency=branches)
    graph.edge(START, "each")
    graph.edge("each", END)
    return graph


async def branch(state: Each) -> dict[str, Any]:
    """A branch of a fork."""
    await asyncio.sleep(BRANCH_S)
    return {"done": [1]}


async def joined(state: Each) -> dict[str, Any]:
    """What comes after it."""
    return {}


def forked(branches: int) -> Graph:
    """An edge to each of so many nodes."""
    graph = Graph("benchmark-fork", state=Each)
    graph.fork("begin")
    graph.node(joined)
    graph.edge(START, "begin")
    for number in range(branches):
        name = f"branch{number}"
        graph.node(branch, name=name, reads=[], writes=["done"])
        graph.edge("begin", name)
        graph.edge(name, "joined")
    graph.edge("joined", END)
    return graph


async def measure(directory: str, branches: int, rounds: int, seconds: float) -> tuple[Loads, dict[str, str]]:
    """One fork at a time, everybody in turn."""
    async with AsyncExitStack() as stack:
        plain, with_modules = stack.enter_context(valkey()), stack.enter_context(valkey(modules=True))
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=plain))
        await runtime.deploy(mapped(branches), forked(branches))
        send = partial(Peer, "benchmarks.peers.langgraph:Forks", branches=branches, branch_s=BRANCH_S)
        racers: dict[str, Racer] = {
            OURS: Here(partial(one_turn, runtime, "benchmark-map", {"items": range(branches)})),
            "Greenroom fork": Here(partial(one_turn, runtime, "benchmark-fork", {})),
            "LangGraph Send, Redis sync": send(saver="redis", durability="sync", url=with_modules),
            "LangGraph Send, memory": send(saver="memory", durability="sync"),
        }
        return await race(racers, [1], rounds=rounds, seconds=seconds, unit="branches", per_operation=branches)


def run(
    branches: Annotated[int, typer.Option(min=2)] = 100,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.5,
) -> None:
    """Forks and joins: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        loads, missing = uvloop.run(measure(directory, branches, rounds, seconds))
    rows = rows_of(loads, OURS, branches)
    show_race(f"{_QUESTION}\n{rounds} rounds; median (lowest-highest)", "branches", OURS, rows, missing)
    save("fork", _QUESTION, {"branches": branches, "branch_s": BRANCH_S, "rounds": rounds, "missing": missing}, rows)


if __name__ == "__main__":
    typer.run(run)
