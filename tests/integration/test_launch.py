"""Connecting to Ray, and giving the connection back; in a process of its own, since Ray is one per process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from runtime.services import stop

pytestmark = pytest.mark.integration

DRIVER = """
import json, os, socket, sys
from pathlib import Path
import ray
from runtime import launch
from runtime.config import RayConfig
from runtime.errors import ServiceError
from runtime.servers import RayService
from runtime.services import LocalServices

def refusal(connect, *arguments):
    try:
        connect(*arguments)
    except ServiceError as error:
        return error.message
    return "connected"

said = {}
with socket.create_server(("127.0.0.1", 0)) as free:
    nobody = f"127.0.0.1:{free.getsockname()[1]}"
said["nobody"] = refusal(launch.connect_to, nobody).replace(nobody, "nobody")
said["nonsense"] = refusal(launch.connect_to, "here")
size = RayConfig(num_cpus=1, object_store_memory_bytes=100_000_000)
with LocalServices(Path(sys.argv[1])) as one, LocalServices(Path(sys.argv[2])) as two:
    one.start(RayService(size))
    two.start(RayService(size))
    launch.connect(one.wait("ray"))
    launch.connect(one.wait("ray"))
    launch.disconnect()
    said["still connected"] = ray.is_initialized()
    said["namespace"] = ray.get_runtime_context().namespace
    said["another"] = refusal(launch.connect, two.wait("ray")).partition(" is connected")[0]
    launch.disconnect()
    said["gone"] = not ray.is_initialized()
    launch.connect(two.wait("ray"))
    said["nodes"] = len(ray.nodes())
    launch.disconnect()
said["given back"] = "RAY_AUTH_TOKEN" not in os.environ
print(json.dumps(said))
"""


def test_connections_are_shared_refused_and_given_back(tmp_path):
    homes = [tmp_path / "one", tmp_path / "two"]
    try:
        driver = subprocess.run(
            [sys.executable, "-c", DRIVER, *map(str, homes)], capture_output=True, text=True, timeout=90, check=False
        )
    finally:
        for home in homes:
            stop(home, "ray", force=True)

    assert driver.returncode == 0, driver.stderr
    assert json.loads(driver.stdout) == {
        "nobody": "nothing answers at nobody ([Errno 111] Connection refused); start Ray there or correct ray.address",
        "nonsense": "here is no Ray address; give host:port, or auto",
        "still connected": True,
        "namespace": "greenroom",
        "another": "this process",
        "gone": True,
        "nodes": 1,
        "given back": True,
    }
