"""How many durable steps a second does a chain of ten no-op nodes make, one workflow at a time and many?

In the durability `sync` each step is journalled in Valkey before the next begins; `docs/durability.md` says what the
others promise. A run is a new session with one turn of ten steps, started by one driver and answered with its final
state, which is journalled in each case.
"""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import product
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import Load, Summary, closed_loop, percentile, progress, save, show
from runtime import END, START, AsyncRuntime, Durability, Graph

_QUESTION = "durable steps/s of a chain of 10 no-op nodes, journalled in Valkey"
NODES = 10


class Nothing(BaseModel):
    """A state that no node writes."""

    n: int = 0


def chain() -> Graph:
    """Ten nodes in a row that do nothing."""
    graph = Graph("benchmark-chain", state=Nothing)
    previous = START
    for number in range(NODES):
        name = f"node{number}"
        graph.node(no_op, name=name)
        graph.edge(previous, name)
        previous = name
    graph.edge(previous, END)
    return graph


async def no_op(state: Nothing) -> dict[str, Any]:
    """Nothing."""
    return {}


Case = tuple[Durability, int]
"""How durable, and how many workflows at a time."""


async def measure(home: str, cases: list[Case], rounds: int, seconds: float) -> dict[Case, list[Load]]:
    """Closed loops of so many workflows at a time, in turn, every round."""
    loads: dict[Case, list[Load]] = {case: [] for case in cases}
    async with AsyncRuntime(home=home, models={"default": {"provider": "scripted"}}) as runtime:
        await runtime.deploy(chain())

        async def run(durability: Durability) -> None:
            session = await runtime.session("benchmark-chain")
            result = await session.run({}, durability=durability)
            assert result.status == "completed", result.error
            assert result.seq == NODES + 2

        await closed_loop(partial(run, Durability.SYNC), 16, seconds=seconds)  # every process warm
        for number in range(rounds):
            for durability, count in cases:
                load = await closed_loop(partial(run, durability), count, seconds=seconds)
                loads[durability, count].append(load)
                rate = f"{load.per_s * NODES:,.0f} steps/s"
                progress(f"round {number + 1}/{rounds}: {durability:<5} {count:>4} at a time: {rate}")
    return loads


def rows_of(loads: dict[Case, list[Load]]) -> list[dict[str, Any]]:
    """One row for each case; the ratio to the first is taken within a round."""
    first = next(iter(loads.values()))
    return [
        {
            "durability": durability,
            "at_a_time": count,
            "steps_per_s": Summary.of([load.per_s * NODES for load in measured]),
            "workflow_p50_s": Summary.of([percentile(load.latencies_s, 50) for load in measured]),
            "workflow_p99_s": Summary.of([percentile(load.latencies_s, 99) for load in measured]),
            "over_first": Summary.of([ours.per_s / one.per_s for ours, one in zip(measured, first, strict=True)]),
        }
        for (durability, count), measured in loads.items()
    ]


def run(
    at_a_time: Annotated[list[int], typer.Option(help="Workflows at a time; repeatable.")] = [  # noqa: B006
        1,
        16,
        64,
    ],
    durability: Annotated[list[Durability], typer.Option(help="When steps are stored; repeatable.")] = [  # noqa: B006
        Durability.SYNC,
        Durability.ASYNC,
        Durability.EXIT,
    ],
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 2.0,
) -> None:
    """Durable steps a second: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as home:
        loads = uvloop.run(measure(home, list(product(durability, at_a_time)), rounds, seconds))
    rows = rows_of(loads)
    show(
        f"{_QUESTION}\n{rounds} rounds of {seconds} s; median (lowest-highest)",
        ["durability", "at a time", "steps/s", "workflow p50 ms", "p99 ms", "over first"],
        [
            [
                row["durability"],
                str(row["at_a_time"]),
                f"{row['steps_per_s']:,.0f}",
                f"{row['workflow_p50_s'].median * 1e3:.1f}",
                f"{row['workflow_p99_s'].median * 1e3:.1f}",
                f"{row['over_first']:.1f}",
            ]
            for row in rows
        ],
    )
    progress(f"written to {save('chain', _QUESTION, {'rounds': rounds, 'seconds': seconds}, rows)}")


if __name__ == "__main__":
    typer.run(run)
