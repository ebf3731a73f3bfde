"""What runs a node of one kind, and what it is told and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.executors.live import LiveReporter
from actors.protocol import RunTool, ToolDone
from graphs.errors import GreenroomError
from graphs.journal import Usage
from graphs.workflow.node import Node
from graphs.workflow.plan import Plan


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
    error: GreenroomError | None = None
    """The failure that led here by an edge for errors."""

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

    def at_most_once(self, plan: Plan, node: Node, state: Mapping[str, Any]) -> bool:
        """Whether `node`, on `state`, must not be called again after a call of which the outcome is unknown."""

    async def run_tool(self, request: RunTool) -> ToolDone:
        """Run a tool outside any thread."""

    async def close(self) -> None:
        """Give back what it holds."""
