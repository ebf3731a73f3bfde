"""`greenroom bench load` on Ray: a workflow under load, and nothing of the test left in the store; `greenroom top`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import Drivers

pytestmark = pytest.mark.integration

GRAPH = """
id: under-load
state:
  text: {type: string, default: "1 + 1"}
  total: {type: float64, default: 0}
nodes:
  - {id: compute, type: tool, tool: calculator, arguments: {expression: "{text}"}, into: total}
edges:
  - {from: START, to: compute}
  - {from: compute, to: END}
"""


def test_load(drivers: Drivers, tmp_path: Path) -> None:
    """In an open loop, of a file, then of the workflow that was deployed from it: one in ten inputs fails."""
    (tmp_path / "under-load.yaml").write_text(GRAPH)
    inputs = ["1 + 1"] * 9 + ["1 / 0"]
    (tmp_path / "inputs.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in inputs))

    def greenroom(*arguments: str) -> str:
        return drivers.run([sys.executable, "-m", "runtime.cli", *arguments], tmp_path)

    options = ("--rate", "10", "--arrivals", "uniform", "--duration", "2", "--warm-up", "1", "--turns", "2")
    first = json.loads(greenroom("bench", "load", "under-load.yaml", *options, "--json"))
    outputs = ("--out", "result.json", "--html", "report.html")
    mixed = ("--users", "2", "--input-file", "inputs.jsonl", "--max-error-rate", "0.2")
    greenroom("bench", "load", "under-load", *options, *mixed, *outputs)
    second = json.loads((tmp_path / "result.json").read_text())
    sessions = json.loads(greenroom("sessions", "ls", "--json"))
    seen = json.loads(greenroom("top", "--interval", "0.2", "--json"))

    assert (first["arrived"], first["ended"]["completed"]) == (20, 20)
    assert first["environment"]["actors"] == "Ray"
    assert set(first["peak_memory_bytes"]) == {"driver", "hosts", "executors", "supervisor", "store"}
    assert all(size_bytes > 5_000_000 for size_bytes in first["peak_memory_bytes"].values())
    assert first["timeline"][-1]["seen"]["hosts"] == 2
    assert (second["ended"]["completed"], second["ended"]["failed"]) == (18, 2)
    (error,) = second["errors"]
    # The sessions of both tests are gone, but for the one that shows the error.
    left = [session["session_id"] for session in sessions if session["user_id"].startswith("load-")]
    assert left == [error["thread_id"].partition(":")[0]]
    assert (seen["hosts"], seen["threads"], seen["waiting"]) == (2, 0, 0)
    assert all(row["memory_bytes"] > 5_000_000 for row in seen["processes"])
    assert "under-load, 10 turns/s (uniform)" in (tmp_path / "report.html").read_text()
