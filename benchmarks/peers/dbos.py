"""DBOS: functions as durable workflows, in SQLite or PostgreSQL."""

from __future__ import annotations

from typing import Any

from dbos import DBOS


@DBOS.step()
async def no_op() -> None:
    """Nothing."""


@DBOS.workflow()
async def chain(nodes: int) -> None:
    """Steps that do nothing, one after the other."""
    for _ in range(nodes):
        await no_op()


class Chain:
    """Runs of a workflow of no-op steps.

    Args:
        url: Of its system database.
        nodes: How many steps.
    """

    def __init__(self, *, url: str, nodes: int) -> None:
        self._nodes = nodes
        config: Any = {"name": "benchmark", "system_database_url": url, "log_level": "ERROR"}
        DBOS(config=config)

    async def start(self) -> None:
        """Create its tables, and begin."""
        DBOS.launch()

    async def operation(self) -> None:
        """One run."""
        await chain(self._nodes)

    async def close(self) -> None:
        """Stop its threads."""
        DBOS.destroy()
