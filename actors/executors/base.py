"""The executor actor: runs nodes of one kind in a row, journalling each, until something else has to happen."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.catalog import Catalog
from actors.executors.live import LiveReporter
from actors.ports import Clock, Journal
from actors.protocol import Done, Redeployed, RunSegment, RunTool, SegmentDone, ToolDone, decode_request, encode
from graphs.errors import BusinessRuleViolation, ErrorInfo, GreenroomError, NodeTimeout, describe
from graphs.journal import Cursor, EntryKind, JournalEntry, Snapshot, Usage, snapshot_due
from graphs.threads import Thread
from graphs.workflow import planner
from graphs.workflow.node import Node
from graphs.workflow.plan import Plan

_NO_TOKENS = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """What a node may know about its run; a function gets it as `ctx` if it has such a parameter."""

    thread_id: str
    session_id: str
    workflow: str
    """`id@version`."""
    node: str
    seq: int
    """Seq this step will have in the thread's journal."""
    attempt: int
    """1 for the first run of this step."""

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this step, however often it is repeated: `thread:seq`."""
        return f"{self.thread_id}:{self.seq}"


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """What a node brought."""

    write: Any
    """Channel -> value, or None for nothing; checked against the schema by the executor."""
    usage: Usage = field(default_factory=Usage)


class NodeRunner(Protocol):
    """Runs one node of one kind."""

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Run `node` once on `state` (channel -> value)."""

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Run a tool outside any thread."""

    async def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, slots=True)
class _Attempts:
    """How the runs of one step ended."""

    number: int
    """Runs it took."""
    usage: Usage
    """Tokens of all of them."""
    write: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] | None = None
    """The state after the write."""
    error: ErrorInfo | None = None


class Executor:
    """Answers `RunSegment`.

    Args:
        address: Its own address.
        kind: Kind of nodes it runs.
        runner: Runs one node.
        journal: Where steps are recorded.
        live: Where running steps are announced.
        catalog: The workflows.
        clock: Time.
        segment_steps: Most steps in one segment.
    """

    def __init__(
        self,
        address: str,
        kind: str,
        runner: NodeRunner,
        journal: Journal,
        live: LiveReporter,
        catalog: Catalog,
        clock: Clock,
        segment_steps: int = 64,
    ) -> None:
        self._address = address
        self._kind = kind
        self._runner = runner
        self._journal = journal
        self._live = live
        self._catalog = catalog
        self._clock = clock
        self._segment_steps = segment_steps
        self._op_ids = itertools.count()
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing

    async def handle(self, body: bytes) -> bytes | None:
        """Answer one request."""
        match decode_request(body):
            case RunSegment() as request:
                return encode(await self.run_segment(request))
            case RunTool() as request:
                return encode(await self._runner.run_tool(request))
            case Redeployed(refs=refs):
                self._catalog.forget(refs)
                return encode(Done())
            case request:
                raise BusinessRuleViolation(f"an executor does not handle {type(request).__name__}")

    async def close(self) -> None:
        """Give back what it holds."""
        await self._runner.close()
        await self._live.close()

    async def run_segment(self, request: RunSegment) -> SegmentDone:
        """Run nodes from the request's cursor on, as long as they are of this kind.

        Raises:
            Fenced: The thread has been activated anew: the segment is void.
        """
        plan = await self._catalog.plan(request.thread.workflow)
        schema = plan.schema
        state = schema.decode_state(request.state)
        seq, cursor = request.seq, request.cursor
        usage, total = _NO_TOKENS, request.usage
        writes: list[dict[str, Any]] = []
        for _ in range(self._segment_steps):
            match planner.command(plan, cursor):
                case planner.RunNode(node_id, kind) if kind == self._kind:
                    node = plan.nodes[node_id]
                case _:
                    break
            started_at = self._clock.now()
            died = request.died if seq == request.seq else 0
            attempts = await self._attempt(plan, node, state, request.thread, seq + 1, died)
            if attempts.usage != _NO_TOKENS:
                usage += attempts.usage
                total = request.usage + usage
            if attempts.state is not None:
                state = attempts.state
                writes.append(attempts.write)
                event: planner.Event = planner.NodeFinished(total)
            else:
                assert attempts.error is not None
                event = planner.NodeFailed(attempts.error)
            now = self._clock.now()
            cursor = planner.advance(plan, cursor, event, state, seq + 1, now=now)
            step = JournalEntry(
                seq=seq + 1,
                kind=EntryKind.STEP_FAILED if attempts.error is not None else EntryKind.STEP_FINISHED,
                cursor=cursor,
                at=now,
                started_at=started_at,
                node=node.id,
                attempt=attempts.number,
                deltas=(schema.encode_delta(attempts.write),) if attempts.write else (),
                usage=attempts.usage,
                error=attempts.error,
                by=self._address,
            )
            entries = [step, *self._turn_end(plan, step, total)]
            seq, cursor = entries[-1].seq, entries[-1].cursor
            await self._append(plan, request, entries, state, total)
        deltas = tuple(schema.encode_delta(write) for write in schema.combine(writes))
        return SegmentDone(seq=seq, cursor=cursor, deltas=deltas, usage=usage)

    def _turn_end(self, plan: Plan, step: JournalEntry, usage: Usage) -> list[JournalEntry]:
        """The entry that ends the turn, if `step` was its last: it travels in the same append."""
        match planner.command(plan, step.cursor):
            case planner.FinishTurn(status, error):
                cursor = planner.advance(plan, step.cursor, planner.TurnFinished(status, error), {}, step.seq + 1)
                return [self._turn_entry(step, cursor, usage, error)]
            case _:
                return []

    def _turn_entry(self, step: JournalEntry, cursor: Cursor, usage: Usage, error: ErrorInfo | None) -> JournalEntry:
        return JournalEntry(
            seq=step.seq + 1,
            kind=EntryKind.TURN_FINISHED,
            cursor=cursor,
            at=step.at,
            usage=usage,
            error=error,
            by=self._address,
        )

    async def _append(
        self, plan: Plan, request: RunSegment, entries: list[JournalEntry], state: dict[str, Any], usage: Usage
    ) -> None:
        last = entries[-1]
        snapshot = None
        if any(snapshot_due(request.thread, entry) for entry in entries):
            encoded = plan.schema.encode_state(state)
            snapshot = Snapshot(seq=last.seq, cursor=last.cursor, state=encoded, created_at=last.at, usage=usage)
        op_id = f"{self._address}/{next(self._op_ids)}"
        if self._live.holds(request.thread.id):
            await self._live.flush(request.thread.id)
        await self._journal.append(request.thread.id, request.epoch, entries, op_id=op_id, snapshot=snapshot)

    async def _attempt(
        self, plan: Plan, node: Node, state: Mapping[str, Any], thread: Thread, seq: int, died: int
    ) -> _Attempts:
        """Run one step, again and again as its retry policy says; the runs that died with an executor do not count."""
        usage = _NO_TOKENS
        for number in itertools.count(died + 1):
            context = NodeContext(
                thread_id=thread.id,
                session_id=thread.session_id,
                workflow=plan.ref,
                node=node.id,
                seq=seq,
                attempt=number,
            )
            try:
                output = await self._run_once(plan, node, state, context)
                if output.usage != _NO_TOKENS:
                    usage += output.usage
                write = plan.schema.check_write(node.id, output.write, node.writes)
                return _Attempts(number, usage, write, plan.schema.apply(state, write))
            except asyncio.CancelledError as error:
                if _asked_to_stop():
                    raise
                info, final = describe(error, node=node.id), False
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever user code raises becomes the step's recorded outcome
                info = describe(error, node=node.id)
                final = isinstance(error, GreenroomError) and not error.retryable
            if final or number - died >= node.retry.max_attempts:
                return _Attempts(number, usage, error=info)
            await self._clock.sleep(node.retry.delay_s(number - died, self._random.random()))
        raise AssertionError("unreachable: the count has no end")

    async def _run_once(self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext) -> NodeOutput:
        with self._live.running(context, self._address, at_once=self._kind != "function"):
            if node.timeout_s is None:
                return await self._runner.run(plan, node, state, context, self._live)
            try:
                async with asyncio.timeout(node.timeout_s) as deadline:
                    return await self._runner.run(plan, node, state, context, self._live)
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise NodeTimeout(
                    f"node {node.id!r} ran longer than {node.timeout_s} s; raise its timeout_s",
                    node=node.id,
                    timeout_s=node.timeout_s,
                ) from None


def _asked_to_stop() -> bool:
    """Whether this segment is cancelled, and not just something its node has waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
