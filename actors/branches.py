"""The forks, maps and subworkflows that threads of a host have open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from actors.catalog import Catalog
from actors.children import BranchParent, Children
from actors.forks import ForkRun
from actors.network import Network
from actors.ports import Clock, Journal
from actors.values import Values
from graphs.errors import ErrorInfo, StateInvalid
from graphs.journal import Fork, Pause, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What the branches brought."""

    writes: list[dict[str, Any]] = field(default_factory=list)
    """In branch order, to be applied one after the other."""
    error: ErrorInfo | None = None
    """Why they cannot be joined."""
    usage: Usage
    """Tokens of all branches, those included whose writes are not wanted."""
    started_at: float
    """Unix seconds."""


class Branches:
    """Opens, joins and cancels them.

    Args:
        host: Address of the host.
        journal: Where threads are recorded.
        network: The way to other hosts.
        catalog: The workflows.
        values: Large values.
        clock: Time.
    """

    def __init__(
        self, host: str, journal: Journal, network: Network, catalog: Catalog, values: Values, clock: Clock
    ) -> None:
        self._host = host
        self._journal = journal
        self._network = network
        self._catalog = catalog
        self._values = values
        self._clock = clock

    @asynccontextmanager
    async def open(self, parent: BranchParent, fork: Fork) -> AsyncIterator[OpenFork]:
        """Hold `fork` open while the block runs it. Branches that have run before, or run, are joined by it."""
        opened = OpenFork(self._run(parent, fork), self._clock.now())
        try:
            yield opened
        except BaseException:
            await opened.run.close(at_rest=False)
            raise
        await opened.run.close(at_rest=True)

    async def cancel(self, parent: BranchParent, fork: Fork, reason: str, with_thread: str = "") -> Usage:
        """Cancel all branches of `fork`, and record that; those that are over stay as they are.

        Args:
            parent: The thread that has forked.
            fork: The fork.
            reason: Why.
            with_thread: The thread that is cancelled, if they are because of that: `parent`, or one above it.

        Returns:
            Tokens they have used.
        """
        running = self._run(parent, fork)
        await running.cancel_all(reason, with_thread)
        return running.usage

    def _run(self, parent: BranchParent, fork: Fork) -> ForkRun:
        children = Children(parent, fork, self._catalog, self._values, self._clock)
        return ForkRun(fork, parent.plan, children, self._host, self._journal, self._network, self._clock)


class OpenFork:
    """A fork that a thread has open."""

    def __init__(self, run: ForkRun, started_at: float) -> None:
        self.run = run
        self._started_at = started_at

    async def join(self) -> Joined | Pause:
        """Run it to its join, or until it pauses: then it may be run on."""
        outcome = await self.run.run()
        writes: list[dict[str, Any]] = []
        error: ErrorInfo | None = None
        if isinstance(outcome, Pause):
            return outcome
        if isinstance(outcome, ErrorInfo):
            error = outcome
        else:
            try:
                writes = await self.run.children.writes(outcome)
            except StateInvalid as failure:
                error = failure.info()
        return Joined(writes=writes, error=error, usage=self.run.usage, started_at=self._started_at)
