"""Pictures of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness import Result

_SIZE_INCHES = (8.0, 4.5)
_OURS_WIDTH, _PEER_WIDTH = 2.5, 1.2

# The same file from the same numbers: no date, no version of the library.
_METADATA: dict[str, Any] = {"Software": None}


def _median(value: Any) -> float:
    return value["median"] if isinstance(value, Mapping) else value


def _lines(
    axes: Axes, rows: Iterable[Mapping[str, Any]], name: str, x: str, y: Callable[[Mapping[str, Any]], float]
) -> None:
    """One line for each value of `name`, ours wider than the others."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row[name], []).append((row[x], y(row)))
    for label, points in lines.items():
        ours = label.startswith("Greenroom")
        axes.plot(
            *zip(*sorted(points), strict=True),
            label=label,
            marker="o",
            markersize=4,
            linewidth=_OURS_WIDTH if ours else _PEER_WIDTH,
            linestyle="-" if ours else "--",
        )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def race(axes: Axes, result: Result, unit: str) -> None:
    """Rates over how many are in flight."""
    _lines(axes, result.rows, "contender", "in_flight", lambda row: _median(row["per_s"]))
    axes.set(xscale="log", yscale="log", xlabel="at a time", ylabel=f"{unit}/s")


def storage(axes: Axes, result: Result) -> None:
    """Bytes over turns."""
    _lines(axes, result.rows, "contender", "turns", lambda row: row["stored_bytes"] / 1e6)
    axes.set(yscale="log", xlabel="turns", ylabel="MB stored")


def scaling(axes: Axes, result: Result) -> None:
    """Cost of one over how many there are."""
    _lines(axes, result.rows, "curve", "size", lambda row: row["over_first"])
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel="how many", ylabel="cost of one, over that at the smallest")
    axes.set_ylim(bottom=0)


def soak(axes: Axes, result: Result) -> None:
    """Memory of all actor processes, and keys of the store, over time."""
    minutes = [row["at_s"] / 60 for row in result.rows]
    axes.plot(minutes, [sum(row["rss_bytes"].values()) / 1e6 for row in result.rows], label="actor processes, MB")
    axes.plot(minutes, [row["driver_rss_bytes"] / 1e6 for row in result.rows], label="driver, MB")
    axes.plot(minutes, [sum(row["open_files"].values()) for row in result.rows], label="open files")
    axes.plot(minutes, [row["keys"] / 100 for row in result.rows], label="keys of the store, hundreds")
    axes.set(xlabel="minutes")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


PLOTS: dict[str, tuple[str, Callable[[Axes, Result], None]]] = {
    "messages": ("Messages between two processes", lambda axes, result: race(axes, result, "messages")),
    "chain": ("Durable steps of a chain of 10 nodes", lambda axes, result: race(axes, result, "steps")),
    "agent": ("Turns of an agent", lambda axes, result: race(axes, result, "turns")),
    "storage": ("A conversation with 1 KB each way", storage),
    "scaling": ("What one more costs", scaling),
    "soak": ("Half of the highest rate", soak),
}
"""Benchmark -> title, and what draws it."""


def draw(results: Mapping[str, Result], directory: Path) -> list[str]:
    """Write `<benchmark>.png` for everything that has a picture; their names."""
    mpl.use("Agg")
    directory.mkdir(exist_ok=True, parents=True)
    drawn = []
    for name, (title, plot) in PLOTS.items():
        if name in results:
            figure = Figure(figsize=_SIZE_INCHES, layout="tight")
            axes = figure.subplots()
            plot(axes, results[name])
            axes.set_title(title)
            figure.savefig(directory / f"{name}.png", dpi=110, metadata=_METADATA)
            drawn.append(name)
    return drawn
