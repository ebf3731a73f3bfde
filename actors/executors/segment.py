"""One segment: nodes of one kind, run in a row on one thread until something else has to happen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from actors.executors.attempts import Attempts, StepRunner
from actors.executors.recorder import Recorder
from actors.executors.runner import NodeContext
from actors.ports import Clock
from actors.protocol import RunSegment, SegmentDone
from actors.values import ThreadValues
from graphs.errors import BudgetExceeded, GreenroomError, OutcomeUnknown, describe
from graphs.journal import EntryKind, JournalEntry, Usage
from graphs.state.large import small_state
from graphs.workflow import planner
from graphs.workflow.node import Node, NodeType
from graphs.workflow.plan import Plan
from graphs.workflow.reads import node_reads

NO_TOKENS = Usage()


class Segment:
    """Runs the nodes one request asks for, and records each.

    Args:
        request: Where the thread is.
        plan: Its workflow.
        steps: Runs steps, of one kind of nodes.
        recorder: Writes what happens.
        values: Large values of the thread.
        clock: Time.
        state: The thread's state.
    """

    def __init__(
        self,
        request: RunSegment,
        plan: Plan,
        steps: StepRunner,
        recorder: Recorder,
        values: ThreadValues,
        clock: Clock,
        state: dict[str, Any],
    ) -> None:
        self._request = request
        self._plan = plan
        self._kind = steps.kind
        self._address = steps.address
        self._steps = steps
        self._recorder = recorder
        self._values = values
        self._clock = clock
        self._state = state
        self._seq = request.seq
        self._cursor = request.cursor
        self._usage = NO_TOKENS
        """Tokens of this segment."""
        self._writes: list[dict[str, Any]] = []
        self._deltas: tuple[bytes, ...] = ()
        """The last of them, encoded."""
        self._ending = False
        self._cut = False
        self._in_node: asyncio.Task[Any] | None = None
        """The task that runs this, while a node has the word."""

    @property
    def state(self) -> dict[str, Any]:
        """The state after the last step."""
        return self._state

    def end(self, *, now: bool) -> None:
        """Let `run` return after the step it is at, or in the middle of its node."""
        self._ending = True
        self._cut = self._cut or now
        if now and self._in_node is not None:
            self._in_node.cancel()

    async def run(self, max_steps: int) -> SegmentDone:
        """Run nodes as long as they are of this kind.

        Raises:
            Fenced: The thread has been activated anew: the segment is void.
            GreenroomError: Something could not be written.
        """
        try:
            for node in self._nodes(max_steps):
                await self._step(node)
        except GreenroomError:
            await self._recorder.close()
            raise
        except asyncio.CancelledError:
            if not self._was_cut():
                await self._recorder.close()
                raise
        kept = await self._recorder.hand_over()
        schema = self._plan.schema
        deltas = self._deltas
        if len(self._writes) > 1:
            deltas = tuple(map(schema.encode_delta, schema.combine(self._writes)))
        return SegmentDone(
            seq=self._seq,
            cursor=self._cursor,
            deltas=deltas,
            usage=self._usage,
            kept=kept,
            turn_waits=self._recorder.turn_waits,
        )

    def _nodes(self, max_steps: int) -> Iterator[Node]:
        """What is to be run next, after each step anew."""
        for _ in range(max_steps):
            if self._ending:
                return
            match planner.command(self._plan, self._cursor):
                case planner.RunNode(node_id, kind) if kind == self._kind:
                    yield self._plan.nodes[node_id]
                case _:
                    return

    def _was_cut(self) -> bool:
        """Whether `end` has cancelled this task, and nobody else."""
        task, self._in_node = self._in_node, None
        return self._cut and task is not None and task.uncancel() == 0

    async def _step(self, node: Node) -> None:
        started_at = self._clock.now()
        died = self._request.died if self._seq == self._request.seq else 0
        if (exceeded := self._exceeded(node, started_at)) is not None:
            attempts: Attempts | None = Attempts(1, error=exceeded.info())
        elif self._cursor.started:
            attempts = Attempts(1, error=_unknown(self._context(node, 1)).info())
        else:
            attempts = await self._run(node, died + 1)
        if attempts is not None:
            await self._record(node, attempts, started_at)

    def _exceeded(self, node: Node, now: float) -> BudgetExceeded | None:
        """Why the node must not begin, if the turn has used up its budget."""
        budget = self._cursor.budget
        if budget is None:
            return None
        used = self._request.usage + self._usage
        return budget.exceeded(
            node=node.id,
            tokens=used.total_tokens,
            cost=used.cost,
            steps=self._cursor.steps,
            now=now,
            asks=self._kind == NodeType.LLM,
        )

    async def _begin(self, node: Node) -> None:
        """Record for good that the node is about to be called."""
        now = self._clock.now()
        self._seq += 1
        self._cursor = planner.advance(self._plan, self._cursor, planner.StepStarted(), self._state, self._seq, now=now)
        entry = JournalEntry(
            seq=self._seq, kind=EntryKind.STEP_STARTED, cursor=self._cursor, at=now, node=node.id, by=self._address
        )
        await self._recorder.add([entry], self._state, self._request.usage + self._usage)
        await self._recorder.settle()

    async def _run(self, node: Node, attempt: int) -> Attempts | None:
        """Run the node as often as it takes; None if the segment is cut before that."""
        try:
            seen = await self._values.load(self._state, node_reads(node))
        except GreenroomError as error:
            if error.retryable:  # the store is away
                raise
            return Attempts(attempt, error=describe(error, node=node.id))
        refused = self._cursor.caught is not None and self._plan.tells(node.id)  # then nothing is called
        if not refused and self._steps.at_most_once(self._plan, node, seen):
            await self._begin(node)
            attempt = 1
        if self._cut:
            return None
        self._in_node = asyncio.current_task()
        attempts = await self._steps.run(self._plan, node, seen, self._state, self._context(node, attempt))
        if self._cut:
            raise asyncio.CancelledError  # the node has swallowed it
        self._in_node = None
        return attempts

    def _context(self, node: Node, attempt: int) -> NodeContext:
        caught = self._cursor.caught
        return NodeContext(
            thread_id=self._request.thread.id,
            session_id=self._request.thread.session_id,
            workflow=self._plan.ref,
            node=node.id,
            seq=self._seq + 1,
            attempt=attempt,
            priority=self._request.thread.metadata.priority,
            error=None if caught is None else GreenroomError.from_info(caught),
            log=self._steps.log(),
        )

    async def _record(self, node: Node, attempts: Attempts, started_at: float) -> None:
        """Record how a step has ended, and the turn with it if that was its last."""
        usage = NO_TOKENS
        if attempts.calls:
            usage = Usage.of(attempts.calls)
            self._usage += usage
        total = self._request.usage if self._usage is NO_TOKENS else self._request.usage + self._usage
        deltas: tuple[bytes, ...] = ()
        if attempts.state is not None:
            state = attempts.state
            if attempts.write:
                write, delta = await self._values.spill(attempts.write)
                state = small_state(self._plan.schema, self._state, state, attempts.write, write)
                self._writes.append(write)
                deltas = self._deltas = (delta,)
            self._state = state
            event: planner.Event = planner.NodeFinished(total)
        else:
            assert attempts.error is not None
            event = planner.NodeFailed(attempts.error)
        now = self._clock.now()
        self._seq += 1
        self._cursor = await self._values.advance(self._plan, self._cursor, event, self._state, self._seq, now=now)
        entries = [
            JournalEntry(
                seq=self._seq,
                kind=EntryKind.STEP_FAILED if attempts.error is not None else EntryKind.STEP_FINISHED,
                cursor=self._cursor,
                at=now,
                started_at=started_at,
                node=node.id,
                attempt=attempts.number,
                deltas=deltas,
                usage=usage,
                calls=tuple(attempts.calls),
                error=attempts.error,
                by=self._address,
            )
        ]
        match planner.command(self._plan, self._cursor):
            case planner.FinishTurn(status, error):
                self._seq += 1
                self._cursor = planner.advance(
                    self._plan, self._cursor, planner.TurnFinished(status, error), {}, self._seq, now=now
                )
                entries.append(
                    JournalEntry(
                        seq=self._seq,
                        kind=EntryKind.TURN_FINISHED,
                        cursor=self._cursor,
                        at=now,
                        usage=total,
                        error=error,
                        by=self._address,
                    )
                )
        await self._recorder.add(entries, self._state, total)
        took_s = self._clock.now() - started_at
        self._steps.meter.add(took_s, failed=attempts.error is not None, tokens=usage.total_tokens)


def _unknown(context: NodeContext) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"node {context.node!r} runs at most once, and was called before a crash: whether it did its work is not "
        "known; look there, and go on by an on_error edge or a new turn",
        node=context.node,
        idempotency_key=context.idempotency_key,
    )
