"""Keeps one service of a local Greenroom alive for as long as somebody uses it; run as a script, stdlib only.

A keeper is a process of its own session, so Ctrl-C in a terminal does not reach it. It is told what to do by a JSON
object on its standard input (see `runtime.services`), and everything about its life is said with `flock`, which the
kernel releases however a process ends:

- `keeper.lock` (exclusive) is held by the keeper until it has ended its service and itself. Whether a service runs is
  judged by this lock and never by a pid.
- `users.lock` (shared) is held by every driver. The keeper blocks in an exclusive lock on it: once it has it, nobody is
  left, and nobody can come until it is gone.
- `start.lock` (exclusive) is inherited from the driver that starts the keeper and released when the service is ready
  or has failed; others wait in it. The keeper takes it again before it stops, so that nobody is given a dying service.

A service that somebody has pinned stays when its users have left. SIGHUP makes the keeper look at the pin again, and
SIGTERM makes it stop now. The service is told by the kernel to end if its keeper dies.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import logging.handlers
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Literal, NamedTuple

PR_SET_PDEATHSIG = 1
LOG_SIZE_BYTES = 1_000_000
TAIL_LINES = 5
RESTARTS = 3
RESTART_WINDOW_S = 60.0
KILL_ROUNDS = 20
"""A service that forks while it is killed is killed again, up to this many times."""


class ServiceFailed(Exception):
    """The service did not become ready, or ended too often. The text is one line for the user."""


class Stopped(Exception):
    """SIGTERM came while the service was starting."""


class Event(NamedTuple):
    """What a keeper waits for: a signal, a thread that has seen something, or a line of output that says `ready`."""

    kind: Literal["ready", "exited", "unused", "repin", "stop"]
    child: int = 0
    """Pid of the child that a `ready` or `exited` is about."""
    found: dict[str, str] | None = None


class Keeper:
    """One service and its end.

    Args:
        spec: `service`, `command`, `ready` (pattern of the output line that says it is ready; its named groups become
            part of the record), `ready_timeout_s`, `stop_timeout_s`, `restart`, `death_signal`, `facts` (part of the
            record), `fact_files` (name -> file whose text becomes part of the record), `scratch` (directory removed
            after an orderly end, or null) and `paths` (see `runtime.services.Paths`).
        start_lock: Descriptor of the locked start lock.
    """

    def __init__(self, spec: dict[str, Any], start_lock: int) -> None:
        self.spec = spec
        self.paths = {name: Path(path) for name, path in spec["paths"].items()}
        self.start_lock: int | None = start_lock
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.child: subprocess.Popen[str] | None = None
        self.users: int | None = None
        self.exits: deque[float] = deque(maxlen=RESTARTS + 1)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.log = _open_log(self.paths["log"])

    def run(self) -> int:
        """Keep the service until its end; the exit code of this process."""
        lock(self.paths["keeper_lock"], fcntl.LOCK_EX)  # held until this process is gone
        for name in ("record", "error"):
            self.paths[name].unlink(missing_ok=True)
        try:
            self._launch()
            self._release_start_lock()
            self._watch_users()
            self._keep()
        except ServiceFailed as failure:
            self.paths["error"].write_text(str(failure), encoding="utf-8")
            self._end(keep_scratch=True)
            return 1
        except Stopped:
            self._end()
            return 0
        self._end()
        return 0

    def _keep(self) -> None:
        while True:
            event = self.events.get()
            match event.kind:
                case "exited" if self.child is not None and event.child == self.child.pid:
                    self._revive()
                case "unused" if self.paths["pin"].exists():
                    self._forget_users()
                case "repin" if self.users is None and not self.paths["pin"].exists():
                    self._watch_users()
                case "unused" | "stop":
                    return
                case _:
                    continue

    def _launch(self) -> None:
        """Start the service and wait till it is ready."""
        self.tail.clear()
        wrapper = [sys.executable, "-I", "-S", __file__, "exec", str(os.getpid()), str(self.spec["death_signal"])]
        # The child is in a session of its own: whatever it starts can be found and ended with it.
        self.child = subprocess.Popen(  # noqa: S603 - the command comes from runtime.services
            [*wrapper, *self.spec["command"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        assert self.child.stdout is not None
        threading.Thread(target=self._read, args=(self.child.stdout, self.child.pid), daemon=True).start()
        threading.Thread(target=self._reap, args=(self.child,), daemon=True).start()
        found = self._await_ready(self.child)
        facts = {name: Path(path).read_text(encoding="utf-8").strip() for name, path in self.spec["fact_files"].items()}
        record = {"pid": self.child.pid, "keeper_pid": os.getpid(), "started_at": time.time()}
        write_private(self.paths["record"], json.dumps({**record, **self.spec["facts"], **facts, **found}))

    def _await_ready(self, child: subprocess.Popen[str]) -> dict[str, str]:
        deadline = time.monotonic() + self.spec["ready_timeout_s"]
        later: list[Event] = []
        try:
            while True:
                event = self.events.get(timeout=max(0.0, deadline - time.monotonic()))
                if event.kind == "stop":
                    raise Stopped
                if event.kind == "exited" and event.child == child.pid:
                    raise self._failure(f"ended with code {child.returncode} before it was ready")
                if event.kind == "ready" and event.child == child.pid:
                    return event.found or {}
                later.append(event)
        except Empty:
            raise self._failure(f"was not ready within {self.spec['ready_timeout_s']:g} s") from None
        finally:
            for event in later:
                self.events.put(event)

    def _revive(self) -> None:
        assert self.child is not None
        code = self.child.returncode
        self.log.info("%s ended with code %s", self.spec["service"], code)
        kill_session(self.child.pid)
        self.exits.append(time.monotonic())
        if not self.spec["restart"]:
            raise self._failure(f"ended with code {code}")
        if len(self.exits) > RESTARTS and self.exits[-1] - self.exits[0] < RESTART_WINDOW_S:
            raise self._failure(f"ended {len(self.exits)} times within {RESTART_WINDOW_S:g} s, last with code {code}")
        self._launch()

    def _failure(self, what: str) -> ServiceFailed:
        said = f": {' | '.join(self.tail)}" if self.tail else ""
        return ServiceFailed(f"{self.spec['service']} {what}{said}; see {self.paths['log']}")

    def _read(self, output: IO[str], child: int) -> None:
        """Copy the child's output to the log and look for the line that says it is ready."""
        ready = re.compile(self.spec["ready"])
        for line in output:
            text = line.rstrip()
            self.log.info("%s", text)
            if text:
                self.tail.append(text)
            if found := ready.search(text):
                self.events.put(Event("ready", child, found.groupdict()))

    def _reap(self, child: subprocess.Popen[str]) -> None:
        child.wait()
        self.events.put(Event("exited", child.pid))

    def _watch_users(self) -> None:
        self.users = os.open(self.paths["users_lock"], os.O_RDWR | os.O_CREAT, 0o600)

        def wait(users: int) -> None:
            fcntl.flock(users, fcntl.LOCK_EX)
            self.events.put(Event("unused"))

        threading.Thread(target=wait, args=(self.users,), daemon=True).start()

    def _forget_users(self) -> None:
        if self.users is not None:
            os.close(self.users)
            self.users = None

    def _release_start_lock(self) -> None:
        if self.start_lock is not None:
            os.close(self.start_lock)
            self.start_lock = None

    def _end(self, *, keep_scratch: bool = False) -> None:
        """Stop the service so that no driver can meet it half-way. The locks go with this process."""
        if self.start_lock is None:
            self.start_lock = lock(self.paths["start_lock"], fcntl.LOCK_EX)
        self.paths["record"].unlink(missing_ok=True)
        self.paths["pin"].unlink(missing_ok=True)
        if self.child is not None:
            if self.child.poll() is None:
                self.child.terminate()
                try:
                    self.child.wait(self.spec["stop_timeout_s"])
                except subprocess.TimeoutExpired:
                    self.log.info("%s does not end; killing it", self.spec["service"])
            kill_session(self.child.pid)
        if self.spec["scratch"] and not keep_scratch:
            shutil.rmtree(self.spec["scratch"], ignore_errors=True)


