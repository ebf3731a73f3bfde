"""The executor actor: runs nodes of one kind in a row, journalling each, until something else has to happen."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.blocking import BlockingPool
from actors.catalog import Catalog
from actors.errors import Retiring, StateForgotten
from actors.executors.attempts import StepRunner
from actors.executors.live import LiveReporter
from actors.executors.log import Recording
from actors.executors.loop_watch import RunningNode
from actors.executors.recorder import Recorder
from actors.executors.runner import NodeRunner
from actors.executors.segment import Segment
from actors.facts import ProcessFacts
from actors.machine import rss_bytes
from actors.patience import patiently
from actors.ports import Clock, Journal
from actors.protocol import (
    DescribeProcess,
    DiscoverTools,
    Done,
    EndSegment,
    ProcessDescribed,
    Redeployed,
    Retire,
    RunSegment,
    RunTool,
    SegmentDone,
    decode_request,
    encode,
)
from actors.remembered import LARGE_STATE_BYTES, Remembered
from actors.replay import apply
from actors.values import Values
from graphs.errors import BusinessRuleViolation, GreenroomError
from graphs.state.arrow import encoded_size
from graphs.threads import Durability
from graphs.workflow.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExecutorServices:
    """What an executor needs of its process."""

    address: str
    """Its own address."""
    journal: Journal
    values: Values
    live: LiveReporter
    catalog: Catalog
    clock: Clock
    blocking: BlockingPool
    recording: Recording
    retire: Callable[[], Awaitable[object]]
    """Asks for a successor; returns when it is there."""


class _Running:
    """A segment that runs; there is none yet while its workflow is read."""

    def __init__(self) -> None:
        self.segment: Segment | None = None
        self.end: EndSegment | None = None


class Executor:
    """Answers `RunSegment`.

    Args:
        kind: Kind of nodes it runs.
        runner: Runs one node.
        services: What it needs of its process.
        segment_steps: Most steps in one segment.
    """

    def __init__(self, kind: str, runner: NodeRunner, services: ExecutorServices, segment_steps: int = 64) -> None:
        self._kind = kind
        self._runner = runner
        self._services = services
        self._segment_steps = segment_steps
        self._steps = StepRunner(services.address, kind, runner, services.live, services.clock, services.recording)
        self._segments_count = itertools.count()
        self._remembered: Remembered[tuple[dict[str, Any], int]] = Remembered()
        """Name of the segment after which it was so -> state, and about how many bytes it has."""
        self._running: dict[tuple[str, int], _Running] = {}
        """(thread id, epoch) -> segment."""
        self._work_count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving: asyncio.Task[None] | None = None
        self._is_retired = False
        services.blocking.on_stuck = self.leave

    @property
    def running(self) -> Mapping[asyncio.Task[Any], RunningNode]:
        """Task -> the node that it runs."""
        return self._steps.running

    async def handle(self, body: bytes) -> bytes | None:
        """Answer one request."""
        match decode_request(body):
            case RunSegment() as request:
                return encode(await self._run_segment(request))
            case EndSegment() as request:
                self._end_segment(request)
                return None
            case Retire():
                await self._idle.wait()
                return encode(Done())
            case RunTool() | DiscoverTools() as request:
                with self._at_work():
                    return encode(await self._runner.run_tool(request))
            case Redeployed(refs=refs):
                self._services.catalog.forget(refs)
                return encode(Done())
            case DescribeProcess():
                facts = ProcessFacts(rss_bytes=rss_bytes(), steps=self._steps.meter.counts())
                return encode(ProcessDescribed(facts=facts))
            case request:
                raise BusinessRuleViolation(f"an executor does not handle {type(request).__name__}")

    def leave(self) -> None:
        """Ask to be replaced: a function that should have stopped still runs in this process."""
        if self._leaving is None or self._leaving.done():
            self._leaving = asyncio.create_task(self._retire(), name=f"{self._services.address} retires")

    async def close(self) -> None:
        """Give back what it holds."""
        self._services.blocking.close()
        if self._leaving is not None:
            self._leaving.cancel()
            await asyncio.wait([self._leaving])
        await self._remembered.close()
        await self._runner.close()
        await self._services.live.close()

    async def _run_segment(self, request: RunSegment) -> SegmentDone:
        """Run nodes from the request's cursor on, as long as they are of this kind.

        Raises:
            Fenced: The thread has been activated anew: the segment is void.
            Retiring: A successor is there.
        """
        if self._is_retired:
            self.leave()  # whoever still sends segments here does not know
            address = self._services.address
            raise Retiring(f"{address} is being replaced; ask for the pool again", destination=address)
        key, running = (request.thread.id, request.epoch), _Running()
        self._running[key] = running
        try:
            with self._at_work():
                return await self._run(request, running)
        finally:
            if self._running.get(key) is running:
                del self._running[key]

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Keep the process, should it be replaced, until the block is over."""
        self._work_count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._work_count -= 1
            if not self._work_count:
                self._idle.set()

    async def _run(self, request: RunSegment, running: _Running) -> SegmentDone:
        services = self._services
        plan = await services.catalog.plan(request.thread.workflow)
        name = f"{services.address}/{next(self._segments_count)}"
        recorder = self._recorder(plan, request, name)
        values = services.values.of(request.thread.id, plan.schema)
        state, size_bytes = self._state(plan, request)
        segment = Segment(request, plan, self._steps, recorder, values, services.clock, state)
        running.segment = segment
        if running.end is not None:
            segment.end(now=running.end.now)
        done = await segment.run(self._segment_steps)
        size_bytes += sum(map(len, done.deltas))
        # User code gets copies of lists only: what it could change in them must not be met again.
        if size_bytes < LARGE_STATE_BYTES or not plan.schema.shared:
            return done
        self._remembered.keep(name, (segment.state, size_bytes), size_bytes)
        return msgspec.structs.replace(done, state_id=name)

    def _state(self, plan: Plan, request: RunSegment) -> tuple[dict[str, Any], int]:
        """The state a segment begins with, and about how many bytes it has."""
        if not request.base:
            return plan.schema.decode_state(request.state), encoded_size(request.state)
        known = self._remembered.take(request.base)
        if known is None:
            raise StateForgotten(f"{self._services.address} does not have {request.base} any more; send the state")
        state, size_bytes = known
        return apply(plan.schema, state, request.deltas), size_bytes + sum(map(len, request.deltas))

    def _end_segment(self, request: EndSegment) -> None:
        running = self._running.get((request.thread_id, request.epoch))
        if running is None:
            return
        running.end = request
        if running.segment is not None:
            running.segment.end(now=request.now)

    async def _retire(self) -> None:
        try:
            await patiently(self._services.clock, self._services.retire)
        except GreenroomError as error:
            logger.warning("%s, in which a function is stuck, is not replaced: %s", self._services.address, error)
        else:
            self._is_retired = True

    def _recorder(self, plan: Plan, request: RunSegment, name: str) -> Recorder:
        return Recorder(
            self._services.journal,
            self._services.live,
            plan.schema,
            request.thread,
            request.epoch,
            # Which step takes its executors with it is only seen when each is written before the next begins.
            Durability.SYNC if request.died else request.cursor.durability,
            name,
            request.kept,
        )
