"""`cluster.yaml` is what `ray up` accepts, and what it starts is what Greenroom needs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_it(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)

    assert prepared["head_node_type"] == "head"
    assert sorted(prepared["available_node_types"]) == ["head", "worker"]


def test_the_image_has_the_ray_that_greenroom_needs(cluster):
    import ray

    assert cluster["docker"]["image"] == f"rayproject/ray:{ray.__version__}-py311"


def test_the_head_gets_a_durable_store_and_drivers_find_it(cluster, tmp_path):
    (command,) = cluster["head_setup_commands"]
    (tmp_path / ".bashrc").touch()
    programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    for _ in range(2):  # `ray up` again must not change the password
        subprocess.run(["bash", "-c", command], env={"HOME": str(tmp_path), "PATH": programs}, check=True)
    store = tmp_path / "store"
    password = (store / "password").read_text().strip()
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split(" ")[0]
    settings = dict(line.split(" ", 1) for line in (store / "valkey.conf").read_text().splitlines())

    assert settings == {
        "bind": f"127.0.0.1 {address}",
        "port": "6380",
        "requirepass": password,
        "dir": str(store),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "daemonize": "yes",
        "logfile": "valkey.log",
    }
    assert tomllib.loads((store / "greenroom.toml").read_text()) == {
        "ray": {"address": "auto"},
        "redis": {"url": f"redis://:{password}@{address}:6380/0"},
    }
    assert (store / "password").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".bashrc").read_text() == "export GREENROOM_CONFIG=$HOME/store/greenroom.toml\n"
