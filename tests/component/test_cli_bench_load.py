"""`greenroom bench load --local`: the whole command without Ray and without a store, and what it refuses."""

from __future__ import annotations

import json
import re
import sys

import pytest

from runtime.cli import main
from runtime.load import report

GRAPHS = """
from pydantic import BaseModel
from runtime import END, START, Graph


class State(BaseModel):
    text: str = ""
    number: int = 0


g = Graph("counting", state=State)

@g.node
def count(state: State) -> dict:
    if state.text == "no":
        raise ValueError("no <b>way</b>")
    return {"number": state.number + 1}

g.edge(START, "count")
g.edge("count", END)

asking = Graph("asking", state=State)
asking.human("ask", question="How many?", into="number")
asking.edge(START, "ask")
asking.edge("ask", END)
"""
SHORT = ("--local", "--duration", "1", "--warm-up", "0.2")


@pytest.fixture
def bench(clean_environment, monkeypatch, tmp_path, capsys):
    """Runs `greenroom bench load` where `graphs_here.py` is; (exit code, standard output, standard error)."""
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "graphs_here.py").write_text(GRAPHS)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["bench", "load", *arguments])
        sys.modules.pop("graphs_here", None)
        return ended.value.code, *capsys.readouterr()

    return run


def test_an_open_loop(bench, tmp_path):
    """The shipped workflow: what is printed, written and drawn is one and the same."""
    code, printed, errors = bench(
        *SHORT, "--rate", "20", "--arrivals", "uniform", "--out", "r.json", "--html", "r.html"
    )
    result = json.loads((tmp_path / "r.json").read_text())

    assert code == 0, printed + errors
    assert printed.startswith("load, 20 turns/s (uniform)\n")
    assert "written to r.json\n" in printed
    assert "drawn in r.html\n" in printed
    assert (result["format"], result["arrived"], result["ended"]["completed"]) == ("greenroom-load/1", 20, 20)
    assert result["environment"]["actors"] == "one process"
    assert result["plan"]["rate_per_s"] == 20
    assert result["timeline"][0]["seen"]["hosts"] == 2
    assert result["peak_memory_bytes"]["driver"] > 10_000_000
    html = (tmp_path / "r.html").read_text()
    assert "load, 20 turns/s (uniform)" in html
    assert html.count("<svg") == 5


def test_a_closed_loop_of_ones_own_workflow_as_json(bench, tmp_path):
    (tmp_path / "inputs.jsonl").write_text('{"text": "a"}\n\n{"text": "no"}\n')
    code, printed, _ = bench(
        "graphs_here.py:g", *SHORT, "--concurrency", "2", "--input-file", "inputs.jsonl", "--turns", "3", "--json"
    )
    result = json.loads(printed)
    ended = result["ended"]

    assert code == 1  # every second turn fails
    assert ended["completed"] + ended["failed"] == result["arrived"] > 10
    assert result["error_rate"] == pytest.approx(0.5, abs=0.1)
    (error,) = result["errors"]
    assert (error["outcome"], error["error"], error["message"]) == ("failed", "ValueError", "no <b>way</b>")
    assert error["count"] == ended["failed"]
    assert result["verdict"]["held"] is False


def test_the_model_takes_as_long_as_is_said(bench):
    """Two calls a turn, of 100 ms each."""
    code, printed, _ = bench(
        *SHORT, "--concurrency", "1", "--model-latency", "uniform", "--model-latency-mean", "0.1",
        "--model-latency-spread", "0", "--json",
    )  # fmt: skip
    result = json.loads(printed)

    assert code == 0
    assert result["plan"]["model_latency"] == {"kind": "uniform", "mean_s": 0.1, "spread_s": 0.0, "seed": 0}
    assert result["latency"]["p50_s"] >= 0.2
    assert result["latency"]["mean_s"] >= 0.2


def test_a_p99_that_is_too_high_is_a_failure(bench):
    code, printed, _ = bench(*SHORT, "--concurrency", "1", "--fail-over-p99", "0.0001")

    assert code == 1
    assert re.search(r"not held: p99 [\d.,]+ ms, above 0.1 ms", printed)


def test_the_highest_rate(bench):
    """Of a model that takes a second no rate keeps a p99 of half a second, and that is found out soon."""
    code, printed, errors = bench(
        "--local", "--duration", "2", "--warm-up", "0", "--timeout-s", "0.3", "--find-max", "--goal-p99", "0.5",
        "--rate", "8", "--model-latency-mean", "1",
    )  # fmt: skip

    assert code == 1
    assert "not held: no rate held; 8/s, the lowest that was tried, failed" in printed
    assert errors.count("8/s  p99 0.0 ms, 100.00% errors: not held") == 1


