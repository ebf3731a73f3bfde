"""One load test, or a search of many, from a plan to a result."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from graphs.errors import ValidationError
from runtime.load.driver import LoadDriver
from runtime.load.environment import environment
from runtime.load.plan import LoadPlan
from runtime.load.results import Goal, LoadResult, ProbeRow, SearchResult, Verdict, is_late, result_of
from runtime.load.search import PRECISION, Finding, Probe, Search
from runtime.load.target import Target

FIRST_RATE_PER_S = 10.0
LEAST_TURNS = 10
"""A measurement in which fewer turns are expected says nothing about a rate."""
LEAST_GOALS = 4
"""A measurement is at least so many times as long as the goal: what piles up must be seen before its end."""


class Screen(Protocol):
    """Who shows what happens."""

    def showing(self, driver: LoadDriver) -> AbstractContextManager[None]:
        """Show a test for as long as this is entered; rows of the timeline come from `driver`."""

    def probed(self, row: ProbeRow) -> None:
        """A measurement of a search is done."""


async def run_load(
    plan: LoadPlan, goal: Goal, target: Target, inputs: Sequence[Mapping[str, Any]], where: str, screen: Screen
) -> LoadResult:
    """Carry out one load test.

    Args:
        plan: What is to be done.
        goal: What is to be reached.
        target: What is put under load.
        inputs: Inputs of the turns, used again and again.
        where: Where the actors are.
        screen: Who shows it.

    Raises:
        ValidationError: It cannot be run as it is planned; all problems are listed.
    """
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    around = environment(where)
    driver = LoadDriver(plan, target, inputs)
    with screen.showing(driver):
        tally = await driver.run()
    return result_of(plan, goal, tally, at=at, environment=around)


async def find_max(
    plan: LoadPlan, goal: Goal, target: Target, inputs: Sequence[Mapping[str, Any]], where: str, screen: Screen
) -> LoadResult:
    """Look for the highest rate that reaches a goal; see `run_load`. The rate of the plan is where it begins.

    Raises:
        ValidationError: The plan has a closed loop, the goal has no p99, or the measurements are too short for it.
    """
    if plan.concurrency is not None or goal.p99_s is None:
        raise ValidationError("a search is for open loops and needs a goal for p99", problems=["goal_p99"])
    if plan.duration_s < LEAST_GOALS * goal.p99_s:
        least = f"{LEAST_GOALS * goal.p99_s:g} s"
        raise ValidationError(
            f"turns that pile up are not seen in {plan.duration_s:g} s with a goal of {goal.p99_s:g} s; measure for at "
            f"least {least}",
            problems=["duration_s"],
        )
    search = Search(plan.rate_per_s or FIRST_RATE_PER_S, lowest_per_s=LEAST_TURNS / plan.duration_s)
    latest: dict[tuple[float, bool], LoadResult] = {}
    rows: list[ProbeRow] = []
    while (rate_per_s := search.next_rate()) is not None:
        probe = msgspec.structs.replace(plan, rate_per_s=rate_per_s, seed=plan.seed + len(rows))
        result = await run_load(probe, goal, target, inputs, where, screen)
        held = result.verdict.held
        latest[rate_per_s, held] = result
        rows.append(result.row())
        search.take(Probe(rate_per_s=rate_per_s, held=held))
        screen.probed(rows[-1])
    finding = search.finding()
    chosen = latest[(rows[-1].rate_per_s, False) if finding.rate_per_s is None else (finding.rate_per_s, True)]
    failing = latest.get((finding.fails_at_per_s or 0.0, False))
    return msgspec.structs.replace(
        chosen,
        search=SearchResult(finding=finding, probes=rows),
        verdict=_verdict(finding, goal.p99_s / plan.duration_s, chosen, failing),
    )


def _verdict(finding: Finding, blind: float, chosen: LoadResult, failing: LoadResult | None) -> Verdict:
    """What a search says.

    Args:
        finding: What it has found.
        blind: By which part a rate can be above what can be sustained, and yet hold to the end of a test this short.
        chosen: The measurement of the rate that was found.
        failing: A measurement of the rate above it.
    """
    notes = list(chosen.verdict.notes)
    if failing is not None and is_late(failing.latency, failing.lag):
        notes.append("where it failed the load test itself was late: another machine might find a higher rate")
    if blind > PRECISION:
        notes.append(
            f"turns can pile up unseen in tests this short: the rate may be {blind:.0%} too high; measure longer"
        )
    if finding.rate_per_s is not None and not finding.is_sure:
        notes.append("the search is not sure of this rate")
    return Verdict(held=finding.rate_per_s is not None, text=finding.why, notes=notes)
