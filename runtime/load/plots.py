"""The plots of a report, as SVG. Imported only when one is asked for: matplotlib is heavy, and comes with an extra."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from runtime.load.results import LoadResult
from runtime.load.tally import FINE, Interval, Outcome

INK, FAINT, MEASURED = "#334155", "#e2e8f0", "#f0f7ff"
BLUE, GREEN, ORANGE, RED, VIOLET, GREY = "#2563eb", "#16a34a", "#ea580c", "#dc2626", "#7c3aed", "#94a3b8"
HEADROOM = 1.3
"""How much higher than its highest value a plot is: there the legend has its place."""
OUTCOMES = {Outcome.FAILED: RED, Outcome.REFUSED: ORANGE, Outcome.TIMED_OUT: VIOLET, Outcome.ABANDONED: GREY}
KINDS = {"driver": GREY, "hosts": BLUE, "executors": GREEN, "supervisor": VIOLET, "store": ORANGE}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def plots(result: LoadResult) -> dict[str, str]:
    """Title -> SVG. Kinds of plots for which there is nothing to draw are left out."""
    drawn = {
        "Throughput": _throughput(result),
        "Latency over time": _latency(result),
        "Distribution of latencies": _distribution(result),
        "Turns under way": _queue(result),
        "Errors": _errors(result),
        "Memory": _memory(result),
    }
    if result.search is not None:
        drawn = {"Search": _search(result), **drawn}
    return {title: svg for title, svg in drawn.items() if svg}


class _Plot:
    """One pair of axes.

    Args:
        name: Makes the ids within it differ from those of other plots of a page.
        x_label: What the x axis is.
        y_label: What the y axis is.
    """

    def __init__(self, name: str, x_label: str, y_label: str) -> None:
        self._rc: Any = {**STYLE, "svg.hashsalt": name}
        with mpl.rc_context(self._rc):
            self.figure = Figure(figsize=(6.6, 2.9), layout="constrained")
            FigureCanvasSVG(self.figure)
            self.axes = self.figure.add_subplot()
        self.axes.set_xlabel(x_label)
        self.axes.set_ylabel(y_label)

    def over_time(self, result: LoadResult) -> _Plot:
        """From the start to the end and from zero up, with what was measured marked."""
        plan = result.plan
        self.axes.axvspan(plan.begin_s, plan.end_s, color=MEASURED, zorder=0)
        self.axes.set_xlim(0, max(plan.end_s, result.timeline[-1].at_s if result.timeline else 0.0))
        self.axes.set_ylim(0, max(self.axes.dataLim.ymax, 1e-3) * HEADROOM)
        self.axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        return self

    def svg(self) -> str:
        """The drawing, without what only a file of its own needs."""
        with mpl.rc_context(self._rc):
            self.axes.legend(loc="upper left", ncols=3, fontsize=8)
            out = io.StringIO()
            self.figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
        text = out.getvalue()
        return text[text.index("<svg") :]


_METADATA = ("Creator", "Date", "Format", "Type")


def _whole(result: LoadResult) -> list[Interval]:
    """All rows but a last one that was cut short, which says little about a second."""
    *rows, last = result.timeline
    return rows if rows and last.seconds < result.plan.interval_s / 2 else result.timeline


def _throughput(result: LoadResult) -> str:
    plot = _Plot("throughput", "seconds", "turns/s")
    rows = _whole(result)
    times = [row.at_s for row in rows]
    plot.axes.plot(times, [row.arrived / row.seconds for row in rows], color=GREY, linestyle="--", label="arrived")
    plot.axes.plot(times, [row.completed_per_s for row in rows], color=BLUE, label="completed")
    return plot.over_time(result).svg()


def _latency(result: LoadResult) -> str:
    rows = [row for row in result.timeline if row.latency.count]
    if not rows:
        return ""
    plot = _Plot("latency", "seconds", "milliseconds")
    times = [row.at_s for row in rows]
    lines = (("p99.9", "p999_s", RED), ("p99", "p99_s", ORANGE), ("p95", "p95_s", VIOLET), ("p50", "p50_s", BLUE))
    for width, (label, field, color) in zip((3.2, 1.6, 1.6, 1.6), lines, strict=True):  # p99.9 may lie under p99
        values = [getattr(row.latency, field) * 1e3 for row in rows]
        plot.axes.plot(times, values, color=color, label=label, linewidth=width, alpha=1 if width < 2 else 0.45)
    plot.over_time(result)
    lowest, highest = min(row.latency.p50_s for row in rows), max(row.latency.p999_s for row in rows)
    if result.goal.p99_s is not None and result.goal.p99_s < HEADROOM * highest:
        plot.axes.axhline(result.goal.p99_s * 1e3, color=INK, linewidth=1, linestyle=":", label="goal for p99")
    if highest > 20 * lowest:
        _log(plot.axes.yaxis, plot.axes.set_yscale)
        plot.axes.set_ylim(lowest * 700, highest * 4000)
    return plot.svg()


def _distribution(result: LoadResult) -> str:
    if not result.distribution:
        return ""
    plot = _Plot("distribution", "milliseconds", "turns")
    lows = [max(band.low_s, 1e-6) * 1e3 for band in result.distribution]
    widths = [band.high_s * 1e3 - low for band, low in zip(result.distribution, lows, strict=True)]
    plot.axes.bar(
        lows, [band.count for band in result.distribution], width=widths, align="edge", color=BLUE, alpha=0.75
    )
    _log(plot.axes.xaxis, plot.axes.set_xscale)
    latency = result.latency
    for label, value, color in (
        ("p50", latency.p50_s, INK),
        ("p99", latency.p99_s, ORANGE),
        ("p99.9", latency.p999_s, RED),
    ):
        plot.axes.axvline(value * 1e3, color=color, linewidth=1.2, linestyle="--", label=f"{label} {value * 1e3:,.1f}")
    plot.axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    plot.axes.margins(y=HEADROOM - 1)
    return plot.svg()


def _queue(result: LoadResult) -> str:
    plot = _Plot("queue", "seconds", "turns")
    rows = result.timeline
    plot.axes.plot([row.at_s for row in rows], [row.in_flight for row in rows], color=BLUE, label="in flight")
    seen = [(row.at_s, row.seen) for row in rows if row.seen is not None]
    times = [at_s for at_s, _ in seen]
    plot.axes.plot(times, [each.running for _, each in seen], color=GREEN, label="threads that run on hosts")
    plot.axes.plot(times, [each.waiting for _, each in seen], color=ORANGE, label="turns that wait on hosts")
    return plot.over_time(result).svg()


def _errors(result: LoadResult) -> str:
    rows = _whole(result)
    series = {
        outcome: [row.ended.get(outcome, 0) / row.seconds for row in rows] for outcome in Outcome if outcome not in FINE
    }
    series = {outcome: values for outcome, values in series.items() if any(values)}
    if not series:
        return ""
    plot = _Plot("errors", "seconds", "turns/s")
    names = [outcome.replace("_", " ") for outcome in series]
    plot.axes.stackplot(
        [row.at_s for row in rows], *series.values(), labels=names, colors=[OUTCOMES[outcome] for outcome in series]
    )
    return plot.over_time(result).svg()


def _memory(result: LoadResult) -> str:
    rows = [(row.at_s, row.seen) for row in result.timeline if row.seen is not None and row.seen.memory_bytes]
    if not rows:
        return ""
    plot = _Plot("memory", "seconds", "MB")
    for kind, color in KINDS.items():
        if any(kind in seen.memory_bytes for _, seen in rows):
            sizes_mb = [seen.memory_bytes.get(kind, 0) / 1e6 for _, seen in rows]
            plot.axes.plot([at_s for at_s, _ in rows], sizes_mb, color=color, label=kind)
    return plot.over_time(result).svg()


def _search(result: LoadResult) -> str:
    assert result.search is not None, "there was a search"
    plot = _Plot("search", "turns/s", "p99, milliseconds")
    for held, color, label in ((True, GREEN, "held"), (False, RED, "not held")):
        probes = [probe for probe in result.search.probes if probe.held is held]
        points = [probe.rate_per_s for probe in probes], [max(probe.p99_s, 1e-6) * 1e3 for probe in probes]
        if probes:
            plot.axes.scatter(*points, color=color, label=label, zorder=3)
    if result.goal.p99_s is not None:
        plot.axes.axhline(result.goal.p99_s * 1e3, color=INK, linewidth=1, linestyle=":", label="goal for p99")
    if result.search.finding.rate_per_s is not None:
        plot.axes.axvline(result.search.finding.rate_per_s, color=GREEN, linewidth=1, linestyle="--")
    rates = [probe.rate_per_s for probe in result.search.probes]
    if max(rates) > 8 * min(rates):
        _log(plot.axes.xaxis, plot.axes.set_xscale)
    _log(plot.axes.yaxis, plot.axes.set_yscale)
    plot.axes.margins(x=0.15, y=0.3)
    return plot.svg()


def _log(axis: Any, set_scale: Any) -> None:
    """A logarithmic axis whose numbers are written out."""
    set_scale("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if _leads(value) else ""))
    axis.set_tick_params(which="minor", labelsize=7)


def _leads(value: float) -> bool:
    """Whether a number on a logarithmic axis begins with 2 or 5: so few are labelled that they do not collide."""
    return f"{value:e}"[0] in "25"
