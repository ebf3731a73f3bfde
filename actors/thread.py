"""The thread actor: one thread, loaded in a host. It carries out what the planner says and journals what happened."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from actors.branches import Joined
from actors.children import BranchParent
from actors.course import Course
from actors.deaths import Deaths
from actors.errors import Fenced, SeqConflict
from actors.forks import ForkRun
from actors.openings import Prepared, TurnStart, begin, prepare
from actors.patience import passes
from actors.pauses import pause_at, read_at_pause, with_session
from actors.ports import Head
from actors.protocol import BranchDone, RunSegment, SegmentDone, TurnDone
from actors.replay import Replayed, apply, base_state, keep_snapshot, replay, usage_after
from actors.thread_services import AT_REST_BYTES, ThreadAtRest, ThreadServices
from graphs.errors import Cancelled, ErrorInfo, GreenroomError, describe
from graphs.journal import Cursor, EntryKind, Fork, JournalEntry, Pause, Usage, snapshot_due
from graphs.sessions import Session, SessionState
from graphs.state.arrow import encoded_size
from graphs.threads import Thread, ThreadState
from graphs.workflow import planner
from graphs.workflow.plan import RESULT, Plan

CUT_OFF_S = 2.0
"""How long an executor has to say where a thread is that is to stop in the middle of a step; else it is replaced."""

logger = logging.getLogger(__name__)


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
        self.turn_waits = False
        """Whether the next turn had been accepted when this one ended, perhaps by another host."""
        self._kept: tuple[JournalEntry, ...] = ()
        """Entries up to `seq` that are not written yet."""
        self._course = Course()
        self.services = services
        self._values = services.values.of(thread.id, plan.schema)
        self._op_ids = itertools.count()
        self._carrying: asyncio.Task[None] | None = None
        self._cancelled: ErrorInfo | None = None
        """Why the turn is cancelled, if it is."""
        self._asked: Pause | None = None
        """How the turn is to be paused, if it is."""
        self.halted: Session | None = None
        """Its session, if that was paused or aborted when the thread was activated."""
        self._open_fork: ForkRun | None = None
        self.pausing = asyncio.Lock()
        """Held while the thread pauses for those below it, and while one of them is let go on."""
        self._deaths = Deaths()

    @classmethod
    async def activate(
        cls,
        thread: Thread,
        services: ThreadServices,
        *,
        base: bytes | None = None,
        lost: str = "",
        start: TurnStart | None = None,
    ) -> ThreadActor:
        """Take the thread's next epoch (recording the thread if it is new) and load it.

        Args:
            thread: Its record.
            services: What it needs of its host.
            base: The encoded state of `thread.base`, if known.
            lost: A host known to be dead, from which a running turn may be taken.
            start: A turn it begins at the same time if it is what its host remembers, or new; else that is to be done.

        Raises:
            ActiveElsewhere: Its turn is running on another host.
        """
        prepared = await prepare(thread, services, start, base)
        head = await services.journal.activate(
            thread.id, services.host, create=thread, lost=lost, opening=prepared.opening
        )
        return await cls.at(head, services, prepared, base)

    @classmethod
    async def at(
        cls, head: Head, services: ThreadServices, prepared: Prepared, base: bytes | None = None
    ) -> ThreadActor:
        """The thread whose epoch the host has just taken, which is perhaps as it was `prepared`."""
        plan = await services.catalog.plan(head.thread.workflow)
        actor = cls(head.thread, plan, head.epoch, services)
        actor.halted = head.halted
        found = prepared.found(head)
        if found is None:
            await actor._load(head, base)
        else:
            actor.seq, actor.cursor, actor.state = found.seq, found.cursor, found.state
            actor.usage, actor._course = found.usage, found.course
        return actor

    def remember(self) -> None:
        """Have the host remember the thread, which does nothing now, in case it has a next turn soon."""
        if self.cursor.status.finished and not self._kept:
            self._course.encoded = b""
            workflow = self.thread.workflow
            rest = ThreadAtRest(workflow, self.epoch, self.seq, self.cursor, self.state, self.usage, self._course)
            self.services.remembered.keep(self.thread.id, rest, self._course.size_bytes + AT_REST_BYTES)

    async def start_turn(self, turn: int, start: TurnStart) -> None:
        """Journal the start of turn `turn`, with its input."""
        before, now = self.seq, self.services.clock.now()
        begun = await begin(start, turn, self.plan, self._values, self.cursor, self.state, before + 1, now)
        fields: dict[str, Any] = {"deltas": begun.deltas, "error": begun.error}
        await self._append(EntryKind.TURN_STARTED, begun.cursor, begun.state, **fields)
        self.state, self._asked, self._cancelled = begun.state, None, None
        self._course.begin(before, begun.deltas)

    async def skip_turn(self, turn: int, reason: str) -> None:
        """Journal turn `turn`, which has not begun, as cancelled, in one append; its input is not written."""
        error = Cancelled.because(reason)
        cursor = await self._after(planner.TurnStarted(turn, error=error), self.state)
        await self._append(EntryKind.TURN_STARTED, cursor, keep=True)
        await self._finish(ThreadState.CANCELLED, error)

    async def resume(
        self, write: Mapping[str, Any] | None = None, operation_id: str = "", refusal: ErrorInfo | None = None
    ) -> None:
        """Journal that the thread goes on, which is paused.

        Args:
            write: What the answer to its question writes.
            operation_id: Id of the answer.
            refusal: The answer, if it says that a tool must not be called.

        If its session is paused, so is the thread again, in the same append: it goes on with that.

        Raises:
            StateInvalid: A reducer refuses the answer.
        """
        state = self.state
        deltas: tuple[bytes, ...] = ()
        if write:
            small, delta = await self._values.spill(write)
            state, deltas = self.plan.schema.apply(state, small), (delta,)
        cursor = await self._after(planner.Resumed(self.usage, refusal), state)
        fields: dict[str, Any] = {"deltas": deltas, "node": self.cursor.node, "operation_id": operation_id}
        halted = self.halted if self.halted is not None and self.halted.state is SessionState.PAUSED else None
        await self._append(EntryKind.RESUMED, cursor, state, keep=halted is not None, error=refusal, **fields)
        self.state = state
        if write:
            self._course.wrote([small], deltas)
        if halted is not None:
            await self._pause(with_session(halted))

    async def restore(
        self, past: Replayed, origin: tuple[str, int], deltas: tuple[bytes, ...], *, operation_id: str, user_id: str
    ) -> None:
        """Journal that the state is that of `past`, updated; the threads of an open fork are not wanted any more."""
        state = apply(self.plan.schema, past.state, deltas)
        if self.cursor.fork is not None:
            await self.services.branches.cancel(self._as_parent(), self.cursor.fork, "its parent was restored")
        cursor = await self._after(planner.Restored(past.cursor), state)
        fields: dict[str, Any] = {"origin": origin, "deltas": deltas, "operation_id": operation_id, "user_id": user_id}
        await self._append(EntryKind.RESTORED, cursor, state, **fields)
        self.state = state
        self._course.replaced()

    async def run(self) -> None:
        """Carry the turn to its end or a pause, be it that it is cancelled, or that something fails that must not.

        Raises:
            Fenced: The thread has been activated elsewhere: drop this activation.
            GreenroomError: Something cannot be done right now (see `actors.patience`): activate it again.
        """
        carrying = self._carrying = asyncio.create_task(self._carry(), name=f"thread {self.thread.id}")
        if self._cancelled is not None:
            carrying.cancel()
        try:
            await asyncio.wait([carrying])
        except asyncio.CancelledError:  # nothing may go on behind its back
            carrying.cancel()
            await asyncio.wait([carrying])
            _retrieve(carrying)
            raise
        if self._cancelled is None or not carrying.cancelled():
            carrying.result()
        if self._cancelled is not None:
            await self._record_cancellation(self._cancelled)

    def cancel(self, reason: str, with_thread: str = "") -> None:
        """Make `run` stop where it is, record the turn as cancelled and return. `with_thread`: see `CancelThread`."""
        self._cancelled = Cancelled.because(reason, with_thread)
        if self._carrying is not None:
            self._carrying.cancel()

    async def pause(self, asked: Pause) -> None:
        """Make `run` pause the turn after the step it is at, and the threads below it after theirs."""
        self._asked = asked
        if self._open_fork is not None:
            await self._open_fork.pause(asked)
        await self.services.executors.end(self.thread.id, self.epoch)

    def may_go_on(self, below: str = "") -> bool:
        """Ask a thread below it to go on that was paused (empty: all of them); False if none is awaited."""
        return self._open_fork is not None and self._open_fork.may_go_on(below)

    async def _carry(self) -> None:
        try:
            await self._go_on()
        except Exception as error:
            if isinstance(error, Fenced) or passes(error):
                raise
            if not isinstance(error, GreenroomError):
                logger.exception("thread %s cannot go on", self.thread.id)
            await self._give_up(ThreadState.FAILED, describe(error))

    async def _go_on(self) -> None:
        while True:
            match planner.command(self.plan, self.cursor):
                case planner.RunNode() if self._asked is not None:
                    await self._pause(self._asked)
                case planner.RunNode(_, kind):
                    await self._run_segment(kind)
                case planner.RunBranches(fork):
                    await self._run_branches(fork)
                case planner.FinishTurn(status, error):
                    await self._finish(status, error)
                case planner.PauseAt(node):
                    await self._pause_at(node)
                case planner.Wait():
                    return
                case unknown:
                    assert_never(unknown)

    async def _pause_at(self, node: str) -> None:
        try:
            state = await self._values.load(self.state, read_at_pause(self.plan, node))
            pause = pause_at(self.plan, node, state, self.services.clock.now())
        except GreenroomError as error:
            if passes(error):  # the store is away
                raise
            info = describe(error, node=node)
            cursor = await self._after(planner.NodeFailed(info), self.state)
            await self._append(EntryKind.STEP_FAILED, cursor, node=node, error=info)
        else:
            await self._pause(pause)

    async def _pause(self, pause: Pause) -> None:
        self._asked = None
        cursor = await self._after(planner.Paused(pause), self.state)
        await self._append(EntryKind.PAUSED, cursor, node=pause.node or None)

    async def _record_cancellation(self, error: ErrorInfo) -> None:
        while not self.cursor.status.finished:
            try:
                await self._give_up(ThreadState.CANCELLED, error)
            except SeqConflict:
                head = await self.services.journal.head(self.thread.id)  # an executor got one more step in
                assert head is not None
                await self._load(head, None)

    async def _give_up(self, status: ThreadState, error: ErrorInfo) -> None:
        """End the turn where it is, and what runs below it first."""
        if self.cursor.fork is not None:
            reason, above = error.fields.get("reason", error.message), error.fields.get("with_thread", self.thread.id)
            above = above if status is ThreadState.CANCELLED else ""
            self.usage += await self.services.branches.cancel(self._as_parent(), self.cursor.fork, reason, above)
        await self._finish(status, error)

    def turn_done(self, known_seq: int | None = None) -> TurnDone:
        """The outcome of the turn that has just ended, or paused, for somebody who knows the state after a seq."""
        deltas = None if known_seq is None else self._course.since(known_seq, self.plan.schema)
        whole = deltas is None
        return TurnDone(
            thread_id=self.thread.id,
            turn=self.cursor.turn,
            status=self.cursor.status,
            seq=self.seq,
            state=self._encoded() if whole else b"",
            base_seq=None if whole else known_seq,
            deltas=deltas or (),
            usage=self.usage,
            error=self.cursor.error,
            pause=self.cursor.pause,
        )

    def branch_done(self) -> BranchDone:
        """The outcome of this branch, for its parent."""
        schema, thread, over = self.plan.schema, self.thread, self.cursor.status.finished
        return BranchDone(
            status=self.cursor.status,
            deltas=tuple(map(schema.encode_delta, schema.combine(self._course.written)))
            if over and not thread.is_item
            else (),
            state=self._final() if over and thread.has_own_state else b"",
            usage=self.usage,
            error=self.cursor.error,
            pause=self.cursor.pause,
        )

    def _final(self) -> bytes:
        """The state that its parent needs: of an item of a map over a node, its result."""
        schema = self.plan.schema
        return self._encoded() if self.thread.base is None else schema.encode_delta({RESULT: self.state[RESULT]})

    async def _run_segment(self, kind: str) -> None:
        request = RunSegment(
            thread=self.thread,
            epoch=self.epoch,
            seq=self.seq,
            cursor=self.cursor,
            usage=self.usage,
            died=self._deaths.after(self.seq),
            kept=self._kept,
        )
        started_at = self.services.clock.now()
        running = self.services.executors.run(kind, request, self._course.held(kind), self._encoded)
        asked = asyncio.create_task(running, name=f"segment of {self.thread.id}")
        try:
            done = await asyncio.shield(asked)
        except asyncio.CancelledError:
            await self._cut_off(kind, asked)
            raise
        if done is None:
            await self._note_death(self.services.clock.now() - started_at)
        else:
            self._take(kind, done)

    def _encoded(self) -> bytes:
        course = self._course
        if not course.encoded:
            course.encoded = self.plan.schema.encode_state(self.state)
            course.size_bytes = encoded_size(course.encoded)
        return course.encoded

    async def _cut_off(self, kind: str, asked: asyncio.Task[SegmentDone | None]) -> None:
        """End a segment in the middle of its step; if the turn is cancelled, the steps before that are recorded."""
        try:
            if self._cancelled is not None:
                await self.services.executors.end(self.thread.id, self.epoch, now=True)
                await asyncio.wait([asked], timeout=CUT_OFF_S)
                if not asked.done():
                    await self.services.executors.give_up(self.thread.id)
        finally:
            asked.cancel()
            await asyncio.wait([asked])
        done = None if asked.cancelled() or asked.exception() is not None else asked.result()
        if done is not None:
            self._take(kind, done)

    def _take(self, kind: str, done: SegmentDone) -> None:
        """Be where an executor of `kind` got to."""
        schema = self.plan.schema
        writes = [schema.decode_delta(delta) for delta in done.deltas]
        for write in writes:
            self.state = schema.apply(self.state, write)
        self._course.wrote(writes, done.deltas)
        self._course.executor_at(kind, done.state_id)
        self.seq, self.cursor = done.seq, done.cursor
        self.usage += done.usage
        self._kept = done.kept
        self.turn_waits = done.turn_waits

    async def _note_death(self, ran_s: float) -> None:
        """An executor has died: find out how far it came, and whether a step is at fault."""
        head = await self.services.journal.head(self.thread.id)
        if head is not None and head.seq != self.seq - len(self._kept):
            await self._load(head, None)
        node = self.cursor.node
        if node is None or (error := self._deaths.note(self.seq, self.plan.nodes[node], ran_s)) is None:
            return
        cursor = await self._after(planner.NodeFailed(error.info()), self.state)
        attempt = self._deaths.after(self.seq)
        await self._append(EntryKind.STEP_FAILED, cursor, node=node, attempt=attempt, error=error.info())

    async def _run_branches(self, fork: Fork) -> None:
        schema = self.plan.schema
        await self._write((), self.state, self.usage)  # branches begin with what is written
        joined = await self._join(fork)
        if joined is None:
            return
        if joined.error is not None and "with_thread" in joined.error.fields:  # it was being cancelled before a crash
            await self._record_cancellation(Cancelled.below(joined.error, self.thread.id))
            return
        state, error = self.state, joined.error
        try:
            for write in joined.writes:
                state = schema.apply(state, write)
        except GreenroomError as failure:  # a reducer refuses what the branches bring together
            error = failure.info()
        facts: dict[str, Any] = {"node": fork.node, "usage": joined.usage, "started_at": joined.started_at}
        if error is not None:
            cursor = await self._after(planner.BranchesFailed(error), self.state)
            await self._append(EntryKind.STEP_FAILED, cursor, error=error, **facts)
            return
        event = planner.BranchesJoined(self.usage + joined.usage)
        cursor = await self._after(event, state)
        deltas = tuple(map(schema.encode_delta, schema.combine(joined.writes)))
        await self._append(EntryKind.JOINED, cursor, state, deltas=deltas, **facts)
        self.state = state
        self._course.wrote(joined.writes, deltas)

    async def _join(self, fork: Fork) -> Joined | None:
        """What the branches bring; None if they are paused, and the thread with them."""
        async with self.services.branches.open(self._as_parent(), fork) as opened:
            self._open_fork = opened.run
            try:
                if self._asked is not None:
                    await opened.run.pause(self._asked)
                while isinstance(joined := await opened.join(), Pause):
                    async with self.pausing:
                        if not opened.run.has_news:
                            await self._pause(joined)
                            return None
                return joined
            finally:
                self._open_fork = None

    def _as_parent(self) -> BranchParent:
        return BranchParent(self.thread, self.plan, self.state, self.cursor, self.seq, self.usage)

    async def _finish(self, status: ThreadState, error: ErrorInfo | None) -> None:
        event = planner.TurnFinished(status, error)
        cursor = await self._after(event, self.state)
        await self._append(EntryKind.TURN_FINISHED, cursor, error=error, usage=self.usage)

    async def _after(self, event: planner.Event, state: dict[str, Any]) -> Cursor:
        """The cursor after `event`, which the next entry records."""
        now = self.services.clock.now()
        return await self._values.advance(self.plan, self.cursor, event, state, self.seq + 1, now=now)

    async def _append(
        self, kind: EntryKind, cursor: Cursor, state: dict[str, Any] | None = None, *, keep: bool = False, **fields: Any
    ) -> None:
        """Journal one entry. `state` is the state after it, if it differs from the present one.

        With `keep` it is written with the one that follows.
        """
        services = self.services
        now = services.clock.now()
        entry = JournalEntry(seq=self.seq + 1, kind=kind, cursor=cursor, at=now, by=services.host, **fields)
        usage = usage_after(self.usage, entry)
        if keep:
            self._kept = (*self._kept, entry)
        else:
            await self._write([entry], self.state if state is None else state, usage)
        self.seq, self.cursor, self.usage = entry.seq, cursor, usage

    async def _write(self, entries: Sequence[JournalEntry], state: dict[str, Any], usage: Usage) -> None:
        """Write what was kept, and `entries`; `state` and `usage` are those after the last of them."""
        services = self.services
        entries = [*self._kept, *entries]
        if not entries:
            return
        op_id = f"{services.host}/{self.epoch}/{next(self._op_ids)}"
        size = await services.journal.append(self.thread.id, self.epoch, entries, op_id=op_id)
        self._kept = ()
        self.turn_waits, last = size.turn_waits, entries[-1]
        if snapshot_due(self.thread, size) or last.kind is EntryKind.RESTORED:  # its state is far away
            await keep_snapshot(services.journal, self.thread, self.plan.schema, last, state, usage)

    async def _load(self, head: Head, base: bytes | None) -> None:
        journal, schema_of = self.services.journal, self.services.catalog.schema
        self._kept = ()
        self._course.replaced()
        if head.seq == 0:
            self.state = await base_state(journal, head.thread, self.plan.schema, schema_of, base)
            return
        loaded = await replay(journal, head.thread, schema_of, base=base)
        self.seq, self.cursor, self.state, self.usage = loaded.seq, loaded.cursor, loaded.state, loaded.usage
        self._course.replaced([self.plan.schema.decode_delta(delta) for delta in loaded.turn_deltas])


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at how a task ended that nobody asks any more."""
    if not task.cancelled():
        task.exception()
