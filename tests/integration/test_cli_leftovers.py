"""Nothing is left of a command that ends, is interrupted or is killed, except what `greenroom up` keeps."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.servers import ray_directory
from runtime.services import stop
from tests.conftest import driver_environment

pytestmark = pytest.mark.integration

GONE_WITHIN_S = 30.0
"""The services stop in an orderly way, on a machine that may be busy."""

GRAPH = """
import asyncio
from pydantic import BaseModel
from runtime import END, START, Graph


class State(BaseModel):
    text: str = ""


g = Graph("waiting", state=State)

@g.node
async def waits(state: State) -> dict:
    await asyncio.Event().wait()

g.edge(START, "waits")
g.edge("waits", END)
"""


def processes_of(home: Path) -> list[int]:
    """Pids of all living processes that were started for a home: they inherit the variable that names it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if f"GREENROOM_HOME={home}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def wait_until_gone(home: Path) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while pids := processes_of(home):
        for pid in pids:
            with suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as ended:
                left_s = max(0.0, deadline - time.monotonic())
                assert select.select([ended], [], [], left_s)[0], f"{_command(pid)} still runs"


def _command(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return str(pid)


class Command:
    """A `greenroom run` whose node never ends, in a home of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.cwd = tmp_path
        self.environment = driver_environment(self.home)
        (tmp_path / "waiting.py").write_text(GRAPH)
        self.process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Start it."""
        self.process = self._start("run", "waiting.py:g", "--stream", "--json")

    def wait_for(self, event: str) -> dict:
        """The next event of this name that it prints."""
        for line in self.process.stdout:
            printed = json.loads(line)
            if printed["event"] == event:
                return printed
        pytest.fail(f"it ended: {self.process.stderr.read()}")

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """(exit code, standard error) after a signal."""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=GONE_WITHIN_S)
        return self.process.returncode, errors

    def json(self, *arguments: str) -> list[dict]:
        """What another command prints."""
        other = self._start(*arguments, "--json")
        printed, errors = other.communicate(timeout=60)
        assert (other.returncode, errors) == (0, "")
        return json.loads(printed)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "runtime.cli", *arguments],
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def command(tmp_path):
    command = Command(tmp_path)
    yield command
    if command.process is not None:
        command.process.kill()
        command.process.communicate()
    for service in ("model", "ray", "valkey"):
        stop(command.home, service, force=True)


def test_an_interrupted_run_cancels_its_thread_and_leaves_nothing(command):
    command.run()
    thread_id = command.wait_for("NodeStarted")["thread_id"]
    running = len(processes_of(command.home))
    code, errors = command.end(signal.SIGINT)
    wait_until_gone(command.home)
    (thread,) = command.json("threads", "ls")
    wait_until_gone(command.home)

    assert running > 5
    assert (code, errors) == (130, "")
    assert (thread["thread_id"], thread["status"], thread["error"]["code"]) == (thread_id, "cancelled", "Cancelled")
    assert not ray_directory(command.home).exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_its_thread_in_the_journal_and_nothing_else(command, how):
    command.run()
    thread_id = command.wait_for("NodeStarted")["thread_id"]
    code, _ = command.end(how)
    wait_until_gone(command.home)
    (thread,) = command.json("threads", "ls")
    wait_until_gone(command.home)

    assert code == -how
    assert (thread["thread_id"], thread["status"], thread["node"]) == (thread_id, "running", "waits")


def test_a_run_that_is_interrupted_while_it_starts_leaves_nothing(command):
    command.run()
    deadline = time.monotonic() + GONE_WITHIN_S
    log = command.home / "logs" / "ray.log"
    while not log.exists():  # Ray is being started
        assert time.monotonic() < deadline
        select.select([command.process.stderr], [], [], 0.02)
    code, _ = command.end(signal.SIGINT)
    wait_until_gone(command.home)

    assert code == 130


def test_what_up_keeps_outlives_a_killed_run_until_down(command):
    kept = {row["service"]: row["pid"] for row in command.json("up") if row["state"] == "running"}
    command.run()
    command.wait_for("NodeStarted")
    command.end(signal.SIGKILL)
    after = {row["service"]: row["pid"] for row in command.json("status") if row["state"] == "running"}
    command.json("down")
    wait_until_gone(command.home)

    assert {"valkey", "ray"} <= kept.keys()
    assert after == kept
