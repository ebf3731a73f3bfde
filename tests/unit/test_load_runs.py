"""From a plan to a result: verdicts, searches, and what is said, drawn and written of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from actors.facts import ProcessFacts
from actors.llm.settings import Latency
from actors.protocol import Cluster, ProcessInfo
from graphs.errors import ValidationError
from runtime.load import report, view
from runtime.load.driver import LoadDriver
from runtime.load.latencies import Latencies, LatencySummary
from runtime.load.plan import Arrivals, LoadPlan
from runtime.load.results import FORMAT, Goal, LoadResult, ProbeRow, judge
from runtime.load.runs import find_max, run_load
from runtime.load.tally import COMPLETED, Ending, Outcome, Seen
from runtime.load.target import seen
from tests.unit.load_kit import Server, exponential, virtually

PLAN = LoadPlan(workflow="w", rate_per_s=20.0, warm_up_s=0.0, duration_s=10.0, arrivals=Arrivals.UNIFORM, seed=3)


class Screen:
    def __init__(self) -> None:
        self.probes: list[ProbeRow] = []
        self.drawn = ""

    @contextmanager
    def showing(self, driver: LoadDriver) -> Iterator[None]:
        drawing = view.LoadView(driver, view.title(driver.plan))
        driver.on_interval = drawing.on_interval
        text(drawing.draw())
        yield
        self.drawn = text(drawing.draw())

    def probed(self, row: ProbeRow) -> None:
        self.probes.append(row)


def text(renderable: Any) -> str:
    """What people see."""
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def run(plan: LoadPlan, goal: Goal, make: Any, measure: Any = run_load) -> tuple[LoadResult, Screen]:
    screen = Screen()

    async def program() -> LoadResult:
        return await measure(plan, goal, make(), [{}], "one process", screen)

    return virtually(program()), screen


def failing(number: int) -> Ending:
    """One turn in ten fails."""
    return COMPLETED if number % 10 else Ending(outcome=Outcome.FAILED, error="ValueError", message="<b>no</b>")


def test_a_result() -> None:
    result, screen = run(PLAN, Goal(p99_s=0.05), lambda: Server(lambda _: 0.01))

    assert (result.format, result.plan, result.goal) == (FORMAT, PLAN, Goal(p99_s=0.05))
    assert (result.arrived, result.error_rate, result.errors) == (200, 0.0, [])
    assert result.ended == {outcome: 200 if outcome is Outcome.COMPLETED else 0 for outcome in Outcome}
    assert result.completed_per_s == pytest.approx(20, abs=0.2)
    assert result.verdict.held
    assert result.verdict.text == "p99 10.0 ms, within 50.0 ms; 100.00% of 200 turns completed"
    assert result.peak_memory_bytes == {"driver": 5}
    assert result.environment["actors"] == "one process"
    assert sum(band.count for band in result.distribution) == 200
    assert "200 arrived, 200 completed" in screen.drawn


def test_a_result_is_the_same_after_it_was_written() -> None:
    result, _ = run(PLAN, Goal(), lambda: Server(lambda _: 0.01, ending=failing))

    assert msgspec.json.decode(msgspec.json.encode(result), type=LoadResult) == result


@pytest.mark.parametrize(
    ("goal", "error_rate", "latencies_s", "held", "said"),
    [
        (Goal(), 0.0, [0.5], True, "p99 500 ms; 100.00% of 9 turns completed"),
        (Goal(p99_s=0.4), 0.0, [0.5], False, "p99 500 ms, above 400 ms"),
        (Goal(), 0.02, [0.5], False, "2.00% of 9 turns did not complete, above 1.00%"),
        (Goal(max_error_rate=0.02), 0.02, [0.5], True, "p99 500 ms; 98.00% of 9 turns completed"),
        (Goal(), 0.0, [], False, "nothing completed"),
        (
            Goal(p99_s=0.4),
            0.5,
            [0.5],
            False,
            "50.00% of 9 turns did not complete, above 1.00%; p99 500 ms, above 400 ms",
        ),
    ],
)
def test_verdicts(goal: Goal, error_rate: float, latencies_s: list[float], held: bool, said: str) -> None:
    verdict = judge(goal, 9, error_rate, summary(latencies_s), summary([0.0]))

    assert (verdict.held, verdict.text) == (held, said)


@pytest.mark.parametrize(
    ("latencies_s", "lags_s", "notes"),
    [
        ([0.1] * 1_000, [0.001], []),
        ([0.1] * 999, [0.001], ["999 turns say little about p99.9; measure longer"]),
        ([0.1] * 99, [0.001], ["99 turns say little about p99; measure longer"]),
        (
            [0.1] * 1_000,
            [0.03],
            ["the load test itself was late by 30.0 ms (p99): its process or this machine is a limit"],
        ),
        ([1.0] * 1_000, [0.03], []),
        ([0.01] * 1_000, [0.01], []),
    ],
)
def test_notes(latencies_s: list[float], lags_s: list[float], notes: list[str]) -> None:
    assert judge(Goal(), len(latencies_s), 0.0, summary(latencies_s), summary(lags_s)).notes == notes


def summary(values: list[float]) -> LatencySummary:
    counted = Latencies()
    for value in values:
        counted.add(value)
    return counted.summary()


def test_the_highest_rate_is_found() -> None:
    """A server with two places of 100 ms takes 20 turns a second; above that they pile up, and the p99 goes."""
    plan = msgspec.structs.replace(PLAN, rate_per_s=3.0, duration_s=30.0)
    result, screen = run(plan, Goal(p99_s=0.5), lambda: Server(lambda _: 0.1, places=2), find_max)
    assert result.search is not None
    finding = result.search.finding

    assert finding.is_sure
    assert 19.5 <= (finding.rate_per_s or 0) <= 21
    assert result.plan.rate_per_s == finding.rate_per_s
    assert result.search.probes == screen.probes
    assert [probe.rate_per_s for probe in screen.probes[:4]] == [3, 6, 12, 24]
    assert (result.verdict.held, result.verdict.text) == (True, finding.why)


def test_no_rate_is_found() -> None:
    """Nothing is tried below a rate at which ten turns are expected in a measurement."""
    plan = msgspec.structs.replace(PLAN, rate_per_s=4.0, duration_s=20.0)
    result, screen = run(plan, Goal(p99_s=0.5), lambda: Server(lambda _: 1.0), find_max)

    assert [probe.rate_per_s for probe in screen.probes] == [4, 2, 1, 0.5]
    assert not result.verdict.held
    assert result.verdict.text == "no rate held; 0.5/s, the lowest that was tried, failed"


def test_a_short_search_says_how_far_it_may_be_off() -> None:
    plan = msgspec.structs.replace(PLAN, duration_s=2.0)
    result, _ = run(plan, Goal(p99_s=0.5), lambda: Server(lambda _: 0.1, places=2), find_max)

    assert any(
        note.startswith("turns can pile up unseen in tests this short: the rate may be 25% too high")
        for note in result.verdict.notes
    )


@pytest.mark.parametrize(("fields", "goal"), [({"rate_per_s": None, "concurrency": 1}, Goal(p99_s=1.0)), ({}, Goal())])
def test_searches_that_make_no_sense(fields: dict[str, Any], goal: Goal) -> None:
    with pytest.raises(ValidationError, match="a search is for open loops and needs a goal for p99"):
        run(msgspec.structs.replace(PLAN, **fields), goal, lambda: Server(lambda _: 0.1), find_max)


def test_what_a_cluster_shows() -> None:
    processes = (
        ProcessInfo(address="host-1.1", kind="host", pid=1, facts=ProcessFacts(threads=3, rss_bytes=10)),
        ProcessInfo(address="host-1.2", kind="host", pid=2, facts=ProcessFacts(threads=4, rss_bytes=20)),
        ProcessInfo(address="llm-1.3", kind="llm", pid=3, facts=ProcessFacts(rss_bytes=5)),
        ProcessInfo(address="tool-1.4", kind="tool", pid=4),
    )
    cluster = Cluster(processes=processes, waiting=9, supervisor_rss_bytes=7)

    assert seen(cluster, driver_bytes=1, store_bytes=0) == Seen(
        hosts=2,
        executors=2,
        running=7,
        waiting=9,
        memory_bytes={"driver": 1, "hosts": 30, "executors": 5, "supervisor": 7},
    )


def test_in_one_process_there_is_one_memory() -> None:
    """Actors that are objects in the driver's process all have its memory, which is counted once."""
    process = ProcessInfo(address="host-1.1", kind="host", facts=ProcessFacts(rss_bytes=10))

    found = seen(Cluster(processes=(process,), supervisor_rss_bytes=10), driver_bytes=10, store_bytes=3)
    assert found.memory_bytes == {"driver": 10, "store": 3}


