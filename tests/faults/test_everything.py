"""Ray, its actors, Valkey, their keepers and the driver are killed at once; `greenroom up` goes on with everything."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from actors.stores.redis import RedisStore
from graphs.journal import EntryKind, JournalEntry
from runtime.keeper import session_members
from runtime.servers import ModelService, RayService, ValkeyService, ray_directory
from runtime.service import ServicePaths, ServiceRecord
from runtime.services import stop
from tests.conftest import driver_environment
from tests.faults.cluster import Cluster, kill

pytestmark = pytest.mark.integration

THREADS = 50
STEPS = 12
PATIENCE_S = 90.0

PROGRAM = f"""
import asyncio, sys
from pathlib import Path
from pydantic import BaseModel
from runtime import END, START, Graph, Runtime

class Count(BaseModel):
    log: str = ""
    n: int = 0

g = Graph("everything", state=Count)

@g.node
async def count(state: Count, ctx) -> dict:
    with Path(state.log).open("a") as log:
        log.write(ctx.idempotency_key + "\\n")
    await asyncio.sleep(0.25)
    return {{"n": state.n + 1}}

g.edge(START, "count")
g.edge("count", "count", when="state.n < {STEPS}")
g.edge("count", END, default=True)

if __name__ == "__main__":
    with Runtime() as rt:
        rt.deploy(g)
        for _ in range({THREADS}):
            print(rt.session("everything").submit({{"log": sys.argv[1]}}).id, flush=True)
        print("all", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    for name in (RayService.name, ValkeyService.name, ModelService.name):
        stop(home, name, force=True)
    shutil.rmtree(ray_directory(home), ignore_errors=True)


def kill_everything(home: Path, driver: subprocess.Popen[str]) -> None:
    """SIGKILL every process of a local Greenroom and its driver."""
    records = [ServiceRecord.read(ServicePaths.of(home, name)) for name in (RayService.name, ValkeyService.name)]
    driver.kill()
    for record in records:
        assert record is not None
        members = session_members(record.pid)
        for pid in (record.keeper_pid, record.pid, *members):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in (record.keeper_pid, record.pid, *members):
            kill(pid)
    driver.communicate()


async def journals(home: Path, threads: list[str], *, until_over: bool) -> dict[str, list[JournalEntry]]:
    """The entries of all threads; at the latest when `PATIENCE_S` have passed."""
    record = ServiceRecord.read(ServicePaths.of(home, ValkeyService.name))
    assert record is not None
    store = await RedisStore.connect(ValkeyService.url(record))
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            heads = [await store.journal.head(thread) for thread in threads]
            unfinished = [head.thread.id for head in heads if head is None or not head.cursor.status.finished]
            if not unfinished or not until_over or time.monotonic() > deadline:
                return {thread: await store.journal.read(thread) for thread in threads}
            await asyncio.sleep(0.2)
    finally:
        await store.close()


@pytest.mark.timeout(240)
def test_greenroom_up_goes_on_with_everything_there_was(home: Path, tmp_path: Path) -> None:
    log, program = tmp_path / "runs.txt", tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    environment = driver_environment(home)
    driver = subprocess.Popen(
        [sys.executable, program, log], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    threads = _lines(driver, THREADS)
    Cluster.until(lambda: log.exists() and len(log.read_text().split()) > 4 * THREADS, "all are in the middle")
    before = asyncio.run(journals(home, threads, until_over=False))
    kill_everything(home, driver)
    running = [thread for thread, entries in before.items() if not entries[-1].cursor.status.finished]

    subprocess.run(
        [Path(sys.executable).with_name("greenroom"), "up"], env=environment, cwd=tmp_path, check=True, timeout=60
    )
    after = asyncio.run(journals(home, threads, until_over=True))

    assert len(running) > THREADS / 2, "most of them were in the middle"
    for thread in threads:
        entries = after[thread]
        assert [entry.seq for entry in entries] == list(range(1, STEPS + 3)), thread
        assert [entry.kind for entry in entries[1:-1]] == [EntryKind.STEP_FINISHED] * STEPS
        assert entries[-1].cursor.status == "completed"
        assert entries[: len(before[thread])] == before[thread], "what was recorded stays, and is gone on from"
    runs = log.read_text().split()
    assert set(runs) == {f"{thread}:{seq}" for thread in threads for seq in range(2, STEPS + 2)}
    assert len(runs) - len(set(runs)) <= len(running), "only the step each thread was at has run again"


def _lines(driver: subprocess.Popen[str], count: int) -> list[str]:
    assert driver.stdout is not None
    lines = [driver.stdout.readline().strip() for _ in range(count + 1)]
    assert lines.pop() == "all"
    return lines
