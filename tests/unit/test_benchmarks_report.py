"""What is made of results: promises that are kept or not, where peers are better, the document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from benchmarks.harness import Result, Summary
from benchmarks.report import ORDER, document, meaning, newest, publish
from benchmarks.targets import PROMISES, Better, better, verdicts

ENVIRONMENT = {
    "commit": "abc1234",
    "python": "3.11.7",
    "platform": "Linux",
    "cpu_count": 2,
    "busy": 0.02,
    "packages": {"ray": "2.60.0"},
}


def _result(
    benchmark: str, rows: list[dict[str, Any]], at: str = "2026-01-01T00:00:00+00:00", **parameters: Any
) -> Result:
    made = Result(benchmark=benchmark, question="?", at=at, environment=ENVIRONMENT, parameters=parameters, rows=rows)
    return msgspec.json.decode(msgspec.json.encode(made), type=Result)  # as it is read from a file


def _raced(
    contender: str, in_flight: int, rate_over: list[float], p50_over: list[float] | None = None
) -> dict[str, Any]:
    over = {"per_s": Summary.of(rate_over), "p50_s": Summary.of(p50_over or [1.0])}
    return {"contender": contender, "in_flight": in_flight, "per_s": Summary.of([1.0]), "ours_over": over}


def test_a_promise_is_kept_broken_or_not_measured() -> None:
    result = _result(
        "messages", [_raced("plain Ray actor", 128, [20.0, 24.0, 30.0]), _raced("plain Ray actor", 1, [1.0], [1.2])]
    )

    found = [verdict for verdict in verdicts({"messages": result}) if verdict.benchmark == "messages"]

    assert [(verdict.target, verdict.measured, verdict.met) for verdict in found] == [
        (">= 25x", "24.00x (20.00-30.00)", False),
        (">= 2x", "not measured", None),
        ("<= 1.3x", "1.20x (1.20-1.20)", True),
    ]


def test_every_promise_is_of_a_benchmark_in_the_document() -> None:
    assert {promise.benchmark for promise in PROMISES} <= set(ORDER)
    assert all(meaning(name) for name in ORDER)


def test_peers_that_win_are_named_but_not_for_a_hair() -> None:
    rows = [
        _raced("Greenroom", 1, [0.5]),
        _raced("quick", 1, [0.5]),
        _raced("slow", 1, [2.0]),
        _raced("even", 1, [0.99]),
    ]

    assert better([_result("chain", rows)]) == [
        Better(benchmark="chain", part="", in_flight=1, contender="quick", factor=2.0)
    ]


def test_the_newest_result_counts(tmp_path: Path) -> None:
    old, new = (
        _result("chain", [], at="2026-01-01T00:00:00+00:00"),
        _result("chain", [], at="2026-01-02T00:00:00+00:00"),
    )
    for name, result in (("a", new), ("b", old), ("c", _result("unknown", []))):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(result))

    assert newest(tmp_path) == {"chain": new}


def test_what_is_published_can_be_read_again(tmp_path: Path) -> None:
    result = _result("storage", [{"turns": 1}])

    publish([result], tmp_path / "published")

    assert newest(tmp_path / "published") == {"storage": result}


def _section(text: str, benchmark: str) -> str:
    return text.partition(f"\n## {benchmark}\n")[2].partition("\n## ")[0]


def test_the_document_has_promises_winners_and_a_table_for_each_benchmark() -> None:
    one = Summary.of([0.001])
    raced = [
        {**_raced(name, 1, [over]), "p50_s": one, "p99_s": one} for name, over in (("Greenroom", 1.0), ("it", 0.5))
    ]
    results = {
        "chain": _result("chain", raced, missing={"DBOS SQLite": "dbos is not installed"}),
        "activation": _result("activation", [{"part": "new", **row} for row in raced]),
        "table": _result("table", [{"part": "other nodes", "seconds": Summary.of([0.002])}], copies_stored=1.0),
    }

    text = document(results, ["chain"])

    assert (
        "| a table of 100 MB in the state: a step that reads one column | <= 10 ms | 2.0 ms (2.0-2.0) | yes | "
        "`python -m benchmarks.table` |\n"
    ) in text
    assert "| chain | 1 | it | 2.00 |\n| activation, new | 1 | it | 2.00 |\n" in text
    assert "Not there: DBOS SQLite (dbos is not installed).\n\n![chain](performance/chain.png)\n" in _section(
        text, "chain"
    )
    assert _section(text, "chain").endswith(
        "| | at a time | per second | p50 ms | p99 ms | ours over it |\n"
        "|---|---|---|---|---|---|\n"
        "| Greenroom | 1 | 1.0 (1.0-1.0) | 1.00 | 1.00 | 1.00 (1.00-1.00) |\n"
        "| it | 1 | 1.0 (1.0-1.0) | 1.00 | 1.00 | 0.50 (0.50-0.50) |\n"
    )
    assert "\n| new | it | 1 |" in _section(text, "activation")
    assert _section(text, "table").endswith("| other nodes | 2.0 (2.0-2.0) |\n")
    assert "busy" not in text
    assert "\n\n\n" not in text


def test_the_document_says_where_the_machine_was_busy() -> None:
    result = _result("table", [{"part": "other nodes", "seconds": Summary.of([0.002])}])
    busy = msgspec.structs.replace(result, environment={**ENVIRONMENT, "busy": 0.4})

    assert "for a first impression only: table.\n" in document({"table": busy}, [])
