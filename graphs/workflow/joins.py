"""When branches start, when they are joined and what becomes of the rest: the state machine of one fork or map."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphs.errors import BranchFailed, ErrorInfo
from graphs.policies import JoinPolicy, OnBranchError


@dataclass(frozen=True, slots=True)
class StartBranch:
    """Start branch `index`, or let it go on."""

    index: int


@dataclass(frozen=True, slots=True)
class CancelBranch:
    """Cancel branch `index`: it is not over and its result is not wanted."""

    index: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Join: merge the results of these branches, in this order. The last command of a join."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FailFork:
    """The fork cannot be joined any more. The last command of a join."""

    error: ErrorInfo


JoinCommand = StartBranch | CancelBranch | Merge | FailFork


@dataclass(slots=True)
class Join:
    """One open fork or map. `open` first, then one call for each thing that happens; all answer with commands.

    After `Merge` or `FailFork` it is closed: whatever still happens is ignored, so a join fires exactly once.
    """

    node: str
    size: int
    """Number of branches."""
    policy: JoinPolicy = field(default_factory=JoinPolicy)
    max_running: int = 1_000_000
    closed: bool = False
    running: set[int] = field(default_factory=set)
    paused: set[int] = field(default_factory=set)
    succeeded: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    _next: int = 0
    _resumed: list[int] = field(default_factory=list)
    """Branches that may go on; they do before others begin."""

    @property
    def waits(self) -> bool:
        """Whether nothing runs, and nothing can until a paused branch may go on."""
        return not self.closed and not self.running and bool(self.paused)

    @property
    def needed(self) -> int:
        """Successes that close the join."""
        if self.policy.join == "all":
            return self.size
        return min(self.size, 1 if self.policy.join == "any" else self.policy.join)

    def open(self) -> list[JoinCommand]:
        """Start the first branches; a join of nothing is merged at once."""
        return [Merge(())] if self._close_if(self.size == 0) else self._start()

    def finished(self, index: int) -> list[JoinCommand]:
        """Branch `index` has succeeded."""
        if self.closed or index not in self.running:
            return []
        self.running.remove(index)
        self.succeeded.add(index)
        return self._progress()

    def paused_at(self, index: int) -> list[JoinCommand]:
        """Branch `index` is paused: meanwhile another one may run in its stead."""
        if self.closed or index not in self.running:
            return []
        self.running.remove(index)
        self.paused.add(index)
        return self._start()

    def resumed(self, index: int) -> list[JoinCommand]:
        """Branch `index`, which was paused, may go on."""
        if self.closed or index not in self.paused:
            return []
        self.paused.remove(index)
        self._resumed.append(index)
        return self._start()

    def failed_with(self, index: int, error: ErrorInfo) -> list[JoinCommand]:
        """Branch `index` has failed for good."""
        if self.closed or index not in self.running:
            return []
        self.running.remove(index)
        self.failed.add(index)
        hopeless = self.size - len(self.failed) < self.needed
        if self.policy.on_branch_error is OnBranchError.FAIL and self._close_if(hopeless):
            return [*self._cancel_running(), FailFork(self._failure(index, error))]
        return self._progress()

    def deadline_passed(self) -> list[JoinCommand]:
        """The deadline of the policy has come: go on with what there is."""
        if not self._close_if(not self.closed):
            return []
        commands = self._cancel_running()
        if self.succeeded:
            return [*commands, Merge(tuple(sorted(self.succeeded)))]
        error = BranchFailed(
            f"no branch of {self.node!r} finished within {self.policy.deadline_s} s; raise deadline_s",
            node=self.node,
            deadline_s=self.policy.deadline_s,
        )
        return [*commands, FailFork(error.info())]

    def _progress(self) -> list[JoinCommand]:
        done = len(self.succeeded) + len(self.failed)
        if self._close_if(len(self.succeeded) >= self.needed or done == self.size):
            return [*self._cancel_running(), Merge(tuple(sorted(self.succeeded)))]
        return self._start()

    def _start(self) -> list[JoinCommand]:
        commands: list[JoinCommand] = []
        while (self._resumed or self._next < self.size) and len(self.running) < self.max_running:
            index = self._resumed.pop(0) if self._resumed else self._next
            self._next = max(self._next, index + 1)
            self.running.add(index)
            commands.append(StartBranch(index))
        return commands

    def _cancel_running(self) -> list[JoinCommand]:
        unwanted = sorted({*self.running, *self.paused, *self._resumed})
        for begun in (self.running, self.paused, self._resumed):
            begun.clear()
        return [CancelBranch(index) for index in unwanted]

    def _close_if(self, condition: bool) -> bool:
        self.closed = self.closed or condition
        return condition

    def _failure(self, index: int, error: ErrorInfo) -> ErrorInfo:
        return BranchFailed(
            f"branch {index} of {self.node!r} failed: {error.message}",
            node=self.node,
            index=index,
            cause={"code": error.code, "message": error.message, "fields": error.fields},
        ).info()
