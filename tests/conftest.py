"""What tests of several levels share: a Greenroom of their own for those that need Ray, and a clean environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.config import load_config
from runtime.servers import RayService, ValkeyService
from runtime.services import LocalServices, stop

ROOT = Path(__file__).parents[1]
_INHERITED = dict(os.environ)  # noqa: TID251
_OWN = [name for name in _INHERITED if name.startswith(("GREENROOM_", "RAY_"))]


def pytest_addoption(parser: pytest.Parser) -> None:
    faults = parser.getgroup("faults")
    faults.addoption("--crash-point", type=int, help="run the tests of the companion with a crash at this point only")
    faults.addoption("--every-crash", action="store_true", help="leave none out in the companion")
    faults.addoption("--chaos-seed", type=int, help="repeat the schedule of deaths of this seed")


def free_port() -> int:
    """A port nobody listens on: servers that look for one by themselves all find the same."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Drivers:
    """Runs programs that use one local Greenroom, whose services stay up between them."""

    home: Path
    environment: Mapping[str, str] = field(repr=False)

    def start(self, command: Sequence[str | Path], cwd: Path) -> subprocess.Popen[str]:
        """Start a program; its output is to be read, and errors come with it."""
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: Sequence[str | Path], cwd: Path, *, timeout_s: float = 100.0) -> str:
        """What a program printed that must succeed."""
        process = self.start(command, cwd)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"{command} took more than {timeout_s} s; it printed:\n{output}")
        assert process.returncode == 0, f"{command} exited with {process.returncode} and printed:\n{output}"
        return output


def driver_environment(home: Path) -> dict[str, str]:
    """Environment of a program whose Greenroom is at `home` and whose model is the scripted one."""
    return {
        **{name: value for name, value in _INHERITED.items() if name not in _OWN},
        "GREENROOM_HOME": str(home),
        "GREENROOM_MODELS__DEFAULT__PROVIDER": "scripted",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{_INHERITED['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """One Greenroom for all tests of a session: its store and its Ray stay up until the end."""
    home = tmp_path_factory.mktemp("greenroom") / "home"
    services = LocalServices(home)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in _OWN:
                patch.delenv(name)
            patch.setenv("PYTHONPATH", str(ROOT))
            services.start(ValkeyService(), RayService(load_config(home=home).ray))
            services.wait(ValkeyService.name)
            services.wait(RayService.name)
        yield Drivers(home, driver_environment(home))
    finally:
        services.close()
        for name in (RayService.name, ValkeyService.name):
            stop(home, name, force=True)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a `greenroom.toml` of whoever runs the tests."""
    for name in _OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
