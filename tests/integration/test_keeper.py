"""Who keeps a service alive, and that nothing is left of it: with a service that is a small script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime import keeper
from runtime.errors import ServiceError
from runtime.service import ServicePaths, ServiceRecord, ServiceSpec
from runtime.services import LocalServices, is_kept, status, stop

pytestmark = pytest.mark.integration

FAKE = """
import os, subprocess, sys, time
mode, home = sys.argv[1:]
with open(os.path.join(home, "starts"), "a") as starts:
    starts.write(f"{os.getpid()}\\n")
if mode == "broken":
    print("no such luck"); sys.exit(3)
if mode == "mute":
    time.sleep(60)
if mode == "family":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
    open(os.path.join(home, "child"), "w").write(str(child.pid))
print("ready at here:1", flush=True)
if mode == "short":
    time.sleep(0.05); print("that was it"); sys.exit(4)
time.sleep(60)
"""

DRIVER = """
import signal, sys
from pathlib import Path
from runtime.services import LocalServices
sys.path.insert(0, sys.argv[2])
from test_keeper import FakeService
services = LocalServices(Path(sys.argv[1]))
services.start(FakeService())
print(services.wait("fake").pid, flush=True)
signal.pause()
"""


class FakeService:
    """A service that behaves as its mode says."""

    name = "fake"

    def __init__(self, mode: str = "steady", *, restart: bool = True, ready_timeout_s: float = 10.0) -> None:
        self.mode = mode
        self.restart = restart
        self.ready_timeout_s = ready_timeout_s

    def prepare(self, home: Path) -> ServiceSpec:
        return ServiceSpec(
            command=[sys.executable, "-c", FAKE, self.mode, str(home)],
            ready=r"ready at (?P<address>\S+)",
            ready_timeout_s=self.ready_timeout_s,
            restart=self.restart,
            death_signal=signal.SIGKILL,
            facts={"secret": "hush"},
        )


@pytest.fixture
def home(tmp_path):
    """A home directory, whose service is stopped after the test."""
    home = tmp_path / "home"
    yield home
    stop(home, "fake", force=True)


def wait_gone(*pids: int, timeout_s: float = 10.0) -> None:
    """Return when none of the processes lives."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor):
            assert keeper.select.select([descriptor], [], [], timeout_s)[0], f"{pid} still lives"


def wait_end(home: Path) -> None:
    """Return when the keeper has gone."""
    with keeper.held(ServicePaths.of(home, "fake").keeper_lock, keeper.fcntl.LOCK_SH):
        pass


def start_driver(home: Path) -> tuple[subprocess.Popen[str], int]:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(home), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return driver, int(driver.stdout.readline())


def starts(home: Path) -> list[int]:
    return [int(line) for line in (home / "starts").read_text().split()]


def test_a_service_ends_with_its_last_user(home):
    with LocalServices(home) as first, LocalServices(home) as second:
        for services in (first, second):
            services.start(FakeService())
        records = [services.wait("fake") for services in (first, second)]
        first.close()
        seen = status(home, "fake")

        assert records[0] == records[1]
        assert starts(home) == [records[0].pid]
        assert (seen.state, seen.pid, seen.pinned, seen.users) == ("running", records[0].pid, False, [os.getpid()])

    wait_end(home)
    wait_gone(records[0].pid, records[0].keeper_pid)
    left = {path.name for path in home.iterdir() if path.is_file()}

    assert left == {"starts", "fake.start.lock", "fake.users.lock", "fake.keeper.lock"}
    assert status(home, "fake").state == "stopped"


