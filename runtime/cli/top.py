"""`greenroom top`: what the processes of a running Greenroom are doing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.facts import StepCounts
from actors.protocol import Cluster
from actors.supervisor.launcher import HOST
from runtime import services
from runtime.cli.output import JsonFlag, Output
from runtime.cli.sessions import size_text
from runtime.client import AsyncClient
from runtime.config import Config, load_config
from runtime.errors import ServiceError
from runtime.servers import RayService

COLUMNS = ("process", "memory", "threads", "waiting", "steps/s", "p99", "failed/s", "tokens/s", "pid")

IntervalOption = Annotated[
    float, typer.Option("--interval", min=0.1, metavar="S", help="Seconds between two looks; rates are of that time.")
]


def top(interval: IntervalOption = 1.0, as_json: JsonFlag = False) -> None:
    """Show hosts, executors, running and waiting turns, steps a second and memory, until interrupted.

    Where there is no terminal, and with --json, it looks twice and ends. Starts nothing.
    """
    config = load_config()
    _check_running(config)
    asyncio.run(_top(config, interval, Output(as_json=as_json)))


def _check_running(config: Config) -> None:
    """Raise `ServiceError` if there is nothing to look at, which is then not started for that."""
    if config.ray.address is None and services.status(config.home, RayService.name).state != "running":
        raise ServiceError("no local Greenroom runs; `greenroom up` starts one", service=RayService.name)


async def _top(config: Config, interval_s: float, out: Output) -> None:
    from runtime.runtime import AsyncRuntime  # Ray takes half a second to import

    async with AsyncRuntime() as runtime:
        before, at = await runtime.cluster(), time.monotonic()
        seen = await _look(runtime, before, at, interval_s)
        shown = table(seen)
        with out.live(lambda: shown) as live:
            while live is not None:
                before, at = await runtime.cluster(), time.monotonic()
                seen = await _look(runtime, before, at, interval_s)
                shown = table(seen)
        if out.as_json:
            out.data(seen)
        out.show(shown)


async def _look(runtime: AsyncClient, before: Cluster, at: float, interval_s: float) -> dict[str, Any]:
    await asyncio.sleep(interval_s)
    return summary(before, await runtime.cluster(), time.monotonic() - at)


def summary(before: Cluster, after: Cluster, seconds: float) -> dict[str, Any]:
    """What two looks at a cluster, so many seconds apart, say together."""
    earlier = {process.address: process.facts.steps for process in before.processes}
    rows, steps = [], []
    for process in after.processes:
        facts = process.facts
        # One that did not answer has counted nothing, as far as is known.
        new = facts.steps.since(earlier.get(process.address, StepCounts()))
        steps.append(new if new.count > 0 else StepCounts())
        rows.append(
            {
                "process": process.address,
                "kind": process.kind,
                "pid": process.pid,
                "node_id": process.node_id,
                "memory_bytes": facts.rss_bytes,
                "threads": facts.threads,
                "waiting": facts.waiting,
                **_rates(steps[-1], seconds),
            }
        )
    hosts = [process for process in after.processes if process.kind == HOST]
    return {
        "hosts": len(hosts),
        "executors": len(rows) - len(hosts),
        "threads": sum(row["threads"] for row in rows),
        "waiting": after.waiting,
        "memory_bytes": after.supervisor_rss_bytes + sum(row["memory_bytes"] for row in rows),
        **_rates(reduce(add, steps, StepCounts()), seconds),
        "processes": rows,
    }


def _rates(steps: StepCounts, seconds: float) -> dict[str, Any]:
    p99_s = steps.percentile_s(99)
    return {
        "steps_per_s": round(steps.count / seconds, 1),
        "failed_per_s": round(steps.failed / seconds, 1),
        "tokens_per_s": round(steps.tokens / seconds, 1),
        "step_p99_s": p99_s if steps.count and p99_s != float("inf") else None,
    }


def table(seen: dict[str, Any]) -> RenderableType:
    """What was seen, for people."""
    drawn = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for column in drawn.columns[1:]:
        column.justify = "right"
    for row in seen["processes"]:
        runs = row["kind"] == HOST
        cells = (str(row["threads"]), str(row["waiting"])) if runs else ("-", "-")
        rates = ("-",) * 4 if runs else _cells(row)
        drawn.add_row(*map(Text, (row["process"], _memory(row), *cells, *rates, str(row["pid"]))))
    head = (
        f"{seen['hosts']} hosts, {seen['executors']} executors, {_memory(seen)}; {seen['threads']} threads run, "
        f"{seen['waiting']} turns wait; {seen['steps_per_s']:,} steps/s, p99 within {_p99(seen)}"
    )
    return Group(Text(head, style="bold"), drawn)


def _cells(row: dict[str, Any]) -> Sequence[str]:
    return f"{row['steps_per_s']:,}", _p99(row), f"{row['failed_per_s']:,}", f"{row['tokens_per_s']:,}"


def _p99(row: dict[str, Any]) -> str:
    return "-" if row["step_p99_s"] is None else f"{row['step_p99_s'] * 1e3:g} ms"


def _memory(row: dict[str, Any]) -> str:
    return size_text(row["memory_bytes"]) if row["memory_bytes"] else "-"
