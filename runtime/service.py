"""What a local service is: how it is started, what is known of it while it runs, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from runtime.errors import ServiceError


class ServicePaths(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one service in a home directory; `runtime/keeper.py` says what the locks mean."""

    record: Path
    """Exists while the service is ready: a `ServiceRecord` as JSON, readable by its owner only."""
    error: Path
    """Why the last keeper gave up, in one line."""
    pin: Path
    """Exists while the service is to stay without users."""
    start_lock: Path
    users_lock: Path
    keeper_lock: Path
    log: Path

    @classmethod
    def of(cls, home: Path, service: str) -> ServicePaths:
        """The files of `service` in `home`."""
        return cls(
            record=home / f"{service}.json",
            error=home / f"{service}.error",
            pin=home / f"{service}.pinned",
            start_lock=home / f"{service}.start.lock",
            users_lock=home / f"{service}.users.lock",
            keeper_lock=home / f"{service}.keeper.lock",
            log=home / "logs" / f"{service}.log",
        )


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to start and stop a service. Goes to its keeper as JSON, except for the environment."""

    command: list[str]
    """Absolute path of the program, and its arguments. Everybody can see them: no secrets here."""
    environment: dict[str, str] = {}
    """Added to this process's."""
    ready: str
    """Pattern of the line of output that says it is ready. Its named groups become part of the record."""
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 5.0
    """From SIGTERM to SIGKILL."""
    restart: bool
    """Whether it is started again when it ends by itself."""
    death_signal: int
    """What the kernel sends it if its keeper dies."""
    facts: dict[str, str] = {}
    """Part of the record."""
    fact_files: dict[str, str] = {}
    """Name -> file whose text becomes part of the record when the service is ready."""
    scratch: str | None = None
    """Directory that is removed after an orderly end."""


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A running service."""

    pid: int
    keeper_pid: int
    started_at: float
    """Unix seconds."""
    address: str
    """`host:port`, or a URL."""
    secret: str = ""
    """Its password, token or key."""
    socket: str = ""
    """Path of the Unix socket on which it listens too, if it does."""

    def __repr__(self) -> str:
        return f"ServiceRecord(pid={self.pid}, address={self.address!r})"

    @staticmethod
    def read(paths: ServicePaths) -> ServiceRecord | None:
        """The record, if there is one. Raises `ServiceError` if it cannot be read."""
        try:
            return msgspec.json.decode(paths.record.read_bytes(), type=ServiceRecord)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ServiceError(f"{paths.record} cannot be read ({error}); remove it and try again") from None


class Service(Protocol):
    """Something a keeper can keep."""

    @property
    def name(self) -> str:
        """Its name, part of file names."""

    def prepare(self, home: Path) -> ServiceSpec:
        """Make ready to start: choose a port, write its configuration. Called by one process at a time.

        Raises:
            ServiceError: It cannot be started here; the message says what to install or change.
        """


def keeper_order(service: str, spec: ServiceSpec, paths: ServicePaths) -> dict[str, Any]:
    """What a keeper reads on its standard input."""
    order: dict[str, Any] = {field: getattr(spec, field) for field in spec.__struct_fields__ if field != "environment"}
    return {**order, "service": service, "paths": {name: str(getattr(paths, name)) for name in paths.__struct_fields__}}
