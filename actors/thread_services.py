"""What a thread needs of its host, and what the host remembers of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.branches import Branches
from actors.catalog import Catalog
from actors.course import Course
from actors.network import Network
from actors.pools import ExecutorPools
from actors.ports import Clock, Journal
from actors.remembered import Remembered
from actors.values import Values
from graphs.journal import Cursor, Usage

AT_REST_BYTES = 1_024
"""About what a thread at rest takes besides its state."""


@dataclass(frozen=True, slots=True)
class ThreadAtRest:
    """A thread between two turns, as its host remembers it."""

    workflow: str
    epoch: int
    seq: int
    cursor: Cursor
    state: dict[str, Any]
    usage: Usage
    course: Course


@dataclass(frozen=True, slots=True)
class ThreadServices:
    """What a thread needs of its host."""

    host: str
    """Address of the host."""
    journal: Journal
    values: Values
    catalog: Catalog
    executors: ExecutorPools
    branches: Branches
    network: Network
    clock: Clock
    remembered: Remembered[ThreadAtRest]
    """Root threads whose turn is over, by id."""
