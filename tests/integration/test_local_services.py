"""The store, Ray and the language model of a local Greenroom, as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import redis

from runtime.config import child_environment, load_config
from runtime.keeper import fcntl, held, select, session_members
from runtime.servers import ModelService, RayService, ValkeyService, ray_directory
from runtime.service import ServicePaths, ServiceRecord
from runtime.services import LocalServices, stop

pytestmark = pytest.mark.integration

SERVICES = ("valkey", "ray", "model")

DRIVER = """
import signal, sys
import ray
from pathlib import Path
from runtime import launch
from runtime.config import child_environment, load_config
from runtime.servers import RayService
from runtime.services import LocalServices

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0
    def add(self):
        self.count += 1
        return self.count

config = load_config(home=sys.argv[1], ray={"num_cpus": 1, "object_store_memory_bytes": 100_000_000})
with LocalServices(config.home) as services:
    services.start(RayService(config.ray))
    launch.connect(services.wait("ray"))
    counter = Counter.options(name="counter", get_if_exists=True, lifetime="detached").remote()
    print(ray.get(counter.add.remote()), flush=True)
    sys.stdin.read()
    launch.disconnect()
"""


@pytest.fixture
def home(tmp_path):
    """A home directory, whose services are stopped after the test."""
    home = tmp_path / "home"
    yield home
    for service in SERVICES:
        stop(home, service, force=True)
    shutil.rmtree(ray_directory(home), ignore_errors=True)  # left by a killed keeper until its home is used again


class Driver:
    """A driver in a process of its own. `said` is what the shared counter told it."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def said(self) -> int:
        return int(self.process.stdout.readline())

    def end(self, how: signal.Signals | None = None) -> None:
        if how is not None:
            self.process.send_signal(how)
        self.process.communicate()


def wait_end(home: Path, service: str) -> None:
    with held(ServicePaths.of(home, service).keeper_lock, fcntl.LOCK_EX):
        pass


def wait_gone(pids: list[int], timeout_s: float = 10.0) -> None:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor):
            assert select.select([descriptor], [], [], timeout_s)[0], f"{pid} still lives"


def listening(pids: list[int]) -> set[str]:
    """The addresses (as the kernel writes them, in hex) where these processes listen for TCP."""
    sockets = set()
    for pid in pids:
        for descriptor in Path("/proc", str(pid), "fd").iterdir():
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            except FileNotFoundError:
                continue
            if found:
                sockets.add(found[1])
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}


def test_the_store_keeps_its_data_its_port_and_its_password(home):
    with LocalServices(home) as services:
        services.start(ValkeyService())
        first = services.wait("valkey")
        with redis.Redis.from_url(ValkeyService.url(first)) as client:
            client.set("kept", "by a stop")
    wait_end(home, "valkey")
    with LocalServices(home) as services:
        services.start(ValkeyService())
        second = services.wait("valkey")
        with redis.Redis.from_url(ValkeyService.url(second)) as client:
            after_stop = client.get("kept")
            client.set("kept", "by a kill")
            settings = client.config_get("append*", "maxmemory-policy", "save", "bind")
        os.kill(second.pid, signal.SIGKILL)
        wait_gone([second.pid])
        with redis.Redis.from_url(
            ValkeyService.url(second), retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
        ) as client:
            after_kill = client.get("kept")

    assert (after_stop, after_kill) == (b"by a stop", b"by a kill")
    assert (first.address, first.secret) == (second.address, second.secret)
    assert {name: settings[name] for name in ("appendonly", "appendfsync", "maxmemory-policy", "save", "bind")} == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "bind": "127.0.0.1",
    }


def test_the_store_wants_its_password_which_nobody_else_can_read(home):
    with LocalServices(home) as services:
        services.start(ValkeyService())
        record = services.wait("valkey")
        host, port = record.address.split(":")
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        with (
            redis.Redis(host=host, port=int(port), retry=once) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        commands = Path("/proc", str(record.pid), "cmdline").read_bytes()
        modes = {path.name: path.stat().st_mode & 0o777 for path in (home / "valkey").iterdir() if path.is_file()}

        assert record.secret.encode() not in commands
        assert modes == {"valkey.conf": 0o600, "credentials.json": 0o600}
        assert listening([record.pid]) <= LOOPBACK


def test_the_store_moves_when_its_port_is_taken(home):
    with LocalServices(home) as services:
        services.start(ValkeyService())
        first = services.wait("valkey")
    wait_end(home, "valkey")
    taken = keep_port(int(first.address.split(":")[1]))
    with taken, LocalServices(home) as services:
        services.start(ValkeyService())
        second = services.wait("valkey")

        assert second.address != first.address
        assert second.secret == first.secret


def keep_port(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_two_drivers_share_one_ray_of_which_nothing_is_left(home):
    drivers = [Driver(home), Driver(home)]
    said = {driver.said() for driver in drivers}
    members = session_members(_record(home).pid)
    where = listening([*members, *(driver.process.pid for driver in drivers)])
    drivers[0].end()
    third = Driver(home)
    said.add(third.said())
    drivers[1].end(signal.SIGKILL)
    third.end(signal.SIGINT)
    wait_end(home, "ray")

    assert said == {1, 2, 3}
    assert where <= LOOPBACK
    wait_gone(members)
    assert not ray_directory(home).exists()


def test_a_killed_keeper_takes_all_of_ray_along(home):
    driver = Driver(home)
    driver.said()
    members = session_members(_record(home).pid)
    os.kill(_record(home).keeper_pid, signal.SIGKILL)
    driver.process.kill()
    driver.process.communicate()

    assert len(members) > 4
    wait_gone(members)


def test_ray_refuses_strangers(home):
    config = load_config(home=home, ray={"num_cpus": 1, "object_store_memory_bytes": 100_000_000})
    with LocalServices(home) as services:
        services.start(RayService(config.ray))
        record = services.wait("ray")
        stranger = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).internal_kv_keys(b'')",
                record.address,
            ],
            env=child_environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guessed"}),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert stranger.returncode != 0
        assert "uthenticat" in stranger.stderr


def test_the_local_model_answers_streams_and_keeps_to_a_schema(home):
    question = {"messages": [{"role": "user", "content": "Ada is 36 years old."}], "max_tokens": 60}
    person = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": person}}
    with LocalServices(home) as services:
        reserved = ModelService.reserve(home)
        services.start(ModelService())
        record = services.wait("model")
        url = f"{ModelService.base_url(record)}/chat/completions"
        headers = {"Authorization": f"Bearer {record.secret}"}
        stranger = httpx.post(url, json=question, timeout=30)
        plain = httpx.post(url, json={**question, "max_tokens": 5}, headers=headers, timeout=30)
        streamed = httpx.post(url, json={**question, "max_tokens": 5, "stream": True}, headers=headers, timeout=30)
        constrained = httpx.post(url, json={**question, "response_format": schema}, headers=headers, timeout=30)
        where = listening([record.pid])

    assert (reserved.base_url, reserved.api_key) == (ModelService.base_url(record), record.secret)
    assert stranger.status_code == 401
    assert plain.json()["usage"]["completion_tokens"] == 5
    assert streamed.text.count('"content":"') == 5
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert set(json.loads(constrained.json()["choices"][0]["message"]["content"])) == {
        "name",
        "age",
    }
    assert where <= LOOPBACK


def _record(home: Path) -> ServiceRecord:
    return ServiceRecord.read(ServicePaths.of(home, "ray"))