def lock(path: Path, how: int) -> int:
    """Open `path`, lock it, and return the descriptor, which is not inherited by programs this process starts."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, how)
    return descriptor


@contextmanager
def held(path: Path, how: int) -> Iterator[int | None]:
    """Hold a lock, whose descriptor is given; nothing is given if `how` says not to wait and others hold it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Replace the file at once with one that only its owner can read."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def kill_session(leader: int) -> None:
    """Kill all that is left of the session that `leader` led, and wait for it to be gone."""
    if sys.platform != "linux":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    for _ in range(KILL_ROUNDS):
        members = session_members(leader)
        if not members:
            return
        for pid in members:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                ended = select.poll()
                ended.register(descriptor, select.POLLIN)
                ended.poll(1_000)
            except ProcessLookupError:
                pass
            finally:
                os.close(descriptor)


def session_members(leader: int) -> list[int]:
    """Pids of the living processes of a session (Linux)."""
    members = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _parent, _group, session = stat.rpartition(")")[2].split()[:4]
        if int(session) == leader and state not in "ZX":
            members.append(int(entry))
    return members


def _open_log(path: Path) -> logging.Logger:
    log = logging.getLogger("keeper")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_SIZE_BYTES, backupCount=1, encoding="utf-8")
    log.addHandler(handler)
    return log


def _exec(keeper: int, death_signal: int, command: list[str]) -> None:
    """Become `command`, which the kernel signals when the keeper dies.

    Not a `preexec_fn`, which may deadlock in a process with threads such as a keeper that restarts its service.
    """
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != keeper:
        raise SystemExit("the keeper has died")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def _detach() -> None:
    """Leave the process that started this one, which waits only for that."""
    if os.fork():
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())


def main(arguments: list[str]) -> int:
    """`keeper.py keep START_LOCK LABEL`, spec on standard input, or `keeper.py exec KEEPER SIGNAL COMMAND...`."""
    if arguments[0] == "exec":
        _exec(int(arguments[1]), int(arguments[2]), arguments[3:])
    spec = json.load(sys.stdin)
    _detach()
    keeper = Keeper(spec, int(arguments[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: keeper.events.put(Event("stop")))
    signal.signal(signal.SIGHUP, lambda *_: keeper.events.put(Event("repin")))
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