def test_turns_that_ask_a_person_are_fine(bench):
    code, printed, _ = bench("graphs_here.py:asking", *SHORT, "--concurrency", "1", "--json")
    result = json.loads(printed)

    assert code == 0
    assert result["ended"]["paused"] == result["arrived"] > 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--rate", "1", "--concurrency", "1"], "Invalid value for --concurrency: is a closed loop"),
        (["--rate", "0"], "Invalid value for '--rate': Input should be greater than or equal to 0.001"),
        (["--find-max"], "Invalid value for --find-max: needs --goal-p99"),
        (["--goal-p99", "1"], "Invalid value for --goal-p99: goes with --find-max"),
        (["--find-max", "--goal-p99", "1", "--concurrency", "2"], "Invalid value for --concurrency: cannot go with"),
        (
            ["--find-max", "--goal-p99", "1", "--fail-over-p99", "2"],
            "Invalid value for --fail-over-p99: cannot go with",
        ),
        (["--priority", "hihg"], "Invalid value for --priority: no priority 'hihg'; did you mean \"high\"?"),
        (["--priority", "high=0"], "Invalid value for --priority: 'high=0': the weight must be a number above 0"),
        (["--priority", "high=x"], "Invalid value for --priority: 'high=x': the weight must be a number above 0"),
        (
            ["--arrivals", "normal"],
            "Invalid value for '--arrivals': Value error, 'normal' is not one of 'poisson', 'uniform'",
        ),
        (["--model-latency", "uniform"], "Invalid value for --model-latency-mean: say how long the model takes"),
        (
            ["--model-latency", "lognormal", "--model-latency-mean", "1"],
            "Invalid value for --model-latency-spread: a lognormal distribution needs it",
        ),
        (
            ["--model-latency-mean", "1", "--model-latency-spread", "1"],
            "Invalid value for --model-latency-spread: goes with --model-latency uniform or lognormal",
        ),
        (["--out", "no/such/file.json"], "Invalid value for --out: cannot write no/such/file.json"),
        (["--html", "."], "Invalid value for --html: cannot write .: is a directory"),
        (["--input", "{}", "--input-file", "x"], "Invalid value for --input-file: cannot go with --input"),
        (["--input-file", "missing.jsonl"], "Invalid value for --input-file: cannot read missing.jsonl"),
        (["--input-file", "empty.jsonl"], "Invalid value for --input-file: empty.jsonl is empty"),
        (["--input-file", "wrong.jsonl"], "Invalid value for --input-file: not valid JSON (Expecting property name"),
    ],
)
def test_wrong_options_are_told_in_one_line(bench, tmp_path, arguments, error):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "wrong.jsonl").write_text("{}\n{no}\n")
    code, printed, errors = bench("--local", *arguments)

    assert (code, printed) == (2, "")
    assert errors.startswith(f"error: {error}"), errors
    assert errors.count("\n") == 1


def test_a_wrong_line_is_named(bench, tmp_path):
    (tmp_path / "wrong.jsonl").write_text("{}\n\n{no}\n")
    (tmp_path / "list.jsonl").write_text("{}\n[]\n")
    in_json, in_kind = (bench("--local", "--input-file", name)[2] for name in ("wrong.jsonl", "list.jsonl"))

    assert "at line 3, column 2" in in_json
    assert "--input-file: line 2 must be a JSON object" in in_kind


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["no-such"], 'error: no workflow "no-such": no template, file or graph has this name, and none is deployed'),
        (["graphs_here.py:g", "--input", '{"txt": "a"}'], "error: input 1: "),
        (
            ["--find-max", "--goal-p99", "9", "--duration", "9"],
            "error: turns that pile up are not seen in 9 s",
        ),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(bench, arguments, error):
    code, printed, errors = bench(*arguments, "--local")

    assert (code, printed) == (1, "")
    assert errors.startswith(error), errors


def test_a_report_that_cannot_be_drawn_is_told_before_the_test(bench, monkeypatch):
    monkeypatch.setattr(report, "_NEEDS", ("no_such_library",))
    code, printed, errors = bench(*SHORT, "--html", "r.html")

    assert (code, printed) == (1, "")
    assert errors == (
        "error: an HTML report needs no_such_library; install them with: pip install 'greenroom[report]'\n"
    )
