"""Hosts guard the supervisor: in virtual time, with processes that are really suspended and really ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors import machine
from actors.errors import DestinationDied
from actors.guard import Guard
from tests.faults.virtual_loop import VirtualLoop

HERE, THERE = "here", "there"
STARTS_S = 2.0


class Supervisor:
    """One that is started again when it dies (port `Guarded`). Its processes are real, and do nothing.

    Args:
        start: Starts a process.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self.process = start()
        self.busy_until_s = 0.0
        self.ready_at_s = 0.0
        """When it has started; until then it is unavailable."""
        self.lost = 0
        """How many pings from now on get no answer, ever."""
        self.restarts_s: list[float] = []
        """When somebody asked for another one."""

    async def whereabouts(self) -> tuple[str, int]:
        """Pending while it is suspended or busy; fails when it dies, and while it is started."""
        asked = self.process
        if self.lost > 0:
            self.lost -= 1
            await asyncio.Event().wait()
        while True:
            self.replace_dead()
            if self.process is not asked or now_s() < self.ready_at_s:
                raise DestinationDied("it is being started", unavailable=True)
            if machine.is_running(asked.pid) and now_s() >= self.busy_until_s:
                return HERE, asked.pid
            await asyncio.sleep(0.05)

    async def restart(self) -> None:
        """End it."""
        self.restarts_s.append(now_s())
        self.process.kill()
        self.process.wait()

    def replace_dead(self) -> None:
        """Start another one if it is dead."""
        if self.process.poll() is not None:
            self.process = self._start()
            self.busy_until_s, self.ready_at_s = 0.0, now_s() + STARTS_S

    def suspend(self) -> int:
        """Suspend its process; the id of that."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
        return self.process.pid

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, self.process.pid, os.WCONTINUED)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
        processes.append(subprocess.Popen(command))
        return processes[-1]

    yield Supervisor(start)
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(seconds, process) of those a guard has ended, each of which is dead before time goes on."""
    ends = []
    end = machine.end

    def noted(pid: int, born_at: str | None = None) -> bool:
        if not end(pid, born_at):
            return False
        ends.append((now_s(), pid))
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return True

    monkeypatch.setattr(machine, "end", noted)
    return ends


def now_s() -> float:
    return asyncio.get_running_loop().time()


