"""The local services of one home directory, as a driver uses them: started once, shared, ended with their last user.

Each service has a keeper (`runtime/keeper.py`), which explains the locks. A driver holds the users lock, shared, for as
long as it lives. Then it takes the start lock, and if no keeper holds the keeper lock, starts one and leaves it the
start lock, in which everybody else waits for the service.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import msgspec

from runtime import keeper
from runtime.config import child_environment
from runtime.errors import ConfigError, ServiceError
from runtime.service import Service, ServicePaths, ServiceRecord, keeper_order

logger = logging.getLogger(__name__)


class LocalServices:
    """The services that this process uses. Use it as a context manager, or `close` it.

    Args:
        home: Directory of their data, locks and logs; created if need be.

    Raises:
        ConfigError: `home` cannot be used.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._services: dict[str, Service] = {}
        self._locks: dict[str, int] = {}
        """Descriptors of the users locks held."""
        self._started: set[str] = set()
        """Services whose keeper was started here since the last `wait` for them."""
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            (home / "logs").mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot use the directory {home} ({error.strerror}); set GREENROOM_HOME to one you can write"
            ) from None
        _opened.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *services: Service) -> None:
        """Use these services, and start what does not run, without waiting for it.

        Raises:
            ServiceError: One cannot be started here.
        """
        for service in services:
            paths = self._use(service)
            with keeper.held(paths.start_lock, fcntl.LOCK_EX | fcntl.LOCK_NB) as descriptor:
                # Somebody else who holds it is just starting the service.
                if descriptor is not None and not is_kept(paths):
                    self._start_keeper(service, paths, descriptor)

    def wait(self, name: str) -> ServiceRecord:
        """Wait until a started service is ready. It is started again should it have ended since.

        Raises:
            ServiceError: It did not become ready; the message ends with its last lines and the path of its log.
        """
        service = self._services[name]
        paths = ServicePaths.of(self.home, name)
        while True:
            with keeper.held(paths.start_lock, fcntl.LOCK_EX) as descriptor:
                assert descriptor is not None
                kept = is_kept(paths)
                record = ServiceRecord.read(paths) if kept else None
                if record is not None:
                    self._started.discard(name)
                    return record
                if not kept:
                    if name in self._started:
                        self._started.discard(name)
                        raise ServiceError(_failure(name, paths), service=name)
                    self._start_keeper(service, paths, descriptor)
            if kept:
                _wait_for_end(paths)  # it has a keeper and no record: it is being stopped

    def guard(self, name: str) -> None:
        """Start a service again when its keeper is killed, for as long as this process uses it.

        A keeper restarts its service itself; this is for its own death, which an orderly stop is not.
        """
        threading.Thread(target=self._guard, args=(name,), name=f"guard-{name}", daemon=True).start()

    def pin(self, name: str) -> None:
        """Let a service that this process uses run on without users, until `stop`."""
        paths = ServicePaths.of(self.home, name)
        with keeper.held(paths.start_lock, fcntl.LOCK_EX):
            paths.pin.touch()

    def close(self) -> None:
        """Use them no longer. Those without another user or a pin end by themselves."""
        while self._locks:
            os.close(self._locks.popitem()[1])
        self._services.clear()

    def _use(self, service: Service) -> ServicePaths:
        paths = ServicePaths.of(self.home, service.name)
        if service.name not in self._locks:
            self._locks[service.name] = keeper.lock(paths.users_lock, fcntl.LOCK_SH)
        self._services[service.name] = service
        return paths

    def _start_keeper(self, service: Service, paths: ServicePaths, start_lock: int) -> None:
        spec = service.prepare(self.home)
        with paths.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", keeper.__file__, "keep", str(start_lock), service.name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=child_environment(spec.environment),
                pass_fds=[start_lock],
                start_new_session=True,
            )
        process.communicate(msgspec.json.encode(keeper_order(service.name, spec, paths)))  # it detaches at once
        self._started.add(service.name)

    def _guard(self, name: str) -> None:
        paths = ServicePaths.of(self.home, name)
        while True:
            _wait_for_end(paths)
            if name not in self._locks or not paths.record.exists():
                return
            logger.warning("the keeper of %s has died; starting it again", name)
            try:
                self.wait(name)
            except (ServiceError, KeyError):  # KeyError: closed meanwhile
                logger.exception("%s cannot be started again", name)
                return


_opened: weakref.WeakSet[LocalServices] = weakref.WeakSet()


