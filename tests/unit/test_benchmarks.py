"""What benchmarks share: closed loops, statistics, ratios."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.harness import Result, Summary, percentile
from benchmarks.loads import Load, closed_loop
from benchmarks.race import race, rows_of
from benchmarks.report import ORDER, meaning, newest, publish
from benchmarks.targets import PROMISES, Better, better, verdicts


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]

    assert [percentile(values, percent) for percent in (0, 50, 80, 81, 100)] == [1.0, 3.0, 4.0, 5.0, 5.0]


def test_a_summary_keeps_the_rounds_in_order() -> None:
    summary = Summary.of([3.0, 1.0, 2.0])

    assert summary == Summary(median=2.0, low=1.0, high=3.0, values=[3.0, 1.0, 2.0])
    assert f"{summary:.1f}" == "2.0 (1.0-3.0)"


async def test_a_closed_loop_keeps_as_many_under_way_and_measures_each_caller_again() -> None:
    under_way = most = 0
    ended = 0

    async def operation() -> None:
        nonlocal under_way, most, ended
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        ended += 1

    load = await closed_loop(operation, 8, seconds=0, warm_up_s=0)

    assert most == 8
    assert len(load.latencies_s) == 8
    assert ended == 8 + 8 + 8 - 1  # before it is measured, measured, and those under way at the end
    assert load.per_s > 0


async def test_an_operation_that_fails_ends_the_loop() -> None:
    async def operation() -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as raised:
        await closed_loop(operation, 2, seconds=0, warm_up_s=0)

    assert all(isinstance(error, ValueError) for error in raised.value.exceptions)


class _Counted:
    """A racer that is exactly as fast as it is told."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = iter(rates)
        self.log: list[str] = []

    async def start(self) -> None:
        self.log.append("start")

    async def load(self, in_flight: int, seconds: float) -> Load:
        self.log.append(f"load {in_flight}")
        per_s = next(self.rates)
        return Load(per_s=per_s, latencies_s=[1 / per_s])

    async def close(self) -> None:
        self.log.append("close")


async def test_ratios_are_taken_within_a_round() -> None:
    ours, theirs = _Counted([10.0, 40.0]), _Counted([5.0, 10.0])

    loads, missing = await race({"ours": ours, "theirs": theirs}, [1], rounds=2, seconds=0, unit="units")
    rows = rows_of(loads, "ours", per_operation=10)

    assert missing == {}
    assert ours.log == theirs.log == ["start", "load 1", "load 1", "close"]
    assert [(row["contender"], row["per_s"].values) for row in rows] == [
        ("ours", [100.0, 400.0]),
        ("theirs", [50.0, 100.0]),
    ]
    assert rows[1]["ours_over"] == {"per_s": Summary.of([2.0, 4.0]), "p50_s": Summary.of([0.5, 0.25])}


async def test_who_is_slow_is_spared_what_takes_long() -> None:
    ours, theirs = _Counted([1.0] * 2), _Counted([1.0])

    loads, _ = await race(
        {"ours": ours, "theirs": theirs}, [1, 64], rounds=1, seconds=0, unit="units", most={"theirs": 16}
    )

    assert {count: list(by_name) for count, by_name in loads.items()} == {1: ["ours", "theirs"], 64: ["ours"]}


def _result(
    benchmark: str, rows: list[dict[str, Any]], at: str = "2026-01-01T00:00:00+00:00", **parameters: Any
) -> Result:
    made = Result(benchmark=benchmark, question="?", at=at, environment={}, parameters=parameters, rows=rows)
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
