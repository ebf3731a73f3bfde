"""Carries a load test out: starts turns when they are due, waits for them, and has everything counted.

In an open loop a turn is due at a time that was fixed beforehand, and its latency counts from then: a server that
stalls makes the turns that arrive meanwhile late, and they are counted as late, not left out.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from graphs.errors import GreenroomError
from runtime.load.arrivals import arrival_times_s, caller_starts_s
from runtime.load.plan import LoadPlan
from runtime.load.tally import ABANDONED, FINE, Ending, Interval, Outcome, Tally, ending_of
from runtime.load.target import Conversation, Target

_LOOK_S = 2.0
"""How long it may take to see how the processes are."""


class LoadDriver:
    """One load test.

    Args:
        plan: What is to be done.
        target: What is put under load.
        inputs: Inputs of the turns, one after the other and from the beginning again.
    """

    def __init__(
        self,
        plan: LoadPlan,
        target: Target,
        inputs: Sequence[Mapping[str, Any]] = ({},),
    ) -> None:
        self.plan = plan.checked()
        self.tally = Tally(ramp_s=plan.ramp_s, begin_s=plan.begin_s, end_s=plan.end_s)
        self._target = target
        self._inputs = itertools.cycle(inputs)
        self.on_interval: Callable[[Interval], None] = lambda _: None
        """Called at the end of each row of the timeline."""
        self._chance = random.Random(plan.seed)  # noqa: S311 - arrivals and priorities, no secret
        self._priorities, self._weights = list(plan.priorities), list(plan.priorities.values())
        self._users = itertools.cycle(range(plan.users))
        self._resting: deque[tuple[Conversation, int]] = deque()
        """Sessions between two turns, with the turns they have left."""
        self._under_way: dict[asyncio.Task[None], float] = {}
        """Turn -> when it was to arrive."""
        self._origin_s = 0.0

    def now_s(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self._origin_s

    async def run(self) -> Tally:
        """Do it; returns when no turn is under way any more, or those that are were given up."""
        self._origin_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:  # what nobody expected ends the test
            watching = group.create_task(self._watch())
            if self.plan.rate_per_s is not None:
                await self._open_loop(group, self.plan.rate_per_s)
            else:
                await self._closed_loop(group)
            await self._wait_until(self.plan.end_s)
            await self._drain()
            watching.cancel()
        self.on_interval(self.tally.tick(self.now_s(), self.tally.seen))
        return self.tally

    async def _open_loop(self, group: asyncio.TaskGroup, rate_per_s: float) -> None:
        plan = self.plan
        for arrival_s in arrival_times_s(
            plan.arrivals, rate_per_s, ramp_s=plan.ramp_s, end_s=plan.end_s, chance=self._chance
        ):
            await self._wait_until(arrival_s)
            if self.tally.in_flight >= plan.max_in_flight:
                self._refuse(arrival_s)
            else:
                self._begin(group, arrival_s)

    async def _closed_loop(self, group: asyncio.TaskGroup) -> None:
        assert self.plan.concurrency is not None, "it is checked"
        starts_s = caller_starts_s(self.plan.concurrency, self.plan.ramp_s)
        async with asyncio.TaskGroup() as callers:
            for start_s in starts_s:
                callers.create_task(self._call(group, start_s))

    async def _call(self, group: asyncio.TaskGroup, start_s: float) -> None:
        """One caller of a closed loop: a turn after the other."""
        await self._wait_until(start_s)
        while (now_s := self.now_s()) < self.plan.end_s:
            done, _ = await asyncio.wait([self._begin(group, now_s)], timeout=self.plan.end_s - now_s)
            if not done:
                return

    async def _wait_until(self, at_s: float) -> None:
        # Also one who is late lets the others work.
        await asyncio.sleep(max(0.0, at_s - self.now_s()))

    def _begin(self, group: asyncio.TaskGroup, arrival_s: float) -> asyncio.Task[None]:
        task = group.create_task(self._turn(arrival_s))
        self._under_way[task] = arrival_s
        task.add_done_callback(self._under_way.pop)
        self.tally.start(arrival_s, self.now_s())
        return task

    def _refuse(self, arrival_s: float) -> None:
        most = self.plan.max_in_flight
        self.tally.start(arrival_s, self.now_s())
        message = f"{most} turns were under way; the load test sends no more (--max-in-flight)"
        self.tally.end(arrival_s, self.now_s(), Ending(outcome=Outcome.REFUSED, error="MaxInFlight", message=message))

    async def _turn(self, arrival_s: float) -> None:
        """One turn, from its start to its one and only end in the tally."""
        content = next(self._inputs)
        (priority,) = self._chance.choices(self._priorities, self._weights)
        conversation: Conversation | None = None
        left = 0
        try:
            async with asyncio.timeout(self.plan.timeout_s) as limit:
                conversation, left = await self._conversation()
                ending = await conversation.turn(content, priority)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"not over after {self.plan.timeout_s:g} s"
            ending = Ending(outcome=Outcome.TIMED_OUT, error="Timeout", message=message)
        except GreenroomError as error:
            ending = ending_of(error)
        except asyncio.CancelledError:
            self._end(arrival_s, ABANDONED, conversation)
            if conversation is not None:
                await conversation.cancel()
            raise
        self._end(arrival_s, ending, conversation)
        if conversation is None:
            return
        if ending.outcome is Outcome.TIMED_OUT:
            await conversation.cancel()
        elif ending.outcome is Outcome.REFUSED:
            self._resting.append((conversation, left))
        elif ending.outcome is Outcome.COMPLETED and left > 1:
            self._resting.append((conversation, left - 1))

    def _end(self, arrival_s: float, ending: Ending, conversation: Conversation | None) -> None:
        if conversation is not None and ending.outcome not in FINE:
            ending = msgspec.structs.replace(ending, thread_id=conversation.thread_id)
        self.tally.end(arrival_s, self.now_s(), ending)

    async def _conversation(self) -> tuple[Conversation, int]:
        """A session that is at rest, or a new one, with the turns it has left."""
        if self._resting:
            return self._resting.popleft()
        return await self._target.open(next(self._users)), self.plan.turns

    async def _drain(self) -> None:
        """Wait for what is under way, but not for ever; then give it up."""
        plan = self.plan
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=plan.timeout_s if plan.drain_s is None else plan.drain_s)
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _watch(self) -> None:
        """End a row of the timeline again and again."""
        interval_s, number = self.plan.interval_s, 0
        while True:
            number = max(number, int(self.now_s() / interval_s)) + 1  # one who was late leaves rows out
            await self._wait_until(number * interval_s)
            try:
                async with asyncio.timeout(_LOOK_S):
                    seen = await self._target.look()
            except TimeoutError:
                seen = None
            self.on_interval(self.tally.tick(self.now_s(), seen))
