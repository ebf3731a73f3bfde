"""What was promised of each question, and whether what was measured keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.harness import Result

Rows = Sequence[Mapping[str, Any]]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One promise and what became of it."""

    question: str
    benchmark: str
    target: str
    measured: str
    met: bool | None
    """None: it was not measured, since a peer is not here."""
    bound: str = ""
    """What keeps it from being better."""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """A number to reach."""

    question: str
    benchmark: str
    limit: float
    unit: str
    measure: Callable[[Result], Mapping[str, float] | float | None]
    """What was measured: a summary, a number, or nothing if a peer is not here."""
    at_least: bool = True
    """Whether more is better."""
    digits: int = 2
    bound: str = ""
    """What keeps it from being better, as far as that was found out."""

    def verdict(self, result: Result | None) -> Verdict:
        """Of what a benchmark has left behind."""
        found = None if result is None else self.measure(result)
        value = found["median"] if isinstance(found, Mapping) else found
        return Verdict(
            question=self.question,
            benchmark=self.benchmark,
            target=f"{'>=' if self.at_least else '<='} {self.limit:,g}{self.unit}",
            measured="not measured" if found is None else self._text(found),
            met=None if value is None else (value >= self.limit if self.at_least else value <= self.limit),
            bound=self.bound,
        )

    def _text(self, found: Mapping[str, float] | float) -> str:
        if not isinstance(found, Mapping):
            return f"{found:,.{self.digits}f}{self.unit}"
        low, median, high = (f"{found[name]:,.{self.digits}f}" for name in ("low", "median", "high"))
        return f"{median}{self.unit} ({low}-{high})"


def only(rows: Rows, **wanted: Any) -> Mapping[str, Any] | None:
    """The row with these values, if there is one."""
    return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)


def over(contender: str, in_flight: int, key: str = "per_s", **more: Any) -> Callable[[Result], Any]:
    """Ours over a contender's."""

    def find(result: Result) -> Any:
        row = only(result.rows, contender=contender, in_flight=in_flight, **more)
        return None if row is None else row["ours_over"][key]

    return find


def value(name: str, scale: float = 1.0, **wanted: Any) -> Callable[[Result], Any]:
    """What a row has, in another unit."""

    def find(result: Result) -> Any:
        row = only(result.rows, **wanted)
        return None if row is None else scaled(row[name], scale)

    return find


def scaled(found: Any, scale: float) -> Any:
    """A number or a summary in another unit."""
    if isinstance(found, Mapping):
        return {name: found[name] * scale for name in ("median", "low", "high")}
    return found * scale


def most(name: str, **wanted: Any) -> Callable[[Result], Any]:
    """The largest of what the rows have."""

    def find(result: Result) -> Any:
        found = [row[name] for row in result.rows if all(row.get(key) == each for key, each in wanted.items())]
        return max(found, key=lambda each: each["median"], default=None)

    return find


_HOST_THREADS = 100


def _slowest(result: Result) -> float | None:
    carried = [row for row in result.rows if row["moved"] >= _HOST_THREADS]
    return max((row["p95_s"] for row in carried), default=None)


def _lost(result: Result) -> float | None:
    carried = [row for row in result.rows if row["moved"] >= _HOST_THREADS]
    return sum(row["wrong"] + row["lost_or_doubled"] for row in carried) if carried else None