class Page(HTMLParser):
    """What a browser would make of a report."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_has_everything_and_fetches_nothing() -> None:
    plan = msgspec.structs.replace(
        PLAN, workflow="<script>", model_latency=Latency(kind="uniform", mean_s=0.01, spread_s=0.005)
    )
    result, _ = run(plan, Goal(p99_s=0.05), lambda: Server(exponential(0.01, 1), ending=failing))
    html = report.html(result)
    page = Page(html)

    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles == [
        "Throughput",
        "Latency over time",
        "Distribution of latencies",
        "Turns under way",
        "Errors",
        "Memory",
        "Turns",
        "Errors by type",
        "Parameters",
        "Environment",
    ]
    assert page.tags.count("svg") == 6
    assert "script" not in page.tags
    assert not {"img", "link", "iframe", "object", "b>"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert re.findall(r"url\((?!#)", html) == []
    assert "Not held: 10.00% of 200 turns did not complete, above 1.00%" in " ".join(page.text.split())
    for said in ("<script>, 20 turns/s (uniform)", "<b>no</b>", "ValueError", "uniform, mean 10.0 ms, spread 5.0 ms"):
        assert said in page.text


def test_the_report_of_a_search_and_of_nothing() -> None:
    """Plots for which there is nothing to draw are left out."""
    found, _ = run(PLAN, Goal(p99_s=0.5), lambda: Server(lambda _: 0.1, places=2), find_max)
    nothing, _ = run(msgspec.structs.replace(PLAN, duration_s=0.04), Goal(), lambda: Server(lambda _: 99.0))

    assert "<h2>Search</h2>" in report.html(found)
    assert "<h2>Measurements of the search</h2>" in report.html(found)
    assert "w: the highest rate with p99 within 500 ms" in report.html(found)
    assert "Distribution of latencies" not in report.html(nothing)
    assert "nothing completed" in report.html(nothing)


def test_a_report_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_NEEDS", ("jinja2", "no_such_library"))
    with pytest.raises(
        report.ReportUnavailable,
        match=r"^an HTML report needs no_such_library; install them with: pip install 'greenroom\[report\]'$",
    ):
        report.check_available()


def test_what_is_printed() -> None:
    result, _ = run(PLAN, Goal(), lambda: Server(lambda _: 0.01, ending=failing))
    printed = "".join(map(text, view.report(result)))

    assert "w, 20 turns/s (uniform)" in printed
    assert re.search(r"throughput +18\.\d turns/s for 10 s", printed)
    assert "200 arrived: 180 completed, 20 failed" in printed
    assert re.search(r"20 +failed +ValueError +s0:0 +<b>no</b>", printed)
    assert "not held: 10.00% of 200 turns did not complete, above 1.00%" in printed
    assert re.fullmatch(
        r" +1\.0 s  measured +18\.0/s  p50 10\.0 ms  p99 10\.0 ms  0 in flight, 0 wait, 1 errors",
        view.line(result.timeline[1]),
    )


def test_bars() -> None:
    assert view.bars([]) == view.bars([0.0]) == ""
    assert view.bars([0, 1, 4, 8]) == "▁▂▅█"


def test_the_documentation_names_every_field() -> None:
    """docs/load-testing.md explains what is in the JSON."""
    documented = Path(__file__).parents[2].joinpath("docs", "load-testing.md").read_text("utf-8")

    assert [name for name in LoadResult.__struct_fields__ if f"`{name}`" not in documented] == []
