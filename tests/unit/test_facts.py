"""What processes say of themselves, and what `greenroom top` makes of it."""

from __future__ import annotations

import pytest
from rich.console import Console

from actors.facts import BUCKETS_S, ProcessFacts, StepCounts, StepMeter
from actors.protocol import Cluster, ProcessInfo
from runtime.cli.top import summary, table


def meter(*seconds: float, failed: int = 0) -> StepMeter:
    counting = StepMeter()
    for number, took_s in enumerate(seconds):
        counting.add(took_s, failed=number < failed, tokens=2)
    return counting


def test_steps_are_counted() -> None:
    counts = meter(0.0005, 0.001, 0.03, 400.0, failed=1).counts()

    assert (counts.count, counts.failed, counts.tokens) == (4, 1, 8)
    assert counts.seconds == pytest.approx(400.0315)
    assert {edge: count for edge, count in zip((*BUCKETS_S, "more"), counts.buckets, strict=True) if count} == {
        0.001: 2,
        0.05: 1,
        "more": 1,
    }


def test_percentiles_are_edges_of_buckets() -> None:
    counts = meter(*[0.0005] * 98, 0.03, 400.0).counts()

    assert [counts.percentile_s(percent) for percent in (50, 98, 99, 99.5)] == [0.001, 0.001, 0.05, float("inf")]
    assert StepCounts().percentile_s(99) == 0.0


def test_what_has_come_since() -> None:
    counting = meter(0.5)
    before = counting.counts()
    counting.add(0.015, failed=True, tokens=3)
    new = counting.counts().since(before)

    assert (new.count, new.failed, new.tokens, new.percentile_s(50)) == (1, 1, 3, 0.02)
    assert before + new == counting.counts()


def process(address: str, **facts: object) -> ProcessInfo:
    return ProcessInfo(address=address, kind=address.rpartition("-")[0], pid=7, facts=ProcessFacts(**facts))


def test_two_looks_at_a_cluster() -> None:
    counting = meter(0.5, 0.5)
    before = Cluster(processes=(process("host-1.1"), process("llm-1.2", steps=counting.counts())))
    counting.add(0.015, failed=True, tokens=30)
    after = Cluster(
        processes=(
            process("host-1.1", rss_bytes=20_000_000, threads=3, waiting=4),
            process("llm-1.2", rss_bytes=5_000_000, steps=counting.counts()),
            process("tool-1.3", steps=meter(*[0.001] * 7).counts()),
        ),
        waiting=4,
        supervisor_rss_bytes=1_000_000,
    )
    seen = summary(before, after, 2.0)
    rows = {row["process"]: row for row in seen.pop("processes")}

    assert seen == {
        "hosts": 1,
        "executors": 2,
        "threads": 3,
        "waiting": 4,
        "memory_bytes": 26_000_000,
        "steps_per_s": 4.0,
        "failed_per_s": 0.5,
        "tokens_per_s": 22.0,
        "step_p99_s": 0.02,
    }
    assert (rows["llm-1.2"]["steps_per_s"], rows["llm-1.2"]["step_p99_s"]) == (0.5, 0.02)
    assert (rows["tool-1.3"]["steps_per_s"], rows["tool-1.3"]["step_p99_s"]) == (3.5, 0.001)


def test_a_process_that_does_not_answer_has_done_nothing() -> None:
    before = Cluster(processes=(process("llm-1.2", steps=meter(0.5).counts()),))
    seen = summary(before, Cluster(processes=(process("llm-1.2"),)), 1.0)

    assert (seen["steps_per_s"], seen["step_p99_s"]) == (0.0, None)


def test_the_table() -> None:
    after = Cluster(
        processes=(
            process("host-1.1", rss_bytes=20_000_000, threads=3, waiting=4),
            process("llm-1.2", rss_bytes=5_000_000, steps=meter(0.015).counts()),
        ),
        waiting=4,
    )
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(summary(Cluster(processes=()), after, 1.0)))

    assert [" ".join(line.split()) for line in console.export_text().splitlines()] == [
        "1 hosts, 1 executors, 25.0 MB; 3 threads run, 4 turns wait; 1.0 steps/s, p99 within 20 ms",
        "process memory threads waiting steps/s p99 failed/s tokens/s pid",
        "host-1.1 20.0 MB 3 4 - - - - 7",
        "llm-1.2 5.0 MB - - 1.0 20 ms 0.0 2.0 7",
    ]
