"""`greenroom tools` with the MCP servers of the configuration, which it talks to itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runtime.cli import app

CONFIG = f"""
[mcp.time]
command = {json.dumps(sys.executable)}
args = ["-m", "mcp_server_time", "--local-timezone", "UTC"]
connect_timeout_s = 60
"""


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "greenroom.toml").write_text(CONFIG)


def greenroom(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tools", *arguments])


def test_tools_of_one_server_and_of_all_are_listed() -> None:
    one = greenroom("ls", "--server", "time", "--json")
    assert [tool["name"] for tool in json.loads(one.output)] == ["time.convert_time", "time.get_current_time"]
    every = {tool["name"]: tool["tool_type"] for tool in json.loads(greenroom("ls", "--json").output)}
    assert (every["time.convert_time"], every["calculator"]) == ("mcp", "builtin")


def test_a_tool_of_a_server_is_run() -> None:
    arguments = '{"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}'
    ran = greenroom("run", "time.convert_time", "--arguments", arguments, "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.output)["output"]["time_difference"] == "+9.0h"


def test_what_fails_is_said_on_one_line() -> None:
    failed = greenroom("run", "time.get_current_time", "--arguments", '{"timezone": "Mars"}')
    assert failed.exit_code == 1
    assert "time.get_current_time: " in failed.output
    unknown = greenroom("ls", "--server", "tim")
    assert unknown.exit_code != 0
    assert 'no MCP server "tim"; did you mean "time"?' in str(unknown.output) + str(unknown.exception)
