"""Connecting this process to Ray: to the local one, which listens on the loopback address only, or to a cluster."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import ray
from ray import _raylet
from ray._private import ray_constants

from runtime.config import swap_environment
from runtime.errors import ServiceError
from runtime.service import ServiceRecord

NAMESPACE = "greenroom"
AUTO = "auto"
_PROBE_S = 5.0


@dataclass(slots=True)
class _Session:
    """This process's one connection, as Ray has it: how many use it, and what to undo after the last."""

    address: str = ""
    users: int = 0
    ours: bool = False
    """Whether it was made here; a connection that the program made itself is left open."""
    environment: dict[str, str | None] = field(default_factory=dict)
    """Variables to give back."""


_session = _Session()
_CLUSTERS: bool = ray_constants.ENABLE_RAY_CLUSTER


def connect(record: ServiceRecord) -> None:
    """Connect to the local Ray. Several connections to one Ray are one; each is given back with `disconnect`.

    Raises:
        ServiceError: It cannot be reached, or this process is connected to another Ray.
    """
    if not ray.is_initialized():
        _speak_locally(record.secret)
    _connect(record.address)


def connect_to(address: str) -> None:
    """Connect to a cluster that somebody else runs: `host:port`, or `auto` for the one this machine belongs to.

    Raises:
        ServiceError: It cannot be reached, or this process is connected to another Ray.
    """
    if address != AUTO:
        _probe(address)
    _connect(address)


def disconnect() -> None:
    """Give a connection back. The last one of a process closes it, unless the program itself had opened it."""
    _session.users -= 1
    if _session.users > 0:
        return
    if _session.ours:
        ray.shutdown()
    _undo()


def _connect(address: str) -> None:
    if ray.is_initialized():
        present = ray.get_runtime_context().gcs_address
        if address not in {AUTO, present, _session.address}:
            raise ServiceError(
                f"this process is connected to the Ray at {present}, not {address}; call ray.shutdown() first, or give "
                "its address",
                service="ray",
            )
        _session.users += 1
        return
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        _undo()
        reason = str(error).strip().partition("\n")[0]
        raise ServiceError(f"cannot connect to Ray at {address} ({reason}); is it running?", service="ray") from error
    _session.address, _session.users, _session.ours = address, 1, True


def _speak_locally(token: str) -> None:
    # Ray would reach 127.0.0.1 by the address of the network card, where the local Ray does not listen.
    ray_constants.ENABLE_RAY_CLUSTER = False
    _session.environment = swap_environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})
    _forget_cached_settings()


def _undo() -> None:
    _session.users, _session.ours, _session.address = 0, False, ""
    ray_constants.ENABLE_RAY_CLUSTER = _CLUSTERS
    if _session.environment:
        swap_environment(_session.environment)
        _session.environment = {}
        _forget_cached_settings()


def _forget_cached_settings() -> None:
    _raylet.Config.initialize("")  # type: ignore[attr-defined]
    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


def _probe(address: str) -> None:
    """Find out at once what Ray itself would only say after minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ServiceError(f"{address} is no Ray address; give host:port, or auto", service="ray")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except OSError as error:
        raise ServiceError(
            f"nothing answers at {address} ({error}); start Ray there or correct ray.address", service="ray"
        ) from None
