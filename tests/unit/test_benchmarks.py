"""What benchmarks share: closed loops, statistics, ratios."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.harness import Summary, percentile
from benchmarks.loads import Load, closed_loop
from benchmarks.race import Absent, race, rows_of


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


async def test_who_promises_more_is_compared_with_ours_that_does() -> None:
    racers = {"ours": _Counted([10.0]), "ours on disk": _Counted([2.0]), "theirs on disk": _Counted([4.0])}

    loads, _ = await race(racers, [1], rounds=1, seconds=0, unit="units")
    rows = rows_of(loads, "ours", against={"theirs on disk": "ours on disk"})

    assert [row["ours_over"]["per_s"].median for row in rows] == [1.0, 5.0, 0.5]


async def test_who_is_slow_is_spared_what_takes_long() -> None:
    ours, theirs = _Counted([1.0] * 2), _Counted([1.0])

    loads, _ = await race(
        {"ours": ours, "theirs": theirs}, [1, 64], rounds=1, seconds=0, unit="units", most={"theirs": 16}
    )

    assert {count: list(by_name) for count, by_name in loads.items()} == {1: ["ours", "theirs"], 64: ["ours"]}


async def test_who_is_absent_is_named_and_left_out() -> None:
    ours = _Counted([1.0])

    loads, missing = await race(
        {"ours": ours, "theirs": Absent("nothing is installed")}, [1], rounds=1, seconds=0, unit="units"
    )

    assert missing == {"theirs": "nothing is installed"}
    assert {count: list(by_name) for count, by_name in loads.items()} == {1: ["ours"]}
