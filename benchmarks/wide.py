"""What does a step cost in a state of 200 channels, of which it reads and writes one?

Each channel holds 100 bytes, all of which come with the input of a run; then ten nodes write the same channel, one
after the other. Bytes are what the memory of all keys of the server (`MEMORY USAGE`) grows by for each step.
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel, create_model

from benchmarks.harness import progress, save
from benchmarks.ours import greenroom, in_a_row, one_turn
from benchmarks.peers.process import Peer
from benchmarks.race import Here, Loads, Racer, race, rows_of, show_race
from benchmarks.servers import keys_bytes, valkey
from runtime import END, Graph

_QUESTION = "durable steps/s and bytes in a state of 200 channels, of which a node writes one"
OURS = "Greenroom sync"
THEIRS = "LangGraph Redis sync"
NODES = 10
VALUE = "x" * 100
_STORED_RUNS = 30


async def write_one(state: BaseModel) -> dict[str, Any]:
    """One channel of many."""
    return {"c0": VALUE}


def wide(channels: int) -> Graph:
    """Nodes in a row that read and write one channel."""
    state: Any = create_model("Wide", **{f"c{number}": (str, "") for number in range(channels)})
    graph = Graph("benchmark-wide", state=state)
    names = [f"node{number}" for number in range(NODES)]
    for name in names:
        graph.node(write_one, name=name, reads=["c0"], writes=["c0"])
    in_a_row(graph, names, end=END)
    return graph


async def measure(
    directory: str, channels: int, at_a_time: list[int], rounds: int, seconds: float
) -> tuple[Loads, dict[str, str], dict[str, float]]:
    """Closed loops of so many runs, everybody in turn; then the bytes of some."""
    async with AsyncExitStack() as stack:
        plain, with_modules = stack.enter_context(valkey()), stack.enter_context(valkey(modules=True))
        runtime = await stack.enter_async_context(greenroom(directory, redis_url=plain))
        await runtime.deploy(wide(channels))
        values = {f"c{number}": VALUE for number in range(channels)}
        racers: dict[str, Racer] = {
            OURS: Here(partial(one_turn, runtime, "benchmark-wide", values)),
            THEIRS: Peer(
                "benchmarks.peers.langgraph:Wide", saver="redis", url=with_modules, nodes=NODES, channels=channels
            ),
        }
        stored: dict[str, float] = {}

        async def weigh(present: dict[str, Racer]) -> None:
            for name, url in ((OURS, plain), (THEIRS, with_modules)):
                if name in present:
                    before = keys_bytes(url)
                    for _ in range(_STORED_RUNS):
                        await present[name].once()
                    stored[name] = (keys_bytes(url) - before) / (_STORED_RUNS * NODES)
                    progress(f"{name}: {stored[name]:,.0f} bytes a step")

        loads, missing = await race(
            racers, at_a_time, rounds=rounds, seconds=seconds, unit="steps", per_operation=NODES, afterwards=weigh
        )
    return loads, missing, stored


def run(
    channels: Annotated[int, typer.Option(min=1)] = 200,
    at_a_time: Annotated[list[int], typer.Option(help="Runs at a time; repeatable.")] = [1, 64],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.0,
) -> None:
    """A wide state: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        loads, missing, stored = uvloop.run(measure(directory, channels, at_a_time, rounds, seconds))
    rows = rows_of(loads, OURS, NODES)
    sizes = "; ".join(f"{name}: {size_bytes:,.0f} bytes a step" for name, size_bytes in stored.items())
    show_race(f"{_QUESTION}\n{rounds} rounds; median (lowest-highest); {sizes}", "steps", OURS, rows, missing)
    parameters = {"channels": channels, "rounds": rounds, "missing": missing, "stored_bytes_per_step": stored}
    save("wide", _QUESTION, parameters, rows)


if __name__ == "__main__":
    typer.run(run)
