"""Random processes are killed about every second while workflows of all kinds run: all of them end right.

The seed of a failed run is in its output; `--chaos-seed N` repeats its schedule of deaths.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph, append
from tests.faults.chaos import Killer, schedule
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.integration

TIMEOUT_S = 200.0


class Job(BaseModel):
    db: str = ""
    """SQLite file of the effects."""
    n: int = 0
    items: list[int] = []
    squares: list[int] = []
    noted: int = 0
    notes: Annotated[list[str], append] = []


def affect(db: str, key: str) -> None:
    """An effect in the world outside, done once without and once with the idempotency key."""
    with closing(sqlite3.connect(db, timeout=30.0)) as connection, connection:
        connection.execute("INSERT INTO runs VALUES (?)", (key,))
        connection.execute("INSERT OR IGNORE INTO effects VALUES (?)", (key,))


def work(name: str, takes_s: float, *, counts: bool = True) -> Callable[..., Any]:
    """A node with an effect. Branches leave `n` alone, which has no reducer."""

    async def node(state: Job, ctx: Any) -> dict[str, Any]:
        affect(state.db, ctx.idempotency_key)
        await asyncio.sleep(takes_s)
        return {"notes": name, "n": state.n + 1} if counts else {"notes": name}

    return node


def chain() -> Graph:
    g = Graph("chaos-chain", state=Job)
    at = START
    for name in ("a", "b", "c", "d"):
        g.node(work(name, 0.1), name=name)
        g.tool(f"{name}_tool", tool="calculator", arguments={"expression": "{noted} + 1"}, into="noted")
        g.edge(at, name)
        g.edge(name, f"{name}_tool")
        at = f"{name}_tool"
    g.edge(at, END)
    return g


def loop() -> Graph:
    g = Graph("chaos-loop", state=Job)
    g.node(work("round", 0.15), name="round")
    g.edge(START, "round")
    g.edge("round", "round", when="state.n < 8")
    g.edge("round", END, default=True)
    return g


def fork() -> Graph:
    g = Graph("chaos-fork", state=Job)
    g.fork("split")
    g.edge(START, "split")
    g.node(work("join", 0.05), name="join")
    for name, takes_s in (("a", 0.1), ("b", 0.3), ("c", 0.5)):
        g.node(work(name, takes_s, counts=False), name=name)
        g.node(work(f"{name}2", takes_s, counts=False), name=f"{name}2")
        g.edge("split", name)
        g.edge(name, f"{name}2")
        g.edge(f"{name}2", "join")
    g.edge("join", END)
    return g


def mapped() -> Graph:
    g = Graph("chaos-map", state=Job)

    @g.node
    async def square(item: int) -> int:
        await asyncio.sleep(0.1 * item)
        return item * item

    g.map("each", over="items", node="square", into="squares", max_concurrency=3)
    g.node(work("sum", 0.05), name="sum")
    g.edge(START, "each")
    g.edge("each", "sum")
    g.edge("sum", END)
    return g


def asking() -> Graph:
    """A person is asked, and after the answer a second passes."""
    g = Graph("chaos-asking", state=Job)
    for name in ("before", "after", "last"):
        g.node(work(name, 0.1), name=name)
    g.human("ask", question="How many?", into="noted")
    g.wait("wait", seconds=1.0)
    for source, target in pairwise((START, "before", "ask", "after", "wait", "last", END)):
        g.edge(source, target)
    return g


GRAPHS = {"chain": chain, "loop": loop, "fork": fork, "map": mapped, "asking": asking}
EXPECTED = {
    "chain": {"n": 4, "noted": 4, "notes": list("abcd")},
    "loop": {"n": 8, "notes": ["round"] * 8},
    "fork": {"n": 1, "notes": ["a", "a2", "b", "b2", "c", "c2", "join"]},
    "asking": {"n": 3, "noted": 42, "notes": ["before", "after", "last"]},
    "map": {"n": 1, "items": [3, 1, 2, 4], "squares": [9, 1, 4, 16], "notes": ["sum"]},
}


def drive(cluster: Cluster, kind: str, db: Path) -> tuple[str, dict[str, Any]]:
    """Run one workflow as a driver does; its session and how it ended."""
    session = cluster.rt.session(f"chaos-{kind}")
    content = {"db": str(db)} | ({"items": [3, 1, 2, 4]} if kind == "map" else {})
    result = session.run(content, timeout_s=TIMEOUT_S)
    if result.pause is not None:
        thread = cluster.rt.thread(result.thread_id)
        thread.answer(42)
        result = thread.result(timeout_s=TIMEOUT_S)
    state = {name: value for name, value in result.state.items() if value and name != "db"}
    return session.id, {"status": result.status.value, "error": result.error, "state": state}


def check_effects(cluster: Cluster, sessions: list[str], db: Path) -> None:
    """Every step that is recorded has had its effect: once at least, and with its key exactly once."""
    keys: list[str] = []
    for session in sessions:
        for head in cluster.rt.session(id=session).threads():
            assert head.cursor.status == "completed", head
            entries = cluster.entries(head.thread.id)
            keys += [
                f"{head.thread.id}:{entry.seq}"
                for entry in entries
                if entry.kind is EntryKind.STEP_FINISHED and not _has_no_effect(entry.node)
            ]
    with closing(sqlite3.connect(db)) as connection:
        runs = Counter(key for (key,) in connection.execute("SELECT key FROM runs"))
        effects = Counter(key for (key,) in connection.execute("SELECT key FROM effects"))
    assert effects == Counter(keys)
    assert runs.keys() == effects.keys()
    print(f"{len(keys)} steps with an effect, {runs.total() - len(keys)} of them done again")


def _has_no_effect(node: str | None) -> bool:
    return node is None or node == "square" or node.endswith("_tool")


def unleash(cluster: Cluster, workflows: int, at_a_time: int, seed: int, tmp_path: Path) -> None:
    db = tmp_path / "effects.sqlite"
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE runs (key TEXT)")
        connection.execute("CREATE TABLE effects (key TEXT PRIMARY KEY)")
    cluster.rt.deploy(*(build() for build in GRAPHS.values()))
    kinds = [list(GRAPHS)[number % len(GRAPHS)] for number in range(workflows)]
    print(f"--chaos-seed {seed}")
    killer = Killer(cluster, schedule(seed, 1_000, 1.0))
    with killer.at_work(), ThreadPoolExecutor(at_a_time) as drivers:
        ended = list(drivers.map(lambda kind: drive(cluster, kind, db), kinds))
    print("\n".join(killer.done))
    assert [outcome for _, outcome in ended] == [
        {"status": "completed", "error": None, "state": EXPECTED[kind]} for kind in kinds
    ]
    check_effects(cluster, [session for session, _ in ended], db)
    cluster.until(lambda: not cluster.open_threads(), "no thread is open")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--chaos-seed")
    return random.SystemRandom().randrange(10_000) if given is None else given


@pytest.mark.timeout(120)
def test_forty_workflows_end_right_whoever_is_killed(cluster: Cluster, seed: int, tmp_path: Path) -> None:
    unleash(cluster, 40, 20, seed, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_hundred_workflows_end_right_whoever_is_killed(cluster: Cluster, seed: int, tmp_path: Path) -> None:
    unleash(cluster, 200, 12, seed, tmp_path)
