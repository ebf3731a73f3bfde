"""What a process says of itself: counted while it works, which costs next to nothing, and told when somebody asks."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Steps are counted by how long they took: up to each of these, and longer than the last."""


class StepCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Steps that were run and recorded."""

    count: int = 0
    failed: int = 0
    """Those of them that failed for good."""
    tokens: int = 0
    """Tokens of language models."""
    seconds: float = 0.0
    """Of all of them, recording included."""
    buckets: tuple[int, ...] = (0,) * (len(BUCKETS_S) + 1)
    """Steps by how long they took, one number for each of `BUCKETS_S` and one for longer ones."""

    def __add__(self, other: StepCounts) -> StepCounts:
        """Both together."""
        return self._with(other, 1)

    def since(self, earlier: StepCounts) -> StepCounts:
        """What has come since the same process said `earlier`."""
        return self._with(earlier, -1)

    def percentile_s(self, percent: float) -> float:
        """How long so many percent of the steps took at most: the edge of the bucket; infinite beyond the last one."""
        wanted, seen = self.count * percent / 100, 0
        for edge_s, count in zip((*BUCKETS_S, float("inf")), self.buckets, strict=True):
            seen += count
            if count and seen >= wanted:
                return edge_s
        return 0.0

    def _with(self, other: StepCounts, sign: int) -> StepCounts:
        return StepCounts(
            count=self.count + sign * other.count,
            failed=self.failed + sign * other.failed,
            tokens=self.tokens + sign * other.tokens,
            seconds=self.seconds + sign * other.seconds,
            buckets=tuple(ours + sign * theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True)),
        )


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a process is."""

    rss_bytes: int = 0
    """Its memory; 0: not known."""
    threads: int = 0
    """Threads whose turns run on it, if it is a host."""
    threads_total: int = 0
    """Threads that ever ran on it."""
    waiting: int = 0
    """Turns that wait for a place on it."""
    steps: StepCounts = StepCounts()
    """What it has run, if it is an executor."""


class StepMeter:
    """Counts the steps of an executor."""

    def __init__(self) -> None:
        self._count = self._failed = self._tokens = 0
        self._seconds = 0.0
        self._buckets = [0] * (len(BUCKETS_S) + 1)

    def add(self, seconds: float, *, failed: bool, tokens: int) -> None:
        """Count a step that is recorded."""
        self._count += 1
        self._failed += failed
        self._tokens += tokens
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS_S, seconds)] += 1

    def counts(self) -> StepCounts:
        """What there has been."""
        return StepCounts(
            count=self._count,
            failed=self._failed,
            tokens=self._tokens,
            seconds=self._seconds,
            buckets=tuple(self._buckets),
        )
