"""Executors that died while they ran a step: how many it may take down with it, and when it counts as failed."""

from __future__ import annotations

from dataclasses import dataclass

from graphs.errors import NodeError, NodeTimeout
from graphs.workflow.node import Node

MAX_DEATHS = 10
"""Executors a step may take down with it before it counts as failed."""
OVERDUE_DEATHS = 2
"""The same after the first, if it ran longer than it may each time: it does not stop, and cannot be ended alone."""


@dataclass(slots=True)
class Deaths:
    """Those of one thread."""

    _seq: int = 0
    _count: int = 0
    _overdue_count: int = 0

    def after(self, seq: int) -> int:
        """How many have died while they ran the step that follows `seq`."""
        return self._count if self._seq == seq else 0

    def note(self, seq: int, node: Node, ran_s: float) -> NodeError | None:
        """One more has died while it ran `node`, the step that follows `seq`, for `ran_s` seconds.

        Returns:
            Why the step has failed, if it is not to be run again.
        """
        if self._seq != seq:
            self._seq, self._count, self._overdue_count = seq, 0, 0
        self._count += 1
        is_overdue = node.timeout_s is not None and ran_s > node.timeout_s
        if is_overdue and self._count > 1:  # before that, other steps may have run, too
            self._overdue_count += 1
            if self._overdue_count >= max(OVERDUE_DEATHS, node.retry.max_attempts - 1):
                return NodeTimeout(
                    f"node {node.id!r} ran longer than {node.timeout_s} s and did not stop; make it a plain function "
                    "(def), or let it await what takes long",
                    node=node.id,
                    timeout_s=node.timeout_s,
                )
        if self._count < MAX_DEATHS:
            return None
        return NodeError(
            f"{self._count} executors died while they ran node {node.id!r}; look for what ends its process, such as "
            "memory",
            node=node.id,
            code="ExecutorDied",
        )
