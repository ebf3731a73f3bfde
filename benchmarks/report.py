"""Writes `docs/performance.md` and its pictures from the newest result of each benchmark.

Results are published with it: `benchmarks/published/` has what the document was made from.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.harness import RESULTS, Result, progress
from benchmarks.targets import better, verdicts

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "benchmarks" / "published"
DOCUMENT = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "performance"
ORDER = (
    "messages",
    "chain",
    "fork",
    "cpu_fork",
    "agent",
    "activation",
    "memory",
    "storage",
    "wide",
    "table",
    "recovery",
    "cold_start",
    "scaling",
    "soak",
)
"""In which the benchmarks stand in the document."""


def newest(directory: Path) -> dict[str, Result]:
    """The last result of each benchmark, in the order of the document."""
    results: dict[str, Result] = {}
    for path in directory.glob("*.json"):
        result = msgspec.json.decode(path.read_bytes(), type=Result)
        known = results.get(result.benchmark)
        if result.benchmark in ORDER and (known is None or result.at > known.at):
            results[result.benchmark] = result
    return {name: results[name] for name in ORDER if name in results}


def publish(results: Iterable[Result], directory: Path) -> None:
    """Keep what a document is made from, one file for each benchmark."""
    directory.mkdir(exist_ok=True)
    for result in results:
        encoded = msgspec.json.format(msgspec.json.encode(result), indent=1)
        (directory / f"{result.benchmark}.json").write_bytes(encoded + b"\n")


def meaning(benchmark: str) -> str:
    """What a benchmark says of itself, but for the question."""
    source = (ROOT / "benchmarks" / f"{benchmark}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[2]


def rate(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _busy(result: Result) -> bool:
    """Whether others had more than a quarter of the machine when it ended."""
    return result.environment.get("busy", 0.0) > 0.25


def spread(summary: Mapping[str, float], scale: float = 1.0, digits: int = 1) -> str:
    """A summary: median (lowest-highest)."""
    low, median, high = (f"{summary[name] * scale:,.{digits}f}" for name in ("low", "median", "high"))
    return f"{median} ({low}-{high})"


def document(results: Mapping[str, Result], pictures: Iterable[str]) -> str:
    """The text of `docs/performance.md`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # it is Markdown
    )
    environment.filters |= {"rate": rate, "spread": spread}
    context: dict[str, Any] = {
        "results": results,
        "verdicts": verdicts(results),
        "better": better(results.values()),
        "meanings": {name: meaning(name) for name in results},
        "pictures": set(pictures),
        "busy": [name for name, each in results.items() if _busy(each)],
        "missing": sorted(name for name in ORDER if name not in results),
    }
    return environment.get_template("performance.md.j2").render(context)


def run(
    results: Annotated[
        Path, typer.Option(help="Where results are; what is not there is taken as published.")
    ] = RESULTS,
) -> None:
    """Write docs/performance.md, its pictures, and what they were made from."""
    from benchmarks import plots

    newest_of = newest(PUBLISHED) | newest(results)
    found = {name: newest_of[name] for name in ORDER if name in newest_of}
    publish(found.values(), PUBLISHED)
    DOCUMENT.write_text(document(found, plots.draw(found, PICTURES)), "utf-8")
    progress(f"written to {DOCUMENT}")


if __name__ == "__main__":
    typer.run(run)
