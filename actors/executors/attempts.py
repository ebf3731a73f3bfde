"""One step: a node run once, or again and again as its retry policy says."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.executors.live import LiveReporter
from actors.executors.log import CallLog, Recording
from actors.executors.loop_watch import RunningNode
from actors.executors.runner import NodeContext, NodeOutput, NodeRunner
from actors.facts import StepMeter
from actors.ports import Clock
from graphs.calls import Call
from graphs.errors import ErrorInfo, GreenroomError, NodeTimeout, describe
from graphs.workflow.node import Node, NodeType
from graphs.workflow.plan import Plan


@dataclass(frozen=True, slots=True)
class Attempts:
    """How the runs of one step ended."""

    number: int
    """Runs it took."""
    calls: Sequence[Call] = ()
    """Calls of models and tools that all of them made."""
    write: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] | None = None
    """The state after the write."""
    error: ErrorInfo | None = None


class StepRunner:
    """Runs steps.

    Args:
        address: The executor's own address.
        kind: Kind of nodes it runs.
        runner: Runs one node once.
        live: Where running steps are announced.
        clock: Time.
        recording: How calls of models and tools are noted.
    """

    def __init__(
        self, address: str, kind: str, runner: NodeRunner, live: LiveReporter, clock: Clock, recording: Recording
    ) -> None:
        self.address = address
        self.kind = kind
        self._runner = runner
        self._live = live
        self._clock = clock
        self._recording = recording
        self.meter = StepMeter()
        self.running: dict[asyncio.Task[Any], RunningNode] = {}
        """Task -> the node that it runs."""
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing

    def log(self) -> CallLog:
        """Where a step notes its calls."""
        return CallLog(self._recording)

    def at_most_once(self, plan: Plan, node: Node, state: Mapping[str, Any]) -> bool:
        """See `NodeRunner`."""
        return self._runner.at_most_once(plan, node, state)

    async def run(
        self, plan: Plan, node: Node, seen: Mapping[str, Any], state: Mapping[str, Any], context: NodeContext
    ) -> Attempts:
        """Run the step. The runs before that of `context`, which died with an executor, do not count as retries.

        The node runs on `seen`: `state` with the large values it reads.
        """
        calls = context.log.calls
        most = 1 if self._runner.at_most_once(plan, node, seen) else node.retry.max_attempts
        for number in itertools.count(1):
            try:
                output = await self._run_once(plan, node, seen, context)
                write = plan.schema.check_write(node.id, output.write, node.writes)
                return Attempts(context.attempt, calls, write, plan.schema.apply(state, write))
            except asyncio.CancelledError as error:
                if _asked_to_stop():
                    raise
                info, final = describe(error, node=node.id), False
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever user code raises becomes the step's recorded outcome
                info = describe(error, node=node.id)
                final = isinstance(error, GreenroomError) and not error.retryable
            if final or number >= most:
                return Attempts(context.attempt, calls, error=info)
            await self._clock.sleep(node.retry.delay_s(number, self._random.random()))
            context = replace(context, attempt=context.attempt + 1)
        raise AssertionError("unreachable: the count has no end")

    async def _run_once(self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext) -> NodeOutput:
        timer = None
        if self.kind == NodeType.FUNCTION:
            timer = self._live.announce_later(context, self.address)
        else:
            self._live.announce(context, self.address)
        task = asyncio.current_task()
        assert task is not None
        deadline = None if node.timeout_s is None else time.monotonic() + node.timeout_s
        self.running[task] = RunningNode(plan.ref, node.id, deadline)
        try:
            return await self._run_in_time(plan, node, state, context)
        finally:
            del self.running[task]
            if timer is not None:
                timer.cancel()

    async def _run_in_time(self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext) -> NodeOutput:
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
