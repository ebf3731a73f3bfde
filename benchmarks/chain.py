"""How many durable steps a second does a chain of ten no-op nodes make, one workflow at a time and many?

Each step is journalled in Valkey before the next begins (`sync`). A run is a new session with one turn of ten steps,
started by one driver and answered with its final state.
"""

from __future__ import annotations

import tempfile
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import Load, Summary, closed_loop, percentile, progress, save, show
from runtime import END, START, AsyncRuntime, Graph

_QUESTION = "durable steps/s of a chain of 10 no-op nodes, journalled in Valkey step by step"
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


async def measure(home: str, at_a_time: list[int], rounds: int, seconds: float) -> dict[int, list[Load]]:
    """Closed loops of so many workflows at a time, in turn, every round."""
    loads: dict[int, list[Load]] = {count: [] for count in at_a_time}
    async with AsyncRuntime(home=home, models={"default": {"provider": "scripted"}}) as runtime:
        await runtime.deploy(chain())

        async def run() -> None:
            session = await runtime.session("benchmark-chain")
            result = await session.run({})
            assert result.status == "completed", result.error
            assert result.seq == NODES + 2

        await closed_loop(run, 16, seconds=seconds)  # every process warm
        for number in range(rounds):
            for count in at_a_time:
                load = await closed_loop(run, count, seconds=seconds)
                loads[count].append(load)
                progress(f"round {number + 1}/{rounds}: {count:>4} at a time: {load.per_s * NODES:,.0f} steps/s")
    return loads


def rows_of(loads: dict[int, list[Load]]) -> list[dict[str, Any]]:
    """One row for each number at a time; the ratio to the first is taken within a round."""
    first = next(iter(loads.values()))
    return [
        {
            "at_a_time": count,
            "steps_per_s": Summary.of([load.per_s * NODES for load in measured]),
            "workflow_p50_s": Summary.of([percentile(load.latencies_s, 50) for load in measured]),
            "workflow_p99_s": Summary.of([percentile(load.latencies_s, 99) for load in measured]),
            "over_first": Summary.of([ours.per_s / one.per_s for ours, one in zip(measured, first, strict=True)]),
        }
        for count, measured in loads.items()
    ]


def run(
    at_a_time: Annotated[list[int], typer.Option(help="Workflows at a time; repeatable.")] = [  # noqa: B006
        1,
        16,
        64,
    ],
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 2.0,
) -> None:
    """Durable steps a second: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-") as home:
        loads = uvloop.run(measure(home, at_a_time, rounds, seconds))
    rows = rows_of(loads)
    show(
        f"{_QUESTION}\n{rounds} rounds of {seconds} s; median (lowest-highest)",
        ["at a time", "steps/s", "workflow p50 ms", "p99 ms", "over first"],
        [
            [
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
