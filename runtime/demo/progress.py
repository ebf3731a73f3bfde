"""What is known of a running demonstration: events in, and out of it the live view, the report and the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphs.journal import Usage
from graphs.threads import ThreadState, path_of
from runtime.documents import usage_document
from runtime.events import (
    BranchesJoined,
    BranchesStarted,
    Event,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    ThreadFinished,
    Token,
    TurnStarted,
)

TAIL_CHARS = 200
"""How much of what a model says is kept for the live view."""


@dataclass(slots=True, kw_only=True)
class ThreadProgress:
    """One thread."""

    thread_id: str
    title: str
    """Name of the file it works on; of the workflow for the main thread."""
    status: ThreadState = ThreadState.PENDING
    node: str = ""
    """The node that runs, or that has run last."""
    by: str = ""
    """Address of the executor of that node."""
    host: str = ""
    """Address of the host that carries the thread, once it is known."""
    seq: int = 0
    started_at: float = 0.0
    """Unix seconds."""
    ended_at: float = 0.0
    tail: str = ""
    """The last of what the model says."""
    usage: Usage = field(default_factory=Usage)

    @property
    def seconds(self) -> float:
        """From its start to its last recorded event."""
        return max(0.0, self.ended_at - self.started_at)


@dataclass(slots=True, kw_only=True)
class NodeProgress:
    """All runs of one node."""

    runs: int = 0
    failures: int = 0
    attempts: int = 0
    """Runs, with those that were tried again."""
    seconds: float = 0.0
    """Of all runs together."""
    longest_s: float = 0.0
    usage: Usage = field(default_factory=Usage)

    def add(self, seconds: float, attempt: int, usage: Usage) -> None:
        """Count one run."""
        self.runs += 1
        self.attempts += attempt
        self.seconds += seconds
        self.longest_s = max(self.longest_s, seconds)
        self.usage += usage


class Progress:
    """Everything seen so far. Changed by `see` and `place` only.

    Args:
        workflow: Name of the workflow.
        titles: Names of the items its map runs over, in order.
    """

    def __init__(self, workflow: str, titles: Sequence[str]) -> None:
        self._workflow = workflow
        self._titles = titles
        self.threads: dict[str, ThreadProgress] = {}
        """By id; those that have not begun are there as soon as their parent has announced them."""
        self.nodes: dict[str, NodeProgress] = {}
        """By node id, in the order in which they first ran. A map is a node too: from its fork to its join."""
        self.executors: set[str] = set()
        """Addresses of the processes that ran nodes."""
        self._forked_at: dict[tuple[str, str], float] = {}

    @property
    def hosts(self) -> set[str]:
        """Addresses of the processes that carried threads."""
        return {thread.host for thread in self.threads.values() if thread.host}

    @property
    def usage(self) -> Usage:
        """Tokens of all steps that are recorded."""
        return sum((thread.usage for thread in self.threads.values()), Usage())

    @property
    def steps(self) -> int:
        """Steps that are recorded, and joins."""
        return sum(node.runs for node in self.nodes.values())

    def unplaced(self) -> list[str]:
        """Ids of the threads that have begun and whose host is not known."""
        return [thread.thread_id for thread in self.threads.values() if thread.started_at and not thread.host]

    def place(self, thread_id: str, host: str) -> None:
        """Note that `host` carries a thread."""
        self._thread(thread_id).host = host

    def see(self, event: Event) -> None:
        """Take in one event."""
        thread = self._thread(event.thread_id)
        match event:
            case NodeStarted():
                thread.node, thread.by, thread.tail = event.node, event.by, ""
            case Token():
                thread.node = event.node
                thread.tail = (thread.tail + event.text)[-TAIL_CHARS:]
            case _:
                thread.seq = event.seq
                self._recorded(thread, event)

    def document(self) -> dict[str, Any]:
        """Threads, nodes and tokens as plain data."""
        return {
            "threads": [_thread_document(thread) for thread in self.threads.values()],
            "nodes": [_node_document(name, node) for name, node in self.nodes.items()],
            "usage": usage_document(self.usage),
        }

    def _recorded(self, thread: ThreadProgress, event: Event) -> None:
        match event:
            case TurnStarted():
                thread.status, thread.started_at, thread.ended_at = ThreadState.RUNNING, event.at, event.at
            case NodeFinished():
                self._finished(thread, event)
            case NodeFailed():
                thread.node, thread.by, thread.ended_at = event.node, event.by, event.at
                self._node(event.node).failures += 1
            case BranchesStarted():
                thread.node, thread.by = event.node, ""
                self._forked_at[event.thread_id, event.node] = event.at
                for child in event.threads:
                    self._thread(child)
            case BranchesJoined():
                thread.ended_at = event.at
                began_at = self._forked_at.pop((event.thread_id, event.node), event.at)
                self._node(event.node).add(event.at - began_at, 1, Usage())  # the branches have counted their tokens
            case ThreadFinished():
                thread.status, thread.ended_at, thread.tail = event.status, event.at, ""

    def _finished(self, thread: ThreadProgress, event: NodeFinished) -> None:
        thread.node, thread.by, thread.tail, thread.ended_at = event.node, event.by, "", event.at
        thread.usage += event.usage
        self.executors.add(event.by)
        self._node(event.node).add(max(0.0, event.at - event.started_at), event.attempt, event.usage)

    def _thread(self, thread_id: str) -> ThreadProgress:
        if thread_id not in self.threads:
            path = path_of(thread_id).split(".")
            title = self._workflow
            if len(path) > 1:
                index = int(path[-1])
                title = self._titles[index] if index < len(self._titles) else path_of(thread_id)
            self.threads[thread_id] = ThreadProgress(thread_id=thread_id, title=title)
        return self.threads[thread_id]

    def _node(self, name: str) -> NodeProgress:
        return self.nodes.setdefault(name, NodeProgress())


def took_part(processes: Iterable[Mapping[str, Any]], progress: Progress) -> dict[str, Any]:
    """Which Ray actors there were and which of them did something.

    Args:
        processes: `address`, `kind`, `pid` and `node_id` of each actor process but the supervisor.
        progress: What has happened.
    """
    active = progress.hosts | progress.executors
    listed = [
        {key: process[key] for key in ("address", "kind", "pid", "node_id")}
        | {"took_part": process["address"] in active}
        for process in processes
    ]
    return {
        "ray_actors": len(listed) + 1,  # the supervisor
        "machines": len({process["node_id"] for process in listed}),
        "hosts": sorted(progress.hosts),
        "executors": sorted(progress.executors),
        "processes": listed,
    }


def _thread_document(thread: ThreadProgress) -> dict[str, Any]:
    return {
        "thread_id": thread.thread_id,
        "title": thread.title,
        "status": str(thread.status),
        "node": thread.node,
        "seq": thread.seq,
        "seconds": round(thread.seconds, 3),
        "host": thread.host,
        "usage": usage_document(thread.usage),
    }


def _node_document(name: str, node: NodeProgress) -> dict[str, Any]:
    return {
        "node": name,
        "runs": node.runs,
        "failures": node.failures,
        "attempts": node.attempts,
        "seconds": round(node.seconds, 3),
        "mean_s": round(node.seconds / node.runs, 3) if node.runs else 0.0,
        "longest_s": round(node.longest_s, 3),
        "usage": usage_document(node.usage),
    }
