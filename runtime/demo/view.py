"""A demonstration on the screen: what runs where while it runs, and what came of it at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from graphs.threads import ThreadState, path_of
from runtime.demo.progress import Progress, ThreadProgress

SAID_CHARS = 60
"""How much of what a model says is shown in a row."""
STYLES = {
    "pending": "dim",
    "running": "yellow",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "red",
}


class LiveView:
    """What runs where, to be drawn again and again.

    Args:
        progress: What is known; it may change between two drawings.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._spinner = Spinner("dots")

    def draw(self) -> RenderableType:
        """How things are now."""
        table = _table("thread", "text", "state", "node", "executor", "host", "says")
        for thread in self._progress.threads.values():
            table.add_row(*_row(thread))
        usage = self._progress.usage
        done = sum(thread.status.finished for thread in self._progress.threads.values())
        self._spinner.update(
            text=Text(
                f"{done} of {len(self._progress.threads)} threads done, {self._progress.steps} steps, "
                f"{usage.total_tokens} tokens"
            )
        )
        return Group(table, self._spinner)


def report(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What came of it: the digest, the threads, the time of each node, and who took part."""
    if document["digest"]:
        yield Text(f"Digest of {_count(len(document['files']), 'text')}", style="bold")
        yield Padding(Text(document["digest"]), (0, 0, 1, 2), expand=False)
    yield Text("Threads", style="bold")
    yield Padding(_tree(document["threads"]), (0, 0, 1, 2), expand=False)
    yield Text("Time", style="bold")
    yield Padding(_times(document["nodes"]), (0, 0, 1, 2), expand=False)
    yield Text("\n".join(_sums(document)))


def _row(thread: ThreadProgress) -> Sequence[Text]:
    said = " ".join(thread.tail.split())
    cells = (thread.node, thread.by, thread.host, said[-SAID_CHARS:])
    style = "dim" if thread.status is not ThreadState.RUNNING else ""
    return (
        Text(path_of(thread.thread_id)),
        Text(thread.title, style=style),
        Text(thread.status, style=STYLES.get(thread.status, "")),
        *(Text(cell, style=style) for cell in cells),
    )


def _tree(threads: Sequence[Mapping[str, Any]]) -> Tree:
    tree: Tree | None = None
    branches: dict[str, Tree] = {}
    for thread in threads:
        path = path_of(thread["thread_id"])
        label = Text(f"{path}  ").append(thread["status"], style=STYLES.get(thread["status"], ""))
        tokens = f", {thread['usage']['total_tokens']} tokens" if thread["usage"]["calls"] else ""
        label.append(
            f"  {thread['title']}: seq {thread['seq']} in {thread['seconds']:.2f} s on {thread['host']}{tokens}"
        )
        parent = branches.get(path.rsplit(".", 2)[0]) if "." in path else tree
        branches[path] = Tree(label, guide_style="dim") if parent is None else parent.add(label)
        tree = tree or branches[path]
    return tree or Tree(Text("none"))


def _times(nodes: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("node", "runs", "mean s", "longest s", "all s", "tokens")
    for column in table.columns[1:]:
        column.justify = "right"
    for node in nodes:
        numbers = (node["mean_s"], node["longest_s"], node["seconds"])
        tokens = str(node["usage"]["total_tokens"]) if node["usage"]["calls"] else "-"
        table.add_row(node["node"], str(node["runs"]), *(f"{number:.3f}" for number in numbers), tokens)
    return table


def _sums(document: Mapping[str, Any]) -> Iterator[str]:
    usage, ray, seconds = document["usage"], document["ray"], document["seconds"]
    yield (
        f"{_count(usage['total_tokens'], 'token')} in {_count(usage['calls'], 'call')} of the model "
        f"({usage['prompt_tokens']} read, {usage['completion_tokens']} written)"
    )
    yield (
        f"{_count(len(document['threads']), 'thread')} on {_count(len(ray['hosts']), 'host')} and "
        f"{_count(len(ray['executors']), 'executor')}; there are {_count(ray['ray_actors'], 'Ray actor')}, each a "
        f"process, on {_count(ray['machines'], 'machine')}"
    )
    yield (
        f"{seconds['total']:.1f} s: {seconds['start']:.1f} s to start, {seconds['deploy']:.1f} s for the model server, "
        f"{seconds['run']:.1f} s to run"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")