PROMISES = (
    Promise(
        question="messages/s between two processes, 128 in flight, over plain Ray actor calls",
        benchmark="messages",
        limit=25,
        unit="x",
        measure=over("plain Ray actor", 128),
    ),
    Promise(question="the same over xoscar", benchmark="messages", limit=2, unit="x", measure=over("xoscar", 128)),
    Promise(
        question="latency of one message in flight, over a plain Ray call",
        benchmark="messages",
        limit=1.3,
        unit="x",
        measure=over("plain Ray actor", 1, "p50_s"),
        at_least=False,
    ),
    Promise(
        question="durable steps/s, one chain at a time, over LangGraph with its Redis saver (`sync`)",
        benchmark="chain",
        limit=4,
        unit="x",
        measure=over("LangGraph Redis sync", 1),
        bound=(
            "two thirds of the time is for what is done once for each session (`exit` shows it): four messages between "
            "processes, and three trips to the store; each stored step adds 0.08 ms, half of it the trip"
        ),
    ),
    Promise(
        question="the same, 64 at a time",
        benchmark="chain",
        limit=10,
        unit="x",
        measure=over("LangGraph Redis sync", 64),
    ),
    Promise(
        question="durable steps/s, 64 at a time, over LangGraph in memory",
        benchmark="chain",
        limit=1.5,
        unit="x",
        measure=over("LangGraph memory", 64),
    ),
    Promise(
        question="new sessions that answer their first message, a second",
        benchmark="activation",
        limit=1_000,
        unit="/s",
        measure=most("per_s", part="new", contender="Greenroom"),
        digits=0,
    ),
    Promise(
        question="waking a session at rest, p99",
        benchmark="activation",
        limit=50,
        unit=" ms",
        measure=value("p99_s", 1e3, part="woken", contender="Greenroom", in_flight=1),
        at_least=False,
        digits=1,
    ),
    Promise(
        question="memory of an idle session whose host remembers it, in all processes",
        benchmark="memory",
        limit=20,
        unit=" KB",
        measure=value("process_bytes_each", 1e-3, kind="idle"),
        at_least=False,
        digits=1,
    ),
    Promise(
        question="memory of a passivated session, in all processes (0, but for what pages and pools round up)",
        benchmark="memory",
        limit=0.5,
        unit=" KB",
        measure=value("process_bytes_each", 1e-3, kind="passivated"),
        at_least=False,
    ),
    Promise(
        question="a fork of 100 branches of 50 ms, joined: time over LangGraph `Send` with its Redis saver",
        benchmark="fork",
        limit=1,
        unit="x",
        measure=over("LangGraph Send, Redis sync", 1, "p50_s"),
        at_least=False,
        bound=(
            "what is added to the 50 ms, some 25 to 45 ms, is work of the processors on both sides, and varies more "
            "from run to run than the two differ"
        ),
    ),
    Promise(
        question="a fork that computes: speed on each core, of a plain loop on one",
        benchmark="cpu_fork",
        limit=0.85,
        unit="",
        measure=lambda result: result.parameters["of_each_core"],
        bound=(
            "the machine: two processes that compute at the same time keep 0.86 to 1.04 of their speed alone, and 0.74 "
            "to 0.89 with eight threads each; and the executors begin after 10 ms, and end up to 25 ms apart"
        ),
    ),
    Promise(
        question="bytes stored for a conversation of 500 turns, over what was said",
        benchmark="storage",
        limit=2,
        unit="x",
        measure=value("over_raw", contender="Greenroom sync", turns=500),
        at_least=False,
    ),
    Promise(
        question="a table of 100 MB in the state: a step that reads one column",
        benchmark="table",
        limit=10,
        unit=" ms",
        measure=value("seconds", 1e3, part="other nodes"),
        at_least=False,
        digits=1,
    ),
    Promise(
        question="bytes in the store of each table that was put, over its own",
        benchmark="table",
        limit=1.01,
        unit="",
        measure=lambda result: result.parameters.get("copies_stored"),
        at_least=False,
    ),
    Promise(
        question="kill -9 of a host with 100 threads: resumed, p95 (worst round)",
        benchmark="recovery",
        limit=2,
        unit=" s",
        measure=_slowest,
        at_least=False,
    ),
    Promise(
        question="the same: steps lost or doubled, results that are wrong",
        benchmark="recovery",
        limit=0,
        unit="",
        measure=_lost,
        at_least=False,
        digits=0,
    ),
    Promise(
        question="`greenroom run`, cold, to the first result, over Ray's own start",
        benchmark="cold_start",
        limit=4,
        unit=" s",
        measure=value("seconds", contender="cold over Ray alone"),
        bound=(
            "supervisor, hosts and executors start one after the other, five processes that import on two cores; from "
            "start to start it varies by a second"
        ),
        at_least=False,
    ),
)


def verdicts(results: Mapping[str, Result]) -> list[Verdict]:
    """Of everything that was promised."""
    return [promise.verdict(results.get(promise.benchmark)) for promise in PROMISES]


class Better(msgspec.Struct, frozen=True, kw_only=True):
    """Where a peer is quicker than we are."""

    benchmark: str
    part: str
    in_flight: int
    contender: str
    factor: float
    """Its rate over ours."""


def better(results: Iterable[Result], margin: float = 1.05) -> list[Better]:
    """Each race a peer wins by a margin, by how far.

    Args:
        results: All there is.
        margin: Rates that are closer count as equal.
    """
    won = [
        Better(
            benchmark=result.benchmark,
            part=row.get("part", ""),
            in_flight=row["in_flight"],
            contender=row["contender"],
            factor=1 / row["ours_over"]["per_s"]["median"],
        )
        for result in results
        for row in result.rows
        if "ours_over" in row and not row["contender"].startswith("Greenroom")
    ]
    return sorted((each for each in won if each.factor >= margin), key=lambda each: -each.factor)
