"""Threads as documents, and as the tree that forks and maps make of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from actors.ports import Head
from graphs.threads import ThreadState, is_root, path_of
from runtime.documents import plain

STYLES: Mapping[str, str] = {
    ThreadState.RUNNING: "yellow",
    ThreadState.COMPLETED: "green",
    ThreadState.FAILED: "bold red",
    ThreadState.CANCELLED: "red",
}
"""State of a thread -> how it is shown."""


def head_document(head: Head) -> dict[str, Any]:
    """The record of a thread as commands print it."""
    thread, cursor = head.thread, head.cursor
    fork = cursor.fork
    return {
        "thread_id": thread.id,
        "session_id": thread.session_id,
        "parent_thread_id": thread.metadata.parent_thread_id,
        "type": str(thread.thread_type),
        "name": thread.metadata.name,
        "workflow": thread.workflow,
        "status": str(thread.state),
        "node": cursor.node if fork is None else fork.node,
        "turn": cursor.turn,
        "seq": head.seq,
        "host": head.host,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "seconds": round(max(0.0, thread.updated_at - thread.created_at), 3),
        "error": None if cursor.error is None else plain(cursor.error),
    }


def nested(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Thread documents as trees: each with its `children`, in the order in which they were forked.

    A thread whose parent is not among them is the root of a tree.
    """
    nodes = {document["thread_id"]: {**document, "children": []} for document in documents}
    roots: list[dict[str, Any]] = []
    for thread_id in sorted(nodes, key=_order):
        parent = nodes.get(parent_of(thread_id))
        (roots if parent is None else parent["children"]).append(nodes[thread_id])
    return roots


def parent_of(thread_id: str) -> str:
    """Id of the thread that forked `thread_id`, or that it has branched from; empty for a main thread."""
    if not is_root(thread_id):
        return thread_id.rsplit(".", 2)[0]
    return thread_id.rpartition("~")[0] if "~" in path_of(thread_id) else ""


def drawn(roots: Sequence[Mapping[str, Any]], title: str, label: Callable[[Mapping[str, Any]], Text]) -> Tree:
    """Trees of `nested` for the screen."""
    tree = Tree(Text(title), guide_style="dim")

    def add(branch: Tree, nodes: Sequence[Mapping[str, Any]]) -> None:
        for node in nodes:
            add(branch.add(label(node)), node["children"])

    add(tree, roots)
    return tree


def thread_label(document: Mapping[str, Any]) -> Text:
    """A thread in a line: its path, state, place, seq and time."""
    text = Text(path_of(document["thread_id"]), style="bold")
    text.append(f"  {document['status']}", style=STYLES.get(document["status"], ""))
    where = f" at {document['node']}" if document["node"] else ""
    name = f"  {document['name']}" if document["name"] else ""
    rest = f"{where}{name}  {document['workflow']}  seq {document['seq']}  {document['seconds']:.2f} s"
    text.append(f"{rest}  {document['host']}", style="not bold")
    if document["error"] is not None:
        text.append(f"  {' '.join(document['error']['message'].split())}", style="not bold red")
    return text


def clock(at: float) -> str:
    """Unix seconds as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _order(thread_id: str) -> tuple[str, list[tuple[int, bool, str]]]:
    """By seq; the threads of a fork before the what-if branches from there."""
    session, _, path = thread_id.rpartition(":")
    parts = re.findall("([.~-]?)([^.~-]+)", path)
    return session, [(int(part), mark == "~", "") if part.isdecimal() else (0, False, part) for mark, part in parts]
