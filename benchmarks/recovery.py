"""How long does a thread stand still whose host is killed?

Threads in chains of ten steps of 0.3 s run on two hosts when one of them is killed with SIGKILL. Nobody asks for their
results: what is measured is the time from the kill until each thread that has moved has journalled a step that began
after the kill. Every second step is a tool's, so that a host is needed for each.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from typing import Annotated, Any

import typer
import uvloop
from pydantic import BaseModel

from actors.ports import Head
from benchmarks.harness import Summary, percentile, progress, save, show
from graphs.journal import EntryKind, JournalEntry
from runtime import END, START, AsyncRuntime, Graph

_QUESTION = "seconds from the kill -9 of a host to the next journalled step of each of its threads"
STEPS = 10
STEP_S = 0.3
TARGET_S = 2.0
_OVER_WITHIN_S = 120.0


class Count(BaseModel):
    """What a chain counts."""

    n: int = 0
    noted: int = 0


def chain() -> Graph:
    """Steps that sleep, and a tool after each, which brings the thread back to its host."""
    graph = Graph("benchmark-recovery", state=Count)
    previous = START
    for number in range(STEPS):
        name, tool = f"step{number}", f"tool{number}"
        graph.node(count, name=name)
        graph.tool(tool, tool="calculator", arguments={"expression": "{n} * 2"}, into="noted")
        graph.edge(previous, name)
        graph.edge(name, tool)
        previous = tool
    graph.edge(previous, END)
    return graph


async def count(state: Count) -> dict[str, Any]:
    """A step."""
    await asyncio.sleep(STEP_S)
    return {"n": state.n + 1}


class Moved(BaseModel):
    """What one round has shown."""

    threads: int
    pauses_s: list[float]
    """Of the threads that have moved."""
    wrong: int
    """Threads with another result than without the kill."""
    lost_or_doubled: int
    """Steps that are not in the journal exactly once."""


async def measure(home: str, threads: int) -> Moved:
    """Kill the host of half of the threads in the middle of their chains."""
    async with AsyncRuntime(home=home, models={"default": {"provider": "scripted"}}) as runtime:
        await runtime.deploy(chain())
        session = await runtime.session("benchmark-recovery")
        await session.run({})  # every process warm
        sessions = await asyncio.gather(*(runtime.session("benchmark-recovery") for _ in range(threads)))
        handles = await asyncio.gather(*(session.submit({}) for session in sessions))
        journal = runtime.records.store.journal
        await asyncio.sleep(STEPS * STEP_S / 3)
        before = {handle.id: await journal.head(handle.id) for handle in handles}
        hosts = [process for process in (await runtime.cluster()).processes if process.kind == "host"]
        carried = {host.address: _on(host.address, before) for host in hosts}
        victim = max(hosts, key=lambda host: len(carried[host.address]))
        os.kill(victim.pid, signal.SIGKILL)
        killed_at = time.time()
        progress(f"killed {victim.address} with {len(carried[victim.address])} of {threads} threads")
        async with asyncio.timeout(_OVER_WITHIN_S):
            entries = [await _whole(runtime, handle.id) for handle in handles]
    return Moved(
        threads=threads,
        pauses_s=[
            next(entry.at for entry in journalled if (entry.started_at or 0.0) > killed_at) - killed_at
            for handle, journalled in zip(handles, entries, strict=True)
            if handle.id in carried[victim.address]
        ],
        wrong=sum(journalled[-1].cursor.status != "completed" for journalled in entries),
        lost_or_doubled=sum(map(_lost_or_doubled, entries)),
    )


def _on(host: str, heads: dict[str, Head | None]) -> list[str]:
    """The running threads of a host."""
    return [
        thread_id
        for thread_id, head in heads.items()
        if head is not None and head.host == host and not head.cursor.status.finished
    ]


async def _whole(runtime: AsyncRuntime, thread_id: str) -> list[JournalEntry]:
    """The journal of a thread when its turn is over, without asking any actor for it."""
    entries: list[JournalEntry] = []
    async for item in runtime.records.store.journal.follow(thread_id):
        if isinstance(item, JournalEntry):
            entries.append(item)
            if item.kind is EntryKind.TURN_FINISHED:
                break
    return entries


def _lost_or_doubled(entries: list[JournalEntry]) -> int:
    nodes = [entry.node for entry in entries if entry.kind is EntryKind.STEP_FINISHED]
    expected = [name for number in range(STEPS) for name in (f"step{number}", f"tool{number}")]
    return abs(len(nodes) - len(expected)) + sum(a != b for a, b in zip(nodes, expected, strict=False))


def run(
    threads: Annotated[int, typer.Option(min=2, help="On two hosts.")] = 200,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Recovery of a host: measure, print a table, and write the result to benchmarks/results/."""
    measured = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="gr-bench-") as home:
            measured.append(uvloop.run(measure(home, threads)))
    rows = [
        {
            "moved": len(each.pauses_s),
            "wrong": each.wrong,
            "lost_or_doubled": each.lost_or_doubled,
            "p50_s": percentile(each.pauses_s, 50),
            "p95_s": percentile(each.pauses_s, 95),
            "max_s": max(each.pauses_s),
        }
        for each in measured
    ]
    show(
        f"{_QUESTION}\np95 to reach: {TARGET_S} s; in all rounds: {Summary.of([row['p95_s'] for row in rows]):.2f}",
        ["moved", "wrong", "lost or doubled", "p50 s", "p95 s", "max s"],
        [
            [
                str(row["moved"]),
                str(row["wrong"]),
                str(row["lost_or_doubled"]),
                *(f"{row[name]:.2f}" for name in ("p50_s", "p95_s", "max_s")),
            ]
            for row in rows
        ],
    )
    save("recovery", _QUESTION, {"threads": threads, "rounds": rounds}, rows)


if __name__ == "__main__":
    typer.run(run)
