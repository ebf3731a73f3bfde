"""A Greenroom for the tests that end its processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import Runtime
from runtime.servers import RayService, ValkeyService, ray_directory
from runtime.services import stop
from tests.conftest import ROOT
from tests.faults.cluster import Cluster

SCRIPTED = {"default": {"provider": "scripted"}}


@pytest.fixture(scope="session")
def fault_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directory of a Greenroom, which is ended after the tests."""
    home = tmp_path_factory.mktemp("faults") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield home
    for name in (RayService.name, ValkeyService.name):
        stop(home, name, force=True)
    shutil.rmtree(ray_directory(home), ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(fault_home: Path) -> Iterator[Cluster]:
    """Two hosts and two executors of functions."""
    options = {"hosts": {"min": 2, "max": 2}, "executors": {"function": {"processes": 2}}}
    with Runtime(home=fault_home, models=SCRIPTED, **options) as rt:
        yield Cluster(fault_home, rt)
