"""A load test on the screen: while it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runtime.load.driver import LoadDriver
from runtime.load.latencies import LatencySummary
from runtime.load.plan import LoadPlan
from runtime.load.results import LoadResult, ProbeRow, milliseconds
from runtime.load.tally import FINE, Interval

BARS = "▁▂▃▄▅▆▇█"
SPARKS = 40
"""Rows of the timeline that are drawn as bars."""
BAR_WIDTH = 40


class LoadView:
    """How a load test is going, to be drawn again and again.

    Args:
        driver: The test.
        title: What is drawn above it.
    """

    def __init__(self, driver: LoadDriver, title: str) -> None:
        self._driver = driver
        self._title = title
        self._total = driver.tally.latencies.summary()

    def on_interval(self, _: Interval) -> None:
        """Take notice of a new row of the timeline."""
        self._total = self._driver.tally.latencies.summary()

    def draw(self) -> RenderableType:
        """How things are now."""
        tally, plan = self._driver.tally, self._driver.plan
        last = tally.timeline[-1] if tally.timeline else None
        at_s = 0.0 if last is None else last.at_s
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total=plan.end_s, completed=min(at_s, plan.end_s), width=BAR_WIDTH),
            Text(f"{tally.phase(at_s)}, {at_s:.0f} of {plan.end_s:g} s", style="dim"),
        )
        rows = Table.grid(padding=(0, 2))
        for name, value in self._rows(last):
            rows.add_row(Text(name, style="cyan"), Text(value))
        return Group(head, rows)

    def _rows(self, last: Interval | None) -> Iterator[tuple[str, str]]:
        tally = self._driver.tally
        rates = [interval.completed_per_s for interval in tally.timeline[-SPARKS:]]
        yield "throughput", f"{rates[-1] if rates else 0:,.1f}/s  {bars(rates)}"
        waiting = last.seen.waiting if last is not None and last.seen is not None else 0
        yield "under way", f"{tally.in_flight:,} in flight, {waiting:,} wait on hosts"
        if last is not None:
            yield "latency now", percentiles(last.latency)
        yield "latency", percentiles(self._total)
        ended = sum(tally.ended[outcome] for outcome in FINE)
        yield "measured", f"{tally.arrived:,} arrived, {ended:,} completed"
        errors = sorted(tally.errors.values(), key=lambda error: -error.count)
        yield "errors", ", ".join(f"{error.count:,} {error.outcome} {error.error}" for error in errors[:4]) or "none"
        if last is not None and last.seen is not None:
            yield "processes", f"{last.seen.hosts} hosts, {last.seen.executors} executors"
            yield "memory", memory(last.seen.memory_bytes)


def title(plan: LoadPlan) -> str:
    """A load test in a few words."""
    if plan.rate_per_s is not None:
        return f"{plan.workflow}, {plan.rate_per_s:g} turns/s ({plan.arrivals})"
    return f"{plan.workflow}, {plan.concurrency} turns at a time"


def line(interval: Interval) -> str:
    """A row of the timeline as a line of text."""
    waiting = "" if interval.seen is None else f", {interval.seen.waiting} wait"
    return (
        f"{interval.at_s:6.1f} s  {interval.phase:<8}  {interval.completed_per_s:8,.1f}/s  "
        f"p50 {milliseconds(interval.latency.p50_s)}  p99 {milliseconds(interval.latency.p99_s)}  "
        f"{interval.in_flight} in flight{waiting}, {interval.errors} errors"
    )


def probe_line(row: ProbeRow) -> str:
    """A measurement of a search as a line of text."""
    said = "held" if row.held else "not held"
    return f"{row.rate_per_s:8g}/s  p99 {milliseconds(row.p99_s)}, {row.error_rate:.2%} errors: {said}"


def report(result: LoadResult) -> Iterator[RenderableType]:
    """What came of it."""
    yield Text(title(result.plan), style="bold")
    rows = Table.grid(padding=(0, 2))
    ended = ", ".join(f"{count:,} {outcome}" for outcome, count in result.ended.items() if count) or "none"
    for name, value in (
        ("throughput", f"{result.completed_per_s:,.1f} turns/s for {result.plan.duration_s:g} s"),
        ("latency", f"{percentiles(result.latency)}, longest {milliseconds(result.latency.max_s)}"),
        ("turns", f"{result.arrived:,} arrived: {ended}"),
        ("memory", f"at most {memory(result.peak_memory_bytes)}"),
    ):
        rows.add_row(Text(name, style="cyan"), Text(value))
    yield rows
    if result.errors:
        errors = Table("count", "outcome", "error", "thread", "message", box=None, pad_edge=False, header_style="bold")
        for error in result.errors[:10]:
            cells = (f"{error.count:,}", str(error.outcome), error.error, error.thread_id or "-", error.message)
            errors.add_row(*map(Text, cells))
        yield errors
    if result.search is not None:
        yield _probes(result)
    style = "bold green" if result.verdict.held else "bold red"
    yield Text(f"{'held' if result.verdict.held else 'not held'}: {result.verdict.text}", style=style)
    for note in result.verdict.notes:
        yield Text(f"note: {note}", style="yellow")


def _probes(result: LoadResult) -> Table:
    assert result.search is not None, "there was a search"
    table = Table(
        "rate/s", "completed/s", "p50", "p99", "errors", "held", box=None, pad_edge=False, header_style="bold"
    )
    for column in table.columns[:5]:
        column.justify = "right"
    for probe in result.search.probes:
        table.add_row(
            f"{probe.rate_per_s:g}",
            f"{probe.completed_per_s:,.1f}",
            milliseconds(probe.p50_s),
            milliseconds(probe.p99_s),
            f"{probe.error_rate:.2%}",
            Text("yes", style="green") if probe.held else Text("no", style="red"),
        )
    return table


def percentiles(latency: LatencySummary) -> str:
    """Latencies in a line."""
    if not latency.count:
        return "nothing completed"
    values = (("p50", latency.p50_s), ("p95", latency.p95_s), ("p99", latency.p99_s), ("p99.9", latency.p999_s))
    return "  ".join(f"{name} {milliseconds(value)}" for name, value in values)


def memory(sizes: dict[str, int]) -> str:
    """Memory of processes in a line."""
    return ", ".join(f"{kind} {size_bytes / 1e6:,.0f} MB" for kind, size_bytes in sizes.items()) or "not known"


def bars(values: Sequence[float]) -> str:
    """Numbers as bars, the largest as high as a line."""
    top = max(values, default=0.0)
    return "".join(BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] for value in values) if top else ""
