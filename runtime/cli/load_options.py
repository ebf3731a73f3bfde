"""The options of `greenroom bench load`, and what they mean together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from actors.llm.settings import Latency
from graphs.suggest import did_you_mean
from graphs.threads import ThreadPriority
from runtime.load.plan import Arrivals

DEFAULT_CONCURRENCY = 8
DURATION_S = 30.0
SEARCH_DURATION_S = 10.0
SEARCH_GOALS = 20
"""How many times as long as the goal for p99 each measurement of a search is, unless it is said."""

WorkflowOption = Annotated[
    str,
    typer.Argument(
        metavar="[WORKFLOW]",
        help="As for `greenroom run`; by default the shipped `load`: a scripted model and a tool, in a loop.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option("--rate", min=0.001, metavar="R", help="Open loop: so many turns arrive a second, come what may."),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--concurrency", min=1, metavar="N", help=f"Closed loop: N turns at a time ({DEFAULT_CONCURRENCY})."),
]
ArrivalsOption = Annotated[Arrivals, typer.Option("--arrivals", help="How an open loop spreads them.")]
DurationOption = Annotated[
    float | None,
    typer.Option(
        "--duration", min=0.1, metavar="S", help="Seconds that are measured (30; in a search 10 or more each)."
    ),
]
RampOption = Annotated[float, typer.Option("--ramp", min=0, metavar="S", help="Seconds in which the load grows.")]
WarmUpOption = Annotated[float, typer.Option("--warm-up", min=0, metavar="S", help="Seconds before it is measured.")]
InputOption = Annotated[str | None, typer.Option("--input", metavar="JSON", help="Channel -> value, for every turn.")]
InputFileOption = Annotated[
    str | None,
    typer.Option("--input-file", metavar="FILE", help="An input on each line, used in turn; - is standard input."),
]
TurnsOption = Annotated[int, typer.Option("--turns", min=1, help="Turns of each session.")]
UsersOption = Annotated[int, typer.Option("--users", min=1, help="Users that the sessions belong to.")]
PriorityOption = Annotated[
    list[str] | None,
    typer.Option("--priority", metavar="NAME[=WEIGHT]", help="Priority of turns; several make a mix by their weights."),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout-s", min=0.001, help="Turns that are not over in this time are cancelled and count as errors."
    ),
]
DrainOption = Annotated[
    float | None,
    typer.Option("--drain", min=0, metavar="S", help="Seconds that open turns are waited for (--timeout-s)."),
]
InFlightOption = Annotated[
    int, typer.Option("--max-in-flight", min=1, help="Most turns under way; what arrives above that counts as refused.")
]
LatencyKindOption = Annotated[
    Literal["fixed", "uniform", "lognormal"] | None,
    typer.Option("--model-latency", help="How long the model `scripted` takes: the distribution."),
]
LatencyMeanOption = Annotated[
    float | None, typer.Option("--model-latency-mean", min=0, metavar="S", help="Its mean, in seconds.")
]
LatencySpreadOption = Annotated[
    float | None,
    typer.Option("--model-latency-spread", min=0, metavar="S", help="Half its width, or its standard deviation."),
]
FindMaxFlag = Annotated[bool, typer.Option("--find-max", help="Look for the highest rate that keeps --goal-p99.")]
GoalOption = Annotated[
    float | None,
    typer.Option("--goal-p99", min=0.0001, metavar="S", help="With --find-max: the p99 that is to be kept."),
]
FailOverOption = Annotated[
    float | None, typer.Option("--fail-over-p99", min=0.0001, metavar="S", help="Exit with 1 if the p99 is above this.")
]
MaxErrorsOption = Annotated[
    float, typer.Option("--max-error-rate", min=0, max=1, help="The part of the turns that may not complete.")
]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the result as JSON.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots.")]
KeepFlag = Annotated[bool, typer.Option("--keep-sessions", help="Do not delete the sessions of the test afterwards.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of arrivals and priorities.")]


def check_goals(
    rate: float | None, concurrency: int | None, goal_p99: float | None, fail_over_p99: float | None, *, search: bool
) -> None:
    """Raise `typer.BadParameter` for options that exclude or need each other."""
    if concurrency is not None and rate is not None:
        raise _bad("--concurrency", "is a closed loop and --rate an open one; give one of them")
    if search and concurrency is not None:
        raise _bad("--concurrency", "cannot go with --find-max, which looks for a rate")
    if search and goal_p99 is None:
        raise _bad("--find-max", "needs --goal-p99: how many seconds 99 % of the turns may take")
    if search and fail_over_p99 is not None:
        raise _bad("--fail-over-p99", "cannot go with --find-max, whose goal is --goal-p99")
    if not search and goal_p99 is not None:
        raise _bad("--goal-p99", "goes with --find-max; --fail-over-p99 checks a single test")


def default_duration_s(goal_p99_s: float | None) -> float:
    """How long it is measured: each time, if there is a goal to be searched for."""
    return DURATION_S if goal_p99_s is None else max(SEARCH_DURATION_S, SEARCH_GOALS * goal_p99_s)


def check_writable(path: Path | None, option: str) -> None:
    """Raise `typer.BadParameter` if a file cannot be written there: better now than after the test."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "is a directory" if path.is_dir() else "its directory is not there"
        raise _bad(option, f"cannot write {path}: {what}")


def model_latency(
    kind: Literal["fixed", "uniform", "lognormal"] | None, mean_s: float | None, spread_s: float | None
) -> Latency | None:
    """How long the model `scripted` takes; None: as it is configured.

    Raises:
        typer.BadParameter: A part is missing.
    """
    if kind is None and mean_s is None and spread_s is None:
        return None
    if mean_s is None:
        raise _bad("--model-latency-mean", "say how long the model takes")
    if kind in ("uniform", "lognormal") and spread_s is None:
        raise _bad("--model-latency-spread", f"a {kind} distribution needs it")
    if kind in (None, "fixed") and spread_s is not None:
        raise _bad("--model-latency-spread", "goes with --model-latency uniform or lognormal")
    return Latency(kind=kind or "fixed", mean_s=mean_s, spread_s=spread_s or 0.0)


def priorities(texts: list[str]) -> dict[ThreadPriority, float]:
    """Priority -> weight, from `NAME` or `NAME=WEIGHT`. Raises `typer.BadParameter`."""
    weights: dict[ThreadPriority, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in list(ThreadPriority):
            hint = did_you_mean(name, list(ThreadPriority)) or f"; there are {', '.join(ThreadPriority)}"
            raise _bad("--priority", f"no priority {name!r}{hint}")
        try:
            weight = float(number or 1)
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise _bad("--priority", f"{text!r}: the weight must be a number above 0")
        weights[ThreadPriority(name)] = weight
    return weights


def _bad(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)
