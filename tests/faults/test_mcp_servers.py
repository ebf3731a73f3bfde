"""MCP tools on Ray: an executor is killed in the middle of a call, and none of its servers outlives it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph, ThreadState
from tests.component.test_mcp import SCRIPT, START_S, alive, group_of
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.integration


class Log(BaseModel):
    log: str = ""
    found: Any = None


@pytest.fixture(scope="module")
def odd(cluster: Cluster) -> str:
    """The name of the misbehaving server."""
    cluster.rt.tools.register_mcp("odd", command=sys.executable, args=[SCRIPT], connect_timeout_s=START_S)
    return "odd"


def calling(name: str, tool: str) -> Graph:
    g = Graph(name, state=Log)
    g.tool("call", tool=tool, arguments={"log": "{log}"} if tool.endswith("second") else {}, into="found")
    g.edge(START, "call")
    g.edge("call", END)
    return g


def test_tools_of_a_server_are_called_by_executors(cluster: Cluster, odd: str) -> None:
    cluster.rt.deploy(calling("mcp-whoami", f"{odd}.whoami"))
    session = cluster.rt.session("mcp-whoami")
    result = session.run({})

    assert result.status is ThreadState.COMPLETED, result.error
    server, key = result.state.found.split()
    assert key == f"{result.thread_id}:2"
    assert os.getpgid(int(server)) != os.getpgid(0)
    assert cluster.rt.tools.execute(f"{odd}.echo", {"text": "hi"}).output == "hi"


def test_a_step_runs_again_when_its_executor_is_killed_and_the_server_dies_with_it(
    cluster: Cluster, odd: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    cluster.rt.deploy(calling("mcp-second", f"{odd}.second"))
    thread = cluster.rt.session("mcp-second").submit({"log": str(log)})
    cluster.until(log.exists, "the server is called")
    first = group_of(int(log.read_text().split()[0]))
    (executor,) = cluster.pids("tool-")
    cluster.kill(executor)

    result = thread.result(timeout_s=60)

    assert (result.status, result.state.found) == (ThreadState.COMPLETED, "answered"), result.error
    cluster.until(lambda: not any(map(alive, first)), "the first server is gone", within_s=10)
    calls = [line.split() for line in log.read_text().splitlines()]
    assert [key for _, key in calls] == [f"{thread.id}:2"] * 2, "both calls have the key of the step"
    assert calls[0][0] != calls[1][0]
    entries = cluster.entries(thread.id)
    assert [entry.kind for entry in entries] == [
        EntryKind.TURN_STARTED,
        EntryKind.STEP_FINISHED,
        EntryKind.TURN_FINISHED,
    ]
    assert entries[1].attempt == 2