def test_the_record_is_private_and_does_not_show_its_secret(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        record = services.wait("fake")

        assert record.secret == "hush"
        assert "hush" not in repr(record)
        assert (home / "fake.json").stat().st_mode & 0o777 == 0o600
        assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_driver_that_ends_by_a_signal(home, how):
    driver, service = start_driver(home)
    record = ServiceRecord.read(ServicePaths.of(home, "fake"))
    driver.send_signal(how)
    driver.communicate()
    wait_end(home)

    assert record.pid == service
    wait_gone(record.pid, record.keeper_pid)


def test_drivers_that_start_at_once_share_one_service(home):
    drivers = [start_driver(home) for _ in range(2)]
    pids = {service for _, service in drivers}
    users = status(home, "fake").users
    for driver, _ in drivers:
        driver.kill()
        driver.communicate()
    wait_end(home)

    assert len(pids) == 1
    assert users == sorted(driver.pid for driver, _ in drivers)
    assert starts(home) == list(pids)


def test_threads_that_start_and_stop_all_the_time_never_get_a_dying_service(home):
    problems: list[str] = []

    def drive() -> None:
        for _ in range(6):
            with LocalServices(home) as services:
                services.start(FakeService())
                record = services.wait("fake")
                if not Path("/proc", str(record.pid)).exists():
                    problems.append(f"{record.pid} is dead")

    threads = [threading.Thread(target=drive) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_end(home)

    assert problems == []
    wait_gone(*starts(home))


def test_a_killed_keeper_takes_its_service_along_and_the_next_driver_starts_anew(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        record = services.wait("fake")
        os.kill(record.keeper_pid, signal.SIGKILL)
        wait_gone(record.pid, record.keeper_pid)
        again = services.wait("fake")

        assert again.pid != record.pid
        assert starts(home) == [record.pid, again.pid]


def test_a_guarded_service_comes_back_after_its_keeper_was_killed(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        record = services.wait("fake")
        services.guard("fake")
        os.kill(record.keeper_pid, signal.SIGKILL)
        again = _wait_for_another(home, record)

        assert again.keeper_pid != record.keeper_pid


def test_a_service_that_dies_is_started_again(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        record = services.wait("fake")
        os.kill(record.pid, signal.SIGKILL)
        again = _wait_for_another(home, record)

        assert (again.keeper_pid, again.address) == (record.keeper_pid, record.address)
        assert services.wait("fake") == again


def test_a_service_that_is_not_to_be_restarted_is_reported(home):
    with LocalServices(home) as services:
        services.start(FakeService("family", restart=False))
        record = services.wait("fake")
        child = int((home / "child").read_text())
        os.kill(record.pid, signal.SIGKILL)
        wait_end(home)
        seen = status(home, "fake")

        wait_gone(child)
        assert (seen.state, seen.error) == (
            "failed",
            f"fake ended with code -9: ready at here:1; see {home}/logs/fake.log",
        )


def test_a_crash_loop_is_given_up_with_the_last_words(home):
    with LocalServices(home) as services:
        services.start(FakeService("short"))
        services.wait("fake")
        wait_end(home)
        seen = status(home, "fake")

        assert len(starts(home)) == 4
        assert seen.error == (
            f"fake ended 4 times within 60 s, last with code 4: ready at here:1 | that was it; see {home}/logs/fake.log"
        )


def test_a_service_that_cannot_start_says_why(home):
    with LocalServices(home) as services:
        services.start(FakeService("broken"))
        with pytest.raises(ServiceError) as caught:
            services.wait("fake")

    assert caught.value.message == (
        f"fake ended with code 3 before it was ready: no such luck; see {home}/logs/fake.log"
    )
    assert caught.value.fields == {"service": "fake"}


def test_a_service_that_never_is_ready_is_ended(home):
    with LocalServices(home) as services:
        services.start(FakeService("mute", ready_timeout_s=0.3))
        with pytest.raises(ServiceError, match=r"^fake was not ready within 0.3 s; see "):
            services.wait("fake")

        wait_gone(*starts(home))


def test_a_pinned_service_stays_until_it_is_stopped(home):
    with LocalServices(home) as services:
        services.start(FakeService("family"))
        record = services.wait("fake")
        services.pin("fake")
    with LocalServices(home) as services:  # a driver comes and goes
        services.start(FakeService())
        assert services.wait("fake") == record
    child = int((home / "child").read_text())
    before = status(home, "fake")
    outcome = stop(home, "fake")

    assert (before.state, before.pinned, before.users) == ("running", True, [])
    assert outcome == "stopped"
    wait_gone(record.pid, record.keeper_pid, child)
    assert stop(home, "fake") == "not running"


def test_stopping_leaves_a_used_service_to_its_users(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        record = services.wait("fake")
        services.pin("fake")
        outcome = stop(home, "fake")

        assert outcome == "in use"
        assert services.wait("fake") == record

    wait_end(home)
    wait_gone(record.pid)


def test_stopping_by_force_does_not_wait_for_users(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        record = services.wait("fake")
        services.guard("fake")

        assert stop(home, "fake", force=True) == "stopped"
        wait_gone(record.pid)
        assert not is_kept(ServicePaths.of(home, "fake"))


def test_programs_that_a_driver_starts_do_not_keep_its_services(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        services.wait("fake")
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        forked = os.fork()
        if forked == 0:
            signal.pause()
    try:
        wait_end(home)
    finally:
        sleeper.kill()
        sleeper.wait()
        os.kill(forked, signal.SIGKILL)
        os.waitpid(forked, 0)


def test_an_unreadable_record_is_an_error_that_names_it(home):
    with LocalServices(home) as services:
        services.start(FakeService())
        services.wait("fake")
        (home / "fake.json").write_text("{}")
        with pytest.raises(ServiceError, match=r"fake\.json cannot be read"):
            services.wait("fake")
        (home / "fake.json").unlink()
        os.kill(_keeper_of(home), signal.SIGTERM)
        wait_end(home)


def test_a_service_that_nobody_waits_for_any_more_ends_when_it_is_ready(home):
    with LocalServices(home) as services:
        services.start(FakeService())
    with keeper.held(ServicePaths.of(home, "fake").start_lock, keeper.fcntl.LOCK_EX):
        pass  # its keeper has this lock until the service is ready
    wait_end(home)

    assert len(starts(home)) == 1
    wait_gone(*starts(home))


def _keeper_of(home: Path) -> int:
    """The process that has the keeper lock."""
    inode = str((home / "fake.keeper.lock").stat().st_ino)
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next(int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}"))


def _wait_for_another(home: Path, record: ServiceRecord, timeout_s: float = 10.0) -> ServiceRecord:
    """The record of the service that came after `record`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        present = ServiceRecord.read(ServicePaths.of(home, "fake"))
        if present is not None and present.pid != record.pid:
            return present
        os.sched_yield()
    raise AssertionError("it was not started again")
