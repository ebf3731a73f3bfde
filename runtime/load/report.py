"""The report of a load test: one HTML file that needs nothing else."""

from __future__ import annotations

import importlib.util
from importlib import resources
from typing import Any

from actors.llm.settings import Latency
from graphs.errors import GreenroomError
from runtime.load.results import LoadResult, milliseconds
from runtime.load.view import percentiles, title

EXTRA = "report"
_NEEDS = ("jinja2", "matplotlib")
_TEMPLATE = "report.html.j2"


class ReportUnavailable(GreenroomError):
    """What draws reports is not installed. Fields: `missing`."""


def check_available() -> None:
    """Raise `ReportUnavailable` if a report could not be drawn. Imports nothing."""
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ReportUnavailable(
            f"an HTML report needs {' and '.join(missing)}; install them with: pip install 'greenroom[{EXTRA}]'",
            missing=missing,
        )


def html(result: LoadResult) -> str:
    """The report as HTML: no scripts, and nothing that is fetched from elsewhere.

    Raises:
        ReportUnavailable: What draws it is not installed.
    """
    check_available()
    import jinja2
    from markupsafe import Markup

    from runtime.load.plots import plots

    template = resources.files("runtime.load").joinpath(_TEMPLATE).read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        result=result,
        title=_title(result),
        # Made by matplotlib, which escapes the texts in them.
        plots={name: Markup(svg) for name, svg in plots(result).items()},  # noqa: S704
        cards=_cards(result),
        parameters=_parameters(result),
        environment=_environment(result.environment),
        milliseconds=milliseconds,
    )


def _title(result: LoadResult) -> str:
    if result.search is None or result.goal.p99_s is None:
        return title(result.plan)
    return f"{result.plan.workflow}: the highest rate with p99 within {milliseconds(result.goal.p99_s)}"


def _cards(result: LoadResult) -> list[tuple[str, str, str]]:
    """The most important numbers: what, how much, and a remark."""
    latency = result.latency
    rate = result.plan.rate_per_s
    return [
        ("throughput", f"{result.completed_per_s:,.1f}/s", "" if rate is None else f"of {rate:g}/s that arrive"),
        ("p50", milliseconds(latency.p50_s), ""),
        ("p95", milliseconds(latency.p95_s), ""),
        ("p99", milliseconds(latency.p99_s), ""),
        ("p99.9", milliseconds(latency.p999_s), f"longest {milliseconds(latency.max_s)}"),
        ("errors", f"{result.error_rate:.2%}", f"of {result.arrived:,} turns"),
    ]


def _parameters(result: LoadResult) -> list[tuple[str, str]]:
    plan = result.plan
    loop = (
        f"open, {plan.rate_per_s:g} turns/s, {plan.arrivals} arrivals"
        if plan.rate_per_s is not None
        else f"closed, {plan.concurrency} turns at a time"
    )
    latency = plan.model_latency
    weights = ", ".join(f"{name} {weight:g}" for name, weight in plan.priorities.items())
    return [
        ("workflow", plan.workflow),
        ("loop", loop),
        ("ramp, warm-up, measured", f"{plan.ramp_s:g} s, {plan.warm_up_s:g} s, {plan.duration_s:g} s"),
        ("turns of a session", str(plan.turns)),
        ("users", str(plan.users)),
        ("priorities", weights),
        ("model latency", "as configured" if latency is None else _latency(latency)),
        ("timeout", f"{plan.timeout_s:g} s"),
        ("goal", _goal(result)),
        ("lag of the load test", percentiles(result.lag)),
        ("seed", str(plan.seed)),
    ]


def _latency(latency: Latency) -> str:
    spread = "" if latency.kind == "fixed" else f", spread {milliseconds(latency.spread_s)}"
    return f"{latency.kind}, mean {milliseconds(latency.mean_s)}{spread}"


def _goal(result: LoadResult) -> str:
    goal = result.goal
    p99 = "" if goal.p99_s is None else f"p99 within {milliseconds(goal.p99_s)}, "
    return f"{p99}at most {goal.max_error_rate:.2%} errors"


def _environment(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in facts.items():
        match value:
            case dict():
                text = ", ".join(f"{key} {each}" for key, each in value.items())
            case list():
                text = ", ".join(map(str, value))
            case _:
                text = str(value)
        rows.append((name.replace("_", " "), text))
    return rows
