"""User code that holds up the event loop of its executor, or goes on when its time is over: it is ended with that."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SLICE_S = 0.25
"""Time is counted in the turns of the thread that watches: one that was suspended itself does not blame others."""
EVERY_S = 1.0
TOLD_AFTER_S = 2.0
GRACE_S = 1.0
"""How long a node may go on when its time is over."""
_FRAMES = 4
"""Innermost calls that are shown."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningNode:
    """One run of a node."""

    workflow: str
    """`id@version`."""
    node: str
    deadline: float | None = None
    """When its time is over, by the monotonic clock."""


class LoopWatch:
    """A thread that asks an event loop for a sign of life, and finds who is at fault when there is none.

    Args:
        address: The executor.
        running: Task -> the node that it runs. Nodes whose own tasks hold up the loop cannot be told from each other.
        leave: Has the executor replaced; called in its loop.
        end: Ends the process.
    """

    def __init__(
        self,
        address: str,
        running: Mapping[asyncio.Task[Any], RunningNode],
        leave: Callable[[], object],
        end: Callable[[], object],
    ) -> None:
        self._address = address
        self._running = running
        self._leave = leave
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._over = threading.Event()
        self._told: set[str] = set()
        self._late: set[asyncio.Task[Any]] = set()
        """Who went on when its time was over, at the last sign of life."""
        threading.Thread(target=self._watch, name="loop watch", daemon=True).start()

    async def close(self) -> None:
        """Watch no more."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            sign = threading.Event()
            try:
                self._loop.call_soon_threadsafe(self._answer, sign)
            except RuntimeError:  # the loop is closed
                return
            slices = 0
            while not sign.wait(SLICE_S) and not self._over.is_set():
                slices += 1
                self._look(slices * SLICE_S)

    def _answer(self, sign: threading.Event) -> None:
        """In the loop: all is well, unless a node goes on that was to stop. A busy loop may have told it just now."""
        sign.set()
        now = time.monotonic()
        before, self._late = self._late, {task for task, node in self._running.items() if is_overdue(node, now)}
        if before & self._late:
            self._leave()

    def _look(self, held_s: float) -> None:
        task = asyncio.current_task(self._loop)
        at_fault = None if task is None else self._running.get(task)
        if at_fault is not None and held_s >= GRACE_S and is_overdue(at_fault, time.monotonic()):
            self._tell(at_fault.node, at_fault.workflow, "is over its time; the process is ended")
            self._end()
        elif held_s >= TOLD_AFTER_S and task is not None:
            nodes = [at_fault] if at_fault is not None else list(self._running.values())
            for each in nodes:
                if each.node not in self._told:
                    self._told.add(each.node)
                    self._tell(each.node, each.workflow, f"has gone on for {held_s:.1f} s without a pause")

    def _tell(self, node: str, workflow: str, what: str) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to another thread's stack
        stack = "" if frame is None else "".join(traceback.format_stack(frame)[-_FRAMES:])
        logger.warning(
            "node %r of %s holds up the event loop of %s, and all that runs there: it %s. Make it a plain function "
            "(def), or await what takes long.\n%s",
            node,
            workflow,
            self._address,
            what,
            stack,
        )


def is_overdue(node: RunningNode, now: float) -> bool:
    """Whether a node still runs though its time is over, and more than that; `now` is by the monotonic clock."""
    return node.deadline is not None and now - node.deadline >= GRACE_S
