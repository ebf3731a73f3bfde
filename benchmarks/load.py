"""How many turns a second does the shipped workflow `load` take, in a closed loop and in an open one?

The same engine as `greenroom bench load`, on a Greenroom of its own: a scripted model that takes some time, a tool, and
a loop of two rounds; eight journalled entries a turn. The closed loop has so many turns at a time. The open loop lets
turns arrive at a part of the rate that the closed loop has reached, so that its latencies are those of a system that
has room, counted from when each turn was to arrive.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from actors.llm.settings import Latency
from benchmarks.harness import progress, save, show
from graphs.workflow.registry import template
from runtime import AsyncRuntime
from runtime.load.driver import LoadDriver
from runtime.load.plan import LoadPlan
from runtime.load.results import Goal, LoadResult, ProbeRow, milliseconds
from runtime.load.runs import find_max, run_load
from runtime.load.target import RuntimeTarget
from runtime.load.view import line, title

_QUESTION = "turns/s of the workflow load: a scripted model and a tool, two rounds"
WORKFLOW = "load"


class _Screen:
    """Says now and then how it is going."""

    @contextmanager
    def showing(self, driver: LoadDriver) -> Any:
        progress(title(driver.plan))
        driver.on_interval = lambda interval: progress(line(interval))
        yield

    def probed(self, row: ProbeRow) -> None:
        progress(f"{row.rate_per_s:g}/s: p99 {milliseconds(row.p99_s)}, {'held' if row.held else 'not held'}")


async def measure(
    home: str, concurrency: list[int], seconds: float, part: float, goal_p99_s: float | None, latency: Latency
) -> list[LoadResult]:
    """Closed loops, then an open one, then the search, if there is a goal."""
    options = {"kind": latency.kind, "mean_s": latency.mean_s, "spread_s": latency.spread_s}
    results = []
    async with AsyncRuntime(home=home, models={"scripted": {"provider": "scripted", "latency": options}}) as runtime:
        (ref,) = await runtime.deploy(template(WORKFLOW))
        target = RuntimeTarget(runtime, ref, "benchmark", Path(home))
        plan = LoadPlan(workflow=WORKFLOW, duration_s=seconds, model_latency=latency)
        for count in concurrency:
            closed = msgspec.structs.replace(plan, concurrency=count)
            results.append(await run_load(closed, Goal(), target, [{}], "Ray", _Screen()))
        rate = max(result.completed_per_s for result in results) * part
        opened = msgspec.structs.replace(plan, rate_per_s=round(rate, 1))
        results.append(await run_load(opened, Goal(), target, [{}], "Ray", _Screen()))
        if goal_p99_s is not None:
            results.append(await find_max(opened, Goal(p99_s=goal_p99_s), target, [{}], "Ray", _Screen()))
    return results


def run(
    concurrency: Annotated[list[int], typer.Option(help="Turns at a time; repeatable.")] = [1, 16, 64],  # noqa: B006
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 10.0,
    part: Annotated[float, typer.Option(min=0.01, help="Rate of the open loop, as a part of the closed loop's.")] = 0.5,
    goal_p99: Annotated[
        float | None, typer.Option(help="Also search the highest rate that keeps it, in seconds.")
    ] = None,
    model_latency: Annotated[float, typer.Option(min=0, help="Seconds that the model takes.")] = 0.02,
) -> None:
    """Turns a second: measure, print a table, and write the results to benchmarks/results/."""
    latency = Latency(mean_s=model_latency)
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as home:
        results = asyncio.run(measure(home, concurrency, seconds, part, goal_p99, latency))
    show(
        f"{_QUESTION}\nmodel {model_latency:g} s, {seconds:g} s each",
        ["loop", "turns/s", "p50", "p95", "p99", "p99.9", "errors"],
        [
            [
                title(result.plan) + (" (found)" if result.search is not None else ""),
                f"{result.completed_per_s:,.1f}",
                *(
                    milliseconds(value)
                    for value in (
                        result.latency.p50_s,
                        result.latency.p95_s,
                        result.latency.p99_s,
                        result.latency.p999_s,
                    )
                ),
                f"{result.error_rate:.2%}",
            ]
            for result in results
        ],
    )
    parameters = {"seconds": seconds, "part": part, "model_latency_s": model_latency, "goal_p99_s": goal_p99}
    save("load", _QUESTION, parameters, msgspec.to_builtins(results))


if __name__ == "__main__":
    typer.run(run)
