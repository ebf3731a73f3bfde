"""`greenroom bench load`: a load test of a workflow, on this machine or on a cluster."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import typer

from actors.llm.settings import Latency
from graphs.errors import StateInvalid
from graphs.threads import session_of
from runtime.cli import load_options as options
from runtime.cli.inputs import input_lines
from runtime.cli.opening import in_process, on_ray
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.cli.run import LocalFlag
from runtime.cli.sources import Source, read_source, unknown_workflow
from runtime.client import AsyncClient
from runtime.load import report, view
from runtime.load.driver import LoadDriver
from runtime.load.plan import Arrivals, LoadPlan
from runtime.load.results import MAX_ERROR_RATE, Goal, LoadResult, ProbeRow
from runtime.load.runs import find_max, run_load
from runtime.load.tally import Interval
from runtime.load.target import RuntimeTarget

app = typer.Typer(no_args_is_help=True, help="Measure workflows.")

LINE_EVERY_S = 5.0
"""How often progress is told where there is no terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is to be measured."""

    source: Source | None
    """None: it is deployed."""
    plan: LoadPlan
    goal: Goal
    is_search: bool
    inputs: Sequence[Mapping[str, Any]]
    where: str
    keep_sessions: bool


@app.command()
def load(
    workflow: options.WorkflowOption = "load",
    rate: options.RateOption = None,
    concurrency: options.ConcurrencyOption = None,
    arrivals: options.ArrivalsOption = Arrivals.POISSON,
    duration: options.DurationOption = None,
    ramp: options.RampOption = 0.0,
    warm_up: options.WarmUpOption = 2.0,
    input_json: options.InputOption = None,
    input_file: options.InputFileOption = None,
    turns: options.TurnsOption = 1,
    users: options.UsersOption = 1,
    priority: options.PriorityOption = None,
    timeout_s: options.TimeoutOption = 30.0,
    drain: options.DrainOption = None,
    max_in_flight: options.InFlightOption = 10_000,
    model_latency: options.LatencyKindOption = None,
    model_latency_mean: options.LatencyMeanOption = None,
    model_latency_spread: options.LatencySpreadOption = None,
    search: options.FindMaxFlag = False,
    goal_p99: options.GoalOption = None,
    fail_over_p99: options.FailOverOption = None,
    max_error_rate: options.MaxErrorsOption = MAX_ERROR_RATE,
    local: LocalFlag = False,
    out: options.OutOption = None,
    html: options.HtmlOption = None,
    keep_sessions: options.KeepFlag = False,
    seed: options.SeedOption = 0,
    as_json: JsonFlag = False,
) -> None:
    """Put WORKFLOW under load and say what it takes.

    Latencies count from when a turn was to arrive. The exit code is 1 if a goal was not reached: too high a p99
    (--fail-over-p99), too many errors (--max-error-rate), or no rate found.
    """
    options.check_goals(rate, concurrency, goal_p99, fail_over_p99, search=search)
    options.check_writable(out, "--out")
    options.check_writable(html, "--html")
    if html is not None:
        report.check_available()
    source = read_source(workflow)
    if local and source is None:
        raise unknown_workflow(workflow, [])
    latency = options.model_latency(model_latency, model_latency_mean, model_latency_spread)
    if latency is not None and source is None:
        raise typer.BadParameter(
            "a deployed workflow has the models it was deployed with; name a file or graph",
            param_hint="--model-latency",
        )
    open_loop = search or rate is not None
    order = _Order(
        source=source,
        plan=LoadPlan(
            workflow=workflow,
            rate_per_s=rate,
            concurrency=None if open_loop else concurrency or options.DEFAULT_CONCURRENCY,
            arrivals=arrivals,
            ramp_s=ramp,
            warm_up_s=warm_up,
            duration_s=duration or options.default_duration_s(goal_p99),
            turns=turns,
            users=users,
            priorities=options.priorities(priority or ["normal"]),
            timeout_s=timeout_s,
            drain_s=drain,
            max_in_flight=max_in_flight,
            model_latency=latency,
            seed=seed,
        ),
        goal=Goal(p99_s=goal_p99 if search else fail_over_p99, max_error_rate=max_error_rate),
        is_search=search,
        inputs=input_lines(input_json, input_file),
        where="one process" if local else "Ray",
        keep_sessions=keep_sessions,
    )
    models = {} if latency is None else {"models": {"scripted": {"provider": "scripted", "latency": _fields(latency)}}}
    opening = in_process(source, **models) if local and source else on_ray(workflow, source, **models)
    output = Output(as_json=as_json)
    result = asyncio.run(_measure(order, opening, output))
    _write(result, out, html, output)
    if not result.verdict.held:
        raise typer.Exit(ExitCode.FAILED)


async def _measure(order: _Order, opening: AbstractAsyncContextManager[AsyncClient], out: Output) -> LoadResult:
    """Start everything, measure, and delete what the test has left in the store."""
    async with AsyncExitStack() as stack:
        with out.progress("starting"):
            runtime = await stack.enter_async_context(opening)
            ref = await _ready(runtime, order)
        home = runtime.config.home if order.where == "Ray" and runtime.config.redis.url is None else None
        target = RuntimeTarget(runtime, ref, secrets.token_hex(4), home)
        measure = find_max if order.is_search else run_load
        result = await measure(order.plan, order.goal, target, order.inputs, order.where, _Screen(out))
        if not order.keep_sessions and order.where == "Ray":
            with out.progress("deleting the sessions of the test"):
                keep = {session_of(error.thread_id) for error in result.errors if error.thread_id}
                await target.delete_sessions(order.plan.users, keep)
        return result


async def _ready(runtime: AsyncClient, order: _Order) -> str:
    """Deploy the workflow, and see that it takes the inputs; its ref is returned."""
    if order.source is not None:
        (ref,) = await runtime.deploy(order.source)
    else:
        found = await runtime.records.store.workflows.get(order.plan.workflow)
        assert found is not None, "it has been looked up before"
        ref = found[0]
    schema = await runtime.records.schema(ref)
    for number, content in enumerate(order.inputs, 1):
        try:
            schema.check_input(content)
        except StateInvalid as error:
            raise StateInvalid(f"input {number}: {error.message}", problems=error.problems) from None
    return ref


class _Screen:
    """Shows tests on a terminal, or says now and then how they are going."""

    def __init__(self, out: Output) -> None:
        self._out = out

    @contextmanager
    def showing(self, driver: LoadDriver) -> Iterator[None]:
        """See `runtime.load.runs.Screen`."""
        drawing = view.LoadView(driver, view.title(driver.plan))
        with self._out.live(drawing.draw) as live:
            driver.on_interval = self._told(driver.plan) if live is None else drawing.on_interval
            yield

    def probed(self, row: ProbeRow) -> None:
        """See `runtime.load.runs.Screen`."""
        self._out.note(view.probe_line(row))

    def _told(self, plan: LoadPlan) -> Callable[[Interval], None]:
        self._out.note(view.title(plan))
        next_s = LINE_EVERY_S

        def tell(interval: Interval) -> None:
            nonlocal next_s
            if interval.at_s >= next_s:
                next_s = interval.at_s + LINE_EVERY_S
                self._out.note(view.line(interval))

        return tell


def _write(result: LoadResult, out: Path | None, html: Path | None, output: Output) -> None:
    """Print what came of it, and write it where it is wanted."""
    if output.as_json:
        output.data(result)
    for renderable in view.report(result):
        output.show(renderable)
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        output.line(f"written to {out}")
    if html is not None:
        html.write_text(report.html(result), "utf-8")
        output.line(f"drawn in {html}")


def _fields(latency: Latency) -> dict[str, Any]:
    return {"kind": latency.kind, "mean_s": latency.mean_s, "spread_s": latency.spread_s}
