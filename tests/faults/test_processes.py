"""One process after the other is killed while threads run: what survives it (the table in `docs/durability.md`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from graphs.threads import main_thread_id
from runtime import END, START, Graph
from tests.faults.cluster import Cluster, stopped

pytestmark = pytest.mark.integration

STEPS = 8


class Count(BaseModel):
    log: str = ""
    """File in which every run of a node leaves a line."""
    takes_s: float = 0.1
    """How long a step takes."""
    n: int = 0
    noted: int = 0


def counting(name: str) -> Graph:
    """A loop of `STEPS` steps, which one executor runs in a row."""
    g = Graph(name, state=Count)
    g.node(count)
    g.edge(START, "count")
    g.edge("count", "count", when=f"state.n < {STEPS}")
    g.edge("count", END, default=True)
    return g


def alternating(name: str) -> Graph:
    """A loop of `STEPS` steps, and one of a tool after each: the host is needed for every step."""
    g = Graph(name, state=Count)
    g.node(count)
    g.tool("note", tool="calculator", arguments={"expression": "{n}"}, into="noted")
    g.edge(START, "count")
    g.edge("count", "note")
    g.edge("note", "count", when=f"state.n < {STEPS}")
    g.edge("note", END, default=True)
    return g


def sleeping(name: str) -> Graph:
    """A pause of two seconds, then a step."""
    g = Graph(name, state=Count)
    g.wait("pause", seconds=2.0)
    g.node(count)
    g.edge(START, "pause")
    g.edge("pause", "count")
    g.edge("count", END)
    return g


async def count(state: Count, ctx: Any) -> dict[str, Any]:
    with Path(state.log).open("a") as log:  # noqa: ASYNC230 - quicker than any way around it
        log.write(f"{ctx.thread_id} {ctx.seq} {ctx.attempt} {os.getpid()}\n")
    await asyncio.sleep(state.takes_s)
    return {"n": state.n + 1}


def runs(log: Path) -> list[tuple[str, int, int, int]]:
    """(thread, seq, attempt, process id) of every run."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(thread, int(seq), int(attempt), int(pid)) for thread, seq, attempt, pid in lines]


def check(cluster: Cluster, thread_id: str, *nodes: str) -> None:
    """The thread has gone round to the end, and each step is in its journal once."""
    entries = cluster.entries(thread_id)
    steps = [entry.node for entry in entries if entry.kind is EntryKind.STEP_FINISHED]
    assert steps == [*(nodes or ("count",))] * STEPS
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


def test_threads_of_a_killed_host_go_on_elsewhere_though_nobody_asks(cluster: Cluster, log: Path) -> None:
    cluster.rt.deploy(alternating("faults-host"))
    threads = [cluster.rt.session("faults-host").submit({"log": str(log)}) for _ in range(6)]
    before = {thread.id: cluster.reached(thread.id, 2) for thread in threads}
    victim = before[threads[0].id].host

    cluster.kill(victim)

    for thread in threads:
        after = cluster.over(thread.id)
        check(cluster, thread.id, "count", "note")
        moved = before[thread.id].host == victim
        assert (after.epoch > before[thread.id].epoch) == moved
        assert after.host != victim
    cluster.until(lambda: len(cluster.pids("host")) == 2, "another host has taken its place")


def test_running_threads_do_not_notice_the_death_of_the_supervisor(cluster: Cluster, log: Path) -> None:
    cluster.rt.deploy(alternating("faults-supervisor"))
    threads = [cluster.rt.session("faults-supervisor").submit({"log": str(log)}) for _ in range(4)]
    before = {thread.id: cluster.reached(thread.id, 2) for thread in threads}
    processes = cluster.pids("host") | cluster.pids("function")

    old = cluster.kill("supervisor")

    for thread in threads:
        after = cluster.over(thread.id)
        check(cluster, thread.id, "count", "note")
        assert (after.host, after.epoch) == (before[thread.id].host, before[thread.id].epoch)
    assert len(runs(log)) == STEPS * len(threads), "nothing ran twice"
    cluster.until(lambda: cluster.pids("supervisor").get("supervisor") not in (None, old), "there is a supervisor")
    assert cluster.pids("host") | cluster.pids("function") == processes, "it has found what was there"
    assert cluster.rt.session("faults-supervisor").run({"log": str(log)}, timeout_s=30).state.n == STEPS


