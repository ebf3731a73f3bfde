"""The executor actor: runs nodes of one kind in a row, journalling each, until something else has to happen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from actors.blocking import BlockingPool
from actors.catalog import Catalog
from actors.executors.attempts import StepRunner
from actors.executors.live import LiveReporter
from actors.executors.recorder import Recorder
from actors.executors.runner import NodeRunner
from actors.executors.segment import Segment
from actors.ports import Clock, Journal
from actors.protocol import Done, Redeployed, RunSegment, RunTool, SegmentDone, decode_request, encode
from actors.values import Values
from graphs.errors import BusinessRuleViolation
from graphs.threads import Durability
from graphs.workflow.plan import Plan


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
        self._steps = StepRunner(services.address, kind, runner, services.live, services.clock)
        self._segments_count = itertools.count()

    async def handle(self, body: bytes) -> bytes | None:
        """Answer one request."""
        match decode_request(body):
            case RunSegment() as request:
                return encode(await self.run_segment(request))
            case RunTool() as request:
                return encode(await self._runner.run_tool(request))
            case Redeployed(refs=refs):
                self._services.catalog.forget(refs)
                return encode(Done())
            case request:
                raise BusinessRuleViolation(f"an executor does not handle {type(request).__name__}")

    async def close(self) -> None:
        """Give back what it holds."""
        await self._runner.close()
        await self._services.live.close()
        self._services.blocking.close()

    async def run_segment(self, request: RunSegment) -> SegmentDone:
        """Run nodes from the request's cursor on, as long as they are of this kind.

        Raises:
            Fenced: The thread has been activated anew: the segment is void.
        """
        services = self._services
        plan = await services.catalog.plan(request.thread.workflow)
        recorder = self._recorder(plan, request)
        values = services.values.of(request.thread.id, plan.schema)
        segment = Segment(request, plan, self._kind, services.address, self._steps, recorder, values, services.clock)
        return await segment.run(self._segment_steps)

    def _recorder(self, plan: Plan, request: RunSegment) -> Recorder:
        return Recorder(
            self._services.journal,
            self._services.live,
            plan.schema,
            request.thread,
            request.epoch,
            # Which step takes its executors with it is only seen when each is written before the next begins.
            Durability.SYNC if request.died else request.cursor.durability,
            f"{self._services.address}/{next(self._segments_count)}",
            request.kept,
        )
