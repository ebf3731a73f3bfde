"""One process after the other is killed while threads run: what survives it (the table in `docs/durability.md`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.integration

STEPS = 8


class Count(BaseModel):
    log: str = ""
    """File in which every run of a node leaves a line."""
    n: int = 0


def counting(name: str) -> Graph:
    """A loop of `STEPS` steps, which one executor runs in a row."""
    g = Graph(name, state=Count)
    g.node(count)
    g.edge(START, "count")
    g.edge("count", "count", when=f"state.n < {STEPS}")
    g.edge("count", END, default=True)
    return g


async def count(state: Count, ctx: Any) -> dict[str, Any]:
    with Path(state.log).open("a") as log:  # noqa: ASYNC230 - quicker than any way around it
        log.write(f"{ctx.thread_id} {ctx.seq} {ctx.attempt} {os.getpid()}\n")
    await asyncio.sleep(0.1)
    return {"n": state.n + 1}


def runs(log: Path) -> list[tuple[str, int, int, int]]:
    """(thread, seq, attempt, process id) of every run."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(thread, int(seq), int(attempt), int(pid)) for thread, seq, attempt, pid in lines]


def check(cluster: Cluster, thread_id: str) -> None:
    """The thread has gone round to the end, and each step is in its journal once."""
    entries = cluster.entries(thread_id)
    steps = [entry.node for entry in entries if entry.kind is EntryKind.STEP_FINISHED]
    assert steps == ["count"] * STEPS
    assert [entry.kind for entry in entries if entry.kind is not EntryKind.STEP_FINISHED] == [
        EntryKind.TURN_STARTED,
        EntryKind.TURN_FINISHED,
    ]
    assert entries[-1].cursor.status == "completed"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "runs.txt"


def test_a_step_runs_again_on_another_executor(cluster: Cluster, log: Path) -> None:
    cluster.rt.deploy(counting("faults-executor"))
    thread = cluster.rt.session("faults-executor").submit({"log": str(log)})
    before = cluster.reached(thread.id, 3)
    executors = cluster.pids("function")
    busy = runs(log)[-1][3]
    (address,) = [address for address, pid in executors.items() if pid == busy]

    cluster.kill(address)
    result = thread.result(timeout_s=30)

    assert result.state.n == STEPS
    check(cluster, thread.id)
    after = cluster.head(thread.id)
    assert (after.host, after.epoch) == (before.host, before.epoch), "its host did not even notice"
    (again,) = [entry for entry in cluster.entries(thread.id) if entry.attempt > 1]
    assert again.attempt == 2
    assert [run[1:3] for run in runs(log)].count((again.seq, 2)) == 1
    cluster.until(lambda: len(cluster.pids("function")) == 2, "another executor has taken its place")


def test_nothing_acknowledged_is_lost_when_the_store_is_killed(cluster: Cluster, log: Path) -> None:
    cluster.rt.deploy(counting("faults-store"))
    threads = [cluster.rt.session("faults-store").submit({"log": str(log)}) for _ in range(6)]
    for thread in threads:
        cluster.reached(thread.id, 3)
    acknowledged = {thread.id: cluster.entries(thread.id) for thread in threads}

    cluster.kill_store()

    for thread in threads:
        assert thread.result(timeout_s=60).state.n == STEPS
        check(cluster, thread.id)
        entries = cluster.entries(thread.id)
        assert entries[: len(acknowledged[thread.id])] == acknowledged[thread.id]