def test_a_suspended_supervisor_is_replaced_and_takes_up_what_came_meanwhile(cluster: Cluster, log: Path) -> None:
    """A host dies and a time comes while nobody watches; the other host ends the supervisor, which starts again."""
    cluster.rt.deploy(alternating("faults-suspended"))
    cluster.rt.deploy(sleeping("faults-sleeping"))
    sessions = [cluster.rt.session("faults-suspended") for _ in range(4)]
    victim, other = cluster.until(lambda: hosts if len(hosts := cluster.pids("host")) == 2 else None, "there are two")
    sessions[0]._session._client._hosts = ()  # a driver that may not know yet who has come for the dead of other tests
    placed = {}
    for session, host in zip(sessions, (victim, victim, other, other), strict=True):
        placed[main_thread_id(session.id)] = session._session._home.host = host
    threads = [session.submit({"log": str(log), "takes_s": 0.4}) for session in sessions]
    before = {thread.id: cluster.reached(thread.id, 2) for thread in threads}
    assert {thread_id: head.host for thread_id, head in before.items()} == placed
    sleeper = cluster.rt.session("faults-sleeping").submit({"log": str(log)})
    cluster.reached(sleeper.id, 2)

    with stopped(cluster.pids("supervisor")["supervisor"]) as has_ended:
        cluster.kill(victim)

        cluster.until(has_ended, "the suspended one is ended for good", within_s=90.0)  # 65 if no host knew it yet
        after = {thread.id: cluster.over(thread.id) for thread in threads}
        for thread in threads:
            check(cluster, thread.id, "count", "note")
            assert after[thread.id].host != victim
        moved = [after[thread.id].epoch > before[thread.id].epoch for thread in threads]
        assert moved == [True, True, False, False], "threads of a host that lives do not notice"
        cluster.over(sleeper.id)
        assert [entry.kind for entry in cluster.entries(sleeper.id)] == [
            EntryKind.TURN_STARTED,
            EntryKind.PAUSED,
            EntryKind.RESUMED,
            EntryKind.STEP_FINISHED,
            EntryKind.TURN_FINISHED,
        ]
    cluster.until(lambda: len(cluster.pids("host")) == 2, "another host has taken its place")
    assert cluster.rt.session("faults-suspended").run({"log": str(log)}, timeout_s=30).state.n == STEPS


def test_supervisor_and_host_die_together(cluster: Cluster, log: Path) -> None:
    cluster.rt.deploy(alternating("faults-both"))
    threads = [cluster.rt.session("faults-both").submit({"log": str(log)}) for _ in range(4)]
    before = {thread.id: cluster.reached(thread.id, 2) for thread in threads}

    cluster.kill("supervisor")
    cluster.kill(before[threads[0].id].host)

    for thread in threads:
        cluster.over(thread.id)
        check(cluster, thread.id, "count", "note")


def test_a_suspended_host_loses_its_threads_and_what_it_had_begun_is_refused(cluster: Cluster, log: Path) -> None:
    """Seen from outside a host that is stopped is a dead one, but steps go on that were begun for it."""
    cluster.rt.deploy(alternating("faults-stopped"))
    slow = [
        cluster.rt.session("faults-stopped").submit({"log": str(log), "takes_s": 4.0, "n": STEPS - 1}) for _ in range(4)
    ]
    cluster.until(lambda: {run[0] for run in runs(log)} >= {thread.id for thread in slow}, "all have begun")
    heads = {thread.id: cluster.head(thread.id) for thread in slow}
    victim = heads[slow[0].id].host

    with stopped(cluster.pids("host")[victim]):
        for thread in slow:
            cluster.over(thread.id)

    for thread in slow:
        head = cluster.head(thread.id)
        moved = heads[thread.id].host == victim
        assert head.host != victim
        assert (head.fenced > 0) == moved, "the step that was begun for the stopped host is not recorded"
        assert [entry.node for entry in cluster.entries(thread.id)] == [None, "count", "note", None]


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