def _close_all() -> None:
    """In a forked child: drop the locks, which are its parent's."""
    for services in list(_opened):
        services.close()


os.register_at_fork(after_in_child=_close_all)


def is_kept(paths: ServicePaths) -> bool:
    """Whether the service has a keeper."""
    with keeper.held(paths.keeper_lock, fcntl.LOCK_SH | fcntl.LOCK_NB) as descriptor:
        return descriptor is None


def stop(home: Path, service: str, *, force: bool = False) -> Literal["stopped", "in use", "not running"]:
    """Take away the pin of a service and end it, unless it has users; then it ends with the last of them.

    Args:
        home: Its home directory.
        service: Its name.
        force: End it under its users.
    """
    paths = ServicePaths.of(home, service)
    if not paths.keeper_lock.exists():
        return "not running"
    with keeper.held(paths.start_lock, fcntl.LOCK_EX):
        if not is_kept(paths):
            return "not running"
        record = ServiceRecord.read(paths)
        paths.pin.unlink(missing_ok=True)
        in_use = _is_used(paths) and not force
        if record is not None:  # none: somebody else is stopping it
            if not in_use:
                paths.record.unlink(missing_ok=True)  # nobody is to be given it from now on
            # The keeper needs the start lock to end, so it still is the process it was.
            os.kill(record.keeper_pid, signal.SIGHUP if in_use else signal.SIGTERM)
    if in_use:
        return "in use"
    _wait_for_end(paths)
    return "stopped"


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What can be seen of a service from outside."""

    service: str
    state: Literal["running", "starting", "stopped", "failed"]
    """`starting` is also said of one that is just being stopped."""
    address: str = ""
    pid: int | None = None
    keeper_pid: int | None = None
    started_at: float | None = None
    """Unix seconds."""
    pinned: bool = False
    users: list[int] = []
    """Pids of the processes that use it; known on Linux only."""
    error: str = ""
    """Why it failed."""
    log: str = ""


def status(home: Path, service: str) -> ServiceStatus:
    """What a service is doing. Starts and changes nothing."""
    paths = ServicePaths.of(home, service)
    log = str(paths.log) if paths.log.exists() else ""
    kept = paths.keeper_lock.exists() and is_kept(paths)
    record = ServiceRecord.read(paths) if kept else None
    if record is not None:
        return ServiceStatus(
            service=service,
            state="running",
            address=record.address,
            pid=record.pid,
            keeper_pid=record.keeper_pid,
            started_at=record.started_at,
            pinned=paths.pin.exists(),
            users=_users(paths),
            log=log,
        )
    if kept or _is_starting(paths):
        return ServiceStatus(service=service, state="starting", users=_users(paths), log=log)
    error = paths.error.read_text(encoding="utf-8") if paths.error.exists() else ""
    return ServiceStatus(service=service, state="failed" if error else "stopped", error=error, log=log)


def _is_starting(paths: ServicePaths) -> bool:
    if not paths.start_lock.exists():
        return False
    with keeper.held(paths.start_lock, fcntl.LOCK_SH | fcntl.LOCK_NB) as descriptor:
        return descriptor is None


def _is_used(paths: ServicePaths) -> bool:
    with keeper.held(paths.users_lock, fcntl.LOCK_SH | fcntl.LOCK_NB) as descriptor:
        if descriptor is None:
            return False  # its keeper has it exclusively, and is ending it
    with keeper.held(paths.users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB) as descriptor:
        return descriptor is None


def _users(paths: ServicePaths) -> list[int]:
    """Pids that hold the users lock, from the kernel's table (`1: FLOCK ADVISORY READ pid major:minor:inode 0 EOF`)."""
    table = Path("/proc/locks")
    if not table.exists() or not paths.users_lock.exists():
        return []
    inode = str(paths.users_lock.stat().st_ino)
    rows = (line.split() for line in table.read_text(encoding="ascii").splitlines())
    return sorted(
        {int(row[4]) for row in rows if row[1] == "FLOCK" and row[3] == "READ" and row[5].endswith(f":{inode}")}
    )


def _wait_for_end(paths: ServicePaths) -> None:
    with keeper.held(paths.keeper_lock, fcntl.LOCK_SH):
        pass


def _failure(name: str, paths: ServicePaths) -> str:
    with suppress(FileNotFoundError):
        return paths.error.read_text(encoding="utf-8")
    return f"the keeper of {name} ended; see {paths.log}"
