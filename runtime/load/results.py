"""What a load test leaves behind: plain data, written as JSON and drawn as HTML. docs/load-testing.md explains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from runtime.load.latencies import Band, LatencySummary
from runtime.load.plan import LoadPlan
from runtime.load.search import Finding
from runtime.load.tally import ErrorCount, Interval, Outcome, Tally

FORMAT = "greenroom-load/1"
MAX_ERROR_RATE = 0.01
LATE_S = 0.02
"""From this lag on a load test says that it was late itself, if that is a part of the latencies that counts."""
LATE_PART = 0.1
FEW_TURNS = 1_000
VERY_FEW_TURNS = 200


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be reached."""

    p99_s: float | None = None
    """None: any."""
    max_error_rate: float = MAX_ERROR_RATE
    """Most of the measured turns that may fail, be refused, time out or be abandoned, as a part of 1."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the goal was reached."""

    held: bool
    text: str
    notes: list[str] = []
    """What makes the numbers less sure than they look."""


class ProbeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of a search."""

    rate_per_s: float
    completed_per_s: float
    p50_s: float
    p99_s: float
    error_rate: float
    held: bool


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The search for the highest rate."""

    finding: Finding
    probes: list[ProbeRow]


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """A load test; of a search, the last measurement of the rate that was found."""

    format: str = FORMAT
    at: str
    """When it began: ISO 8601, UTC."""
    environment: dict[str, Any]
    plan: LoadPlan
    goal: Goal
    verdict: Verdict
    arrived: int
    """Measured turns; each is in one of `ended`."""
    ended: dict[Outcome, int]
    error_rate: float
    completed_per_s: float
    """Turns that completed in a second while it was measured."""
    latency: LatencySummary
    """Of measured turns that completed, from when they were to arrive."""
    lag: LatencySummary
    """How late the load test itself sent them; part of their latencies."""
    distribution: list[Band]
    """Latencies, counted in bands."""
    errors: list[ErrorCount]
    """What went wrong, the most frequent first."""
    peak_memory_bytes: dict[str, int]
    """Kind of process -> most memory that all of them had."""
    timeline: list[Interval]
    search: SearchResult | None = None

    def row(self) -> ProbeRow:
        """It as a measurement of a search."""
        assert self.plan.rate_per_s is not None, "searches have open loops"
        return ProbeRow(
            rate_per_s=self.plan.rate_per_s,
            completed_per_s=self.completed_per_s,
            p50_s=self.latency.p50_s,
            p99_s=self.latency.p99_s,
            error_rate=self.error_rate,
            held=self.verdict.held,
        )


def result_of(plan: LoadPlan, goal: Goal, tally: Tally, *, at: str, environment: dict[str, Any]) -> LoadResult:
    """What a tally says at the end of a test."""
    latency, lag = tally.latencies.summary(), tally.lags.summary()
    error_rate = tally.failed / tally.arrived if tally.arrived else 0.0
    return LoadResult(
        at=at,
        environment=environment,
        plan=plan,
        goal=goal,
        verdict=judge(goal, tally.arrived, error_rate, latency, lag),
        arrived=tally.arrived,
        ended={outcome: tally.ended[outcome] for outcome in Outcome},
        error_rate=error_rate,
        completed_per_s=tally.completed_per_s,
        latency=latency,
        lag=lag,
        distribution=tally.latencies.distribution(),
        errors=sorted(tally.errors.values(), key=lambda error: -error.count),
        peak_memory_bytes=_peaks(tally.timeline),
        timeline=tally.timeline,
    )


def judge(goal: Goal, arrived: int, error_rate: float, latency: LatencySummary, lag: LatencySummary) -> Verdict:
    """Whether a goal was reached.

    Args:
        goal: The goal.
        arrived: Measured turns.
        error_rate: The part of them that did not complete.
        latency: Of those that did.
        lag: How late the load test itself was.
    """
    reasons = []
    if not latency.count:
        reasons.append("nothing completed")
    if error_rate > goal.max_error_rate:
        reasons.append(f"{error_rate:.2%} of {arrived} turns did not complete, above {goal.max_error_rate:.2%}")
    if goal.p99_s is not None and latency.p99_s > goal.p99_s:
        reasons.append(f"p99 {milliseconds(latency.p99_s)}, above {milliseconds(goal.p99_s)}")
    held = not reasons
    if held:
        aim = "" if goal.p99_s is None else f", within {milliseconds(goal.p99_s)}"
        reasons.append(f"p99 {milliseconds(latency.p99_s)}{aim}; {1 - error_rate:.2%} of {arrived} turns completed")
    return Verdict(held=held, text="; ".join(reasons), notes=_notes(latency, lag))


def is_late(latency: LatencySummary, lag: LatencySummary) -> bool:
    """Whether a good part of the latencies is the load test's own."""
    return lag.p99_s > LATE_S and lag.p99_s > LATE_PART * latency.p99_s


def milliseconds(seconds: float) -> str:
    """A latency as people read it."""
    return f"{seconds * 1e3:,.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"


def _notes(latency: LatencySummary, lag: LatencySummary) -> list[str]:
    notes = []
    if is_late(latency, lag):
        notes.append(
            f"the load test itself was late by {milliseconds(lag.p99_s)} (p99): its process or this machine is a limit"
        )
    if 0 < latency.count < FEW_TURNS:
        what = "p99" if latency.count < VERY_FEW_TURNS else "p99.9"
        notes.append(f"{latency.count} turns say little about {what}; measure longer")
    return notes


def _peaks(timeline: Sequence[Interval]) -> dict[str, int]:
    peaks: dict[str, int] = {}
    for interval in timeline:
        for kind, size_bytes in (interval.seen.memory_bytes if interval.seen else {}).items():
            peaks[kind] = max(peaks.get(kind, 0), size_bytes)
    return peaks