def in_virtual_time(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


@contextmanager
def guarding(*guards: Guard) -> Iterator[None]:
    tasks = [asyncio.create_task(guard.run()) for guard in guards]
    yield
    assert not any(task.done() for task in tasks), "they go on"
    for task in tasks:
        task.cancel()


def test_a_suspended_one_is_ended_after_its_grace_and_its_successor_is_guarded_too(
    supervisor: Supervisor, ended: list[tuple[float, int]]
) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(10.1)
            first = supervisor.suspend()
            await asyncio.sleep(7.0)
            (end,) = ended
            assert end[1] == first
            assert 1.5 <= round(end[0] - 10.1, 2) <= 3.0
            assert await supervisor.whereabouts() == (HERE, supervisor.process.pid)
            assert supervisor.process.pid != first

            second = supervisor.suspend()
            await asyncio.sleep(7.0)
            assert [pid for _, pid in ended] == [first, second]
            assert supervisor.restarts_s == []

    in_virtual_time(main)


def test_one_that_is_suspended_as_soon_as_it_has_come_back_is_ended_as_quickly(
    supervisor: Supervisor, ended: list[tuple[float, int]]
) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(5.0)
            supervisor.process.kill()
            supervisor.process.wait()
            supervisor.replace_dead()
            await asyncio.sleep(STARTS_S + 0.55)
            second = supervisor.suspend()
            suspended_at_s = now_s()
            await asyncio.sleep(5.0)
            ((at, pid),) = ended
            assert pid == second
            assert round(at - suspended_at_s, 2) <= 3.0

    in_virtual_time(main)


def test_two_hosts_that_do_it_at_once_end_one_process(supervisor: Supervisor, ended: list[tuple[float, int]]) -> None:
    async def main() -> None:
        with guarding(*(Guard(supervisor, HERE) for _ in range(3))):
            await asyncio.sleep(5.0)
            first = supervisor.suspend()
            await asyncio.sleep(60.0)
            assert [pid for _, pid in ended] == [first]
            assert supervisor.restarts_s == []
            assert await supervisor.whereabouts() == (HERE, supervisor.process.pid)

    in_virtual_time(main)


@pytest.mark.parametrize(("busy_s", "ends"), [(14.0, 0), (30.0, 1)])
def test_one_that_is_only_busy_is_given_time(
    supervisor: Supervisor, ended: list[tuple[float, int]], busy_s: float, ends: int
) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(5.0)
            supervisor.busy_until_s = now_s() + busy_s
            await asyncio.sleep(40.0)
            assert len(ended) == ends
            assert all(15.0 <= round(at - 5.0, 2) <= 16.5 for at, _ in ended)

    in_virtual_time(main)


def test_one_that_goes_on_within_its_grace_is_left_alone(
    supervisor: Supervisor, ended: list[tuple[float, int]]
) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(5.0)
            for _ in range(10):
                supervisor.suspend()
                await asyncio.sleep(1.2)
                supervisor.resume()
                await asyncio.sleep(1.2)
            assert ended == []

    in_virtual_time(main)


def test_pings_that_are_lost_do_no_harm(supervisor: Supervisor, ended: list[tuple[float, int]]) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(5.0)
            supervisor.lost = 14
            await asyncio.sleep(40.0)
            assert (supervisor.lost, ended) == (0, [])

    in_virtual_time(main)


def test_a_guard_that_was_held_up_itself_does_not_blame_the_supervisor(
    supervisor: Supervisor, ended: list[tuple[float, int]]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(5.0)
            supervisor.busy_until_s = now_s() + 101.0
            await asyncio.sleep(0.9)
            loop.now_s += 100.0  # nothing ran meanwhile
            await asyncio.sleep(10.0)
            assert ended == []

    in_virtual_time(main)


def test_one_that_dies_by_itself_is_not_disturbed_while_it_starts(
    supervisor: Supervisor, ended: list[tuple[float, int]]
) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, HERE), Guard(supervisor, THERE)):
            await asyncio.sleep(5.0)
            supervisor.process.kill()
            supervisor.process.wait()
            supervisor.replace_dead()
            supervisor.ready_at_s = now_s() + 50.0
            second = supervisor.process.pid
            await asyncio.sleep(60.0)
            assert (ended, supervisor.restarts_s) == ([], [])
            assert await supervisor.whereabouts() == (HERE, second)

    in_virtual_time(main)


def test_one_on_another_machine_is_ended_over_there_once(
    supervisor: Supervisor, ended: list[tuple[float, int]]
) -> None:
    async def main() -> None:
        with guarding(Guard(supervisor, THERE)):
            await asyncio.sleep(5.0)
            supervisor.suspend()
            await asyncio.sleep(60.0)
            (at,) = supervisor.restarts_s
            assert 15.0 <= round(at - 5.0, 2) <= 16.5
            assert ended == [], "nobody ends a process of his own machine that has its id"

    in_virtual_time(main)


def test_one_that_never_answered_is_ended_too(supervisor: Supervisor, ended: list[tuple[float, int]]) -> None:
    async def main() -> None:
        supervisor.suspend()
        with guarding(Guard(supervisor, HERE)):
            await asyncio.sleep(70.0)
            (at,) = supervisor.restarts_s
            assert 60.0 <= round(at, 2) <= 61.5
            assert ended == []

    in_virtual_time(main)


def test_a_process_that_has_the_id_of_a_dead_one_is_left_alone(supervisor: Supervisor) -> None:
    pid = supervisor.process.pid
    born = machine.born(pid)

    assert machine.end(pid, f"{born}0") is False
    assert supervisor.process.poll() is None
    assert machine.end(pid, born) is True
    assert supervisor.process.wait() == -signal.SIGKILL
    assert machine.end(pid, born) is False
    assert machine.born(pid) == ""
