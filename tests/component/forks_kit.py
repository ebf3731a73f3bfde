"""What the tests of forks share: a state with a channel for every reducer, and graphs that fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel

from runtime import (
    END,
    START,
    Graph,
    Message,
    add,
    add_messages,
    append,
    merge,
)
from tests.component.actors_kit import (
    Gate,
)


def longest(old: str, new: str) -> str:
    return max(old, new, key=len)


class Board(BaseModel):
    flag: bool = False
    rounds: int = 0
    notes: Annotated[list[str], append] = []
    points: Annotated[int, add] = 0
    marks: Annotated[dict[str, int], merge] = {}
    said: Annotated[list[Message], add_messages] = []
    word: Annotated[str, longest] = ""


Node = Callable[[Any], Any]


def noting(name: str, gate: Gate | None = None) -> Node:
    async def node(state: Board) -> dict:
        if gate is not None:
            await gate()
        return {"notes": name}

    return node


def failing(message: str = "broken") -> Node:
    async def node(state: Board) -> dict:
        raise ValueError(message)

    return node


def fork(name: str, branches: dict[str, Node], **policy: Any) -> Graph:
    """START -> split -> branches -> join -> END."""
    g = Graph(name, state=Board)
    g.fork("split", **policy)
    g.edge(START, "split")
    g.node(noting("join"), name="join")
    g.edge("join", END)
    for branch, node in branches.items():
        g.node(node, name=branch)
        g.edge("split", branch)
        g.edge(branch, "join")
    return g
