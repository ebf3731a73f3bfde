"""The thread actor: one thread, loaded in a host. It carries out what the planner says and journals what happened."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from actors.branches import Branches, BranchParent
from actors.catalog import Catalog
from actors.errors import DestinationDied, SeqConflict
from actors.pools import ExecutorPools
from actors.ports import Clock, Head, Journal
from actors.protocol import BranchDone, RunSegment, SegmentDone, TurnDone
from actors.replay import Replayed, apply, base_state, outcome, replay
from graphs.errors import Cancelled, ErrorInfo
from graphs.journal import Cursor, EntryKind, Fork, JournalEntry, Snapshot, Usage, snapshot_due
from graphs.threads import Thread, ThreadState
from graphs.workflow import planner
from graphs.workflow.node import NodeType
from graphs.workflow.plan import Plan


@dataclass(frozen=True, slots=True)
class ThreadServices:
    """What a thread needs of its host."""

    host: str
    """Address of the host."""
    journal: Journal
    catalog: Catalog
    executors: ExecutorPools
    branches: Branches
    clock: Clock


class ThreadActor:
    """One activation of a thread. Only one task may use it at a time."""

    def __init__(self, thread: Thread, plan: Plan, epoch: int, services: ThreadServices) -> None:
        self.thread = thread
        self.plan = plan
        self.epoch = epoch
        self.seq = 0
        self.cursor = Cursor()
        self.state: dict[str, Any] = {}
        self.usage = Usage()
        """Tokens of this turn."""
        self.written: list[Mapping[str, Any]] = []
        """What this turn has written, its input not included."""
        self._services = services
        self._op_ids = itertools.count()
        self._carrying: asyncio.Task[None] | None = None
        self._cancel_reason: str | None = None

    @classmethod
    async def activate(cls, thread: Thread, services: ThreadServices, *, base: bytes | None = None) -> ThreadActor:
        """Take the thread's next epoch (recording the thread if it is new) and load it.

        Args:
            thread: Its record.
            services: What it needs of its host.
            base: The encoded state of `thread.base`, if known.
        """
        head = await services.journal.activate(thread.id, services.host, create=thread)
        plan = await services.catalog.plan(head.thread.workflow)
        actor = cls(head.thread, plan, head.epoch, services)
        await actor._load(head, base)
        return actor

    async def start_turn(
        self,
        turn: int,
        content: bytes | None,
        *,
        at: str | None = None,
        stop_at: str | None = None,
        steps: int = 0,
    ) -> None:
        """Journal the start of turn `turn`, with its input."""
        deltas = () if content is None else (content,)
        self._cancel_reason = None
        state = apply(self.plan.schema, self.state, deltas)
        event = planner.TurnStarted(turn, at, stop_at if stop_at is not None else self.cursor.stop_at, steps)
        cursor = planner.advance(self.plan, self.cursor, event, state, self.seq + 1)
        await self._append(EntryKind.TURN_STARTED, cursor, state, deltas=deltas)
        self.state, self.usage, self.written = state, Usage(), []

    async def run(self) -> None:
        """Carry the turn to its end, be it that it is cancelled.

        Raises:
            Fenced: The thread has been activated elsewhere: drop this activation.
        """
        self._carrying = asyncio.create_task(self._carry(), name=f"thread {self.thread.id}")
        if self._cancel_reason is not None:
            self._carrying.cancel()
        try:
            await asyncio.wait([self._carrying])
        finally:
            self._carrying.cancel()
        if self._cancel_reason is None:
            self._carrying.result()
        else:
            await self._record_cancellation(self._cancel_reason)

    def cancel(self, reason: str) -> None:
        """Make `run` stop where it is, record the turn as cancelled and return."""
        self._cancel_reason = reason
        if self._carrying is not None:
            self._carrying.cancel()

    async def _carry(self) -> None:
        while True:
            match planner.command(self.plan, self.cursor):
                case planner.RunNode(_, kind):
                    await self._run_segment(kind)
                case planner.RunBranches(fork):
                    await self._run_branches(fork)
                case planner.FinishTurn(status, error):
                    await self._finish(status, error)
                case planner.Wait():
                    return
                case unknown:
                    assert_never(unknown)

    async def _record_cancellation(self, reason: str) -> None:
        if self.cursor.fork is not None:
            await self._services.branches.cancel(self._as_parent(), self.cursor.fork, reason)
        error = Cancelled(f"cancelled: {reason}", reason=reason).info()
        while self.cursor.status in (ThreadState.RUNNING, ThreadState.PAUSED):
            try:
                await self._finish(ThreadState.CANCELLED, error)
            except SeqConflict:
                await self._reload()  # an executor got one more step in

    def turn_done(self) -> TurnDone:
        """The outcome of the turn that has just ended."""
        replayed = Replayed(seq=self.seq, cursor=self.cursor, state=self.state, usage=self.usage, turn_deltas=())
        return outcome(self.thread, self.plan.schema, replayed)

    def branch_done(self) -> BranchDone:
        """The outcome of this branch, for its parent."""
        schema = self.plan.schema
        item = self.thread.is_item
        return BranchDone(
            status=self.cursor.status,
            deltas=() if item else tuple(map(schema.encode_delta, schema.combine(self.written))),
            state=schema.encode_state(self.state) if item else b"",
            usage=self.usage,
            error=self.cursor.error,
        )

    async def _run_segment(self, kind: NodeType) -> None:
        request = RunSegment(
            thread=self.thread,
            epoch=self.epoch,
            seq=self.seq,
            cursor=self.cursor,
            state=self.plan.schema.encode_state(self.state),
            usage=self.usage,
        )
        try:
            done = await self._services.executors.run(kind, request, SegmentDone)
        except DestinationDied:
            await self._reload()  # it may have journalled steps before it died
            return
        writes = [self.plan.schema.decode_delta(delta) for delta in done.deltas]
        self._advance_to(done.seq, done.cursor, writes)
        self.usage += done.usage

    async def _run_branches(self, fork: Fork) -> None:
        joined = await self._services.branches.run(self._as_parent(), fork)
        if isinstance(joined, ErrorInfo):
            cursor = planner.advance(self.plan, self.cursor, planner.BranchesFailed(joined), self.state, self.seq + 1)
            await self._append(EntryKind.STEP_FAILED, cursor, node=fork.node, error=joined)
            return
        schema = self.plan.schema
        state = self.state
        for write in joined.writes:
            state = schema.apply(state, write)
        event = planner.BranchesJoined(self.usage + joined.usage)
        cursor = planner.advance(self.plan, self.cursor, event, state, self.seq + 1)
        deltas = tuple(map(schema.encode_delta, schema.combine(joined.writes)))
        await self._append(
            EntryKind.JOINED,
            cursor,
            state,
            node=fork.node,
            deltas=deltas,
            usage=joined.usage,
            started_at=joined.started_at,
        )
        self.state = state
        self.written.extend(joined.writes)
        self.usage += joined.usage

    def _as_parent(self) -> BranchParent:
        return BranchParent(thread=self.thread, plan=self.plan, state=self.state, cursor=self.cursor, seq=self.seq)

    async def _finish(self, status: ThreadState, error: ErrorInfo | None) -> None:
        event = planner.TurnFinished(status, error)
        cursor = planner.advance(self.plan, self.cursor, event, self.state, self.seq + 1)
        await self._append(EntryKind.TURN_FINISHED, cursor, error=error, usage=self.usage)

    async def _append(
        self, kind: EntryKind, cursor: Cursor, state: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        """Journal one entry. `state` is the state after it, if it differs from the present one."""
        services = self._services
        now = services.clock.now()
        entry = JournalEntry(seq=self.seq + 1, kind=kind, cursor=cursor, at=now, by=services.host, **fields)
        op_id = f"{services.host}/{self.epoch}/{next(self._op_ids)}"
        snapshot = None
        if snapshot_due(self.thread, entry):
            encoded = self.plan.schema.encode_state(self.state if state is None else state)
            snapshot = Snapshot(seq=entry.seq, cursor=cursor, state=encoded, created_at=now)
        await services.journal.append(self.thread.id, self.epoch, [entry], op_id=op_id, snapshot=snapshot)
        self.seq, self.cursor = entry.seq, cursor

    def _advance_to(self, seq: int, cursor: Cursor, writes: list[dict[str, Any]]) -> None:
        for write in writes:
            self.state = self.plan.schema.apply(self.state, write)
        self.written.extend(writes)
        self.seq, self.cursor = seq, cursor

    async def _reload(self) -> None:
        head = await self._services.journal.head(self.thread.id)
        if head is not None:
            await self._load(head, None)

    async def _load(self, head: Head, base: bytes | None) -> None:
        journal, schema_of = self._services.journal, self._services.catalog.schema
        if head.seq == 0:
            self.state = await base_state(journal, head.thread, self.plan.schema, schema_of, base)
            return
        loaded = await replay(journal, head.thread, schema_of, base=base)
        self.seq, self.cursor, self.state, self.usage = loaded.seq, loaded.cursor, loaded.state, loaded.usage
        self.written = [self.plan.schema.decode_delta(delta) for delta in loaded.turn_deltas]
