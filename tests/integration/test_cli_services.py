"""`greenroom up`, `down`, `status` and `doctor` as a user runs them; Ray is left out to be quick."""

from __future__ import annotations

import json
import socket

import pytest

from runtime.cli import main
from runtime.servers import ValkeyService
from runtime.services import LocalServices

pytestmark = pytest.mark.integration


@pytest.fixture
def greenroom(monkeypatch, tmp_path, capsys):
    """Runs a command; (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as cluster:  # something answers where the cluster is said to be
        monkeypatch.setenv("GREENROOM_RAY__ADDRESS", f"127.0.0.1:{cluster.getsockname()[1]}")

        def run(*arguments: str) -> tuple[int, str, str]:
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            return ended.value.code, *capsys.readouterr()

        yield run
        run("down", "--force")


def states(printed: str) -> dict[str, str]:
    return {row["service"]: row["state"] for row in json.loads(printed)}


def test_services_stay_up_until_they_are_taken_down(greenroom):
    before = greenroom("status", "--json")
    up = greenroom("up", "--json")
    healthy = greenroom("doctor", "--json")
    shown = greenroom("status")
    down = greenroom("down", "--json")
    after = greenroom("status", "--json")

    assert [code for code, *_ in (before, up, healthy, shown, down, after)] == [0] * 6
    assert states(before[1]) == states(after[1]) == {"valkey": "stopped", "ray": "stopped", "model": "stopped"}
    assert states(up[1])["valkey"] == "running"
    assert states(up[1])["ray"] == "stopped"
    assert shown[1].split()[:2] == ["service", "state"]
    assert "yes" in shown[1].splitlines()[1]  # pinned
    assert {row["service"]: row["outcome"] for row in json.loads(down[1])}["valkey"] == "stopped"
    assert {row["check"] for row in json.loads(healthy[1]) if row["state"] == "fail"} == set()


def test_services_in_use_are_left_to_their_users(greenroom, tmp_path):
    greenroom("up")
    with LocalServices(tmp_path / "home") as services:
        services.start(ValkeyService())
        services.wait("valkey")
        code, printed, _ = greenroom("down")

    assert code == 1
    assert "Services in use end with their last driver; greenroom down --force ends them now." in printed


def test_errors_are_one_line_with_the_code_of_their_kind(greenroom, monkeypatch):
    unknown = greenroom("upp")
    monkeypatch.setenv("GREENROOM_HOSTS__MIN", "9")
    wrong = greenroom("status")
    as_json = greenroom("status", "--json")
    monkeypatch.delenv("GREENROOM_HOSTS__MIN")
    monkeypatch.setenv("GREENROOM_REDIS__URL", "redis://:hush@127.0.0.1:1/0")
    broken = greenroom("doctor", "--json")

    assert unknown[0] == 2
    assert unknown[2].startswith("error: No such command 'upp'.")
    assert wrong == (2, "", "error: invalid configuration: hosts: min (9) is larger than max (2)\n")
    assert as_json[0] == 2
    assert json.loads(as_json[2])["error"]["code"] == "ConfigError"
    assert broken[0] == 1
    assert {row["check"]: row["remedy"] for row in json.loads(broken[1]) if row["state"] == "fail"} == {
        "store": "start it, or correct GREENROOM_REDIS__URL"
    }
    assert "hush" not in broken[1]
