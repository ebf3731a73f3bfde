"""What runs a node of one kind, and what it is told and gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.executors.live import LiveReporter
from actors.executors.log import CallLog
from actors.protocol import DiscoverTools, RunTool, ToolDone, ToolsDiscovered
from graphs.errors import GreenroomError
from graphs.history import TokenUsageRecord
from graphs.journal import Usage
from graphs.messages import Message
from graphs.threads import ThreadPriority
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
    priority: ThreadPriority = ThreadPriority.NORMAL
    error: GreenroomError | None = None
    """The failure that led here by an edge for errors."""
    log: CallLog = field(default_factory=CallLog, repr=False, compare=False)
    """Where calls of models and tools are noted, to be recorded with the step."""

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this step, however often it is repeated: `thread:seq`."""
        return f"{self.thread_id}:{self.seq}"

    def record_llm(
        self,
        model: str,
        *,
        prompt: str | Sequence[Message],
        text: str,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
        provider: str = "",
        duration_s: float = 0.0,
    ) -> TokenUsageRecord:
        """Record a call of a model that this function has made itself, as if Greenroom had made it.

        It counts in the usage of the turn, in statistics and in budgets, once, when the step is recorded.

        Args:
            model: What the provider calls the model.
            prompt: What was sent: a text, or messages.
            text: The answer.
            prompt_tokens: As the provider has counted them; without any, tokens are estimated.
            completion_tokens: The same.
            cached_tokens: Those of the prompt that the provider had kept from an earlier one.
            provider: Who serves it, such as `openai`, for its price; empty: whoever is known for the model.
            duration_s: How long it took.

        Returns:
            Its tokens, and what it cost if the price of the model is known.
        """
        messages = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cached_tokens=cached_tokens)
        return self.log.add_llm(
            model,
            messages=messages,
            text=text,
            usage=usage,
            attempt=self.attempt,
            provider=provider,
            duration_s=duration_s,
        )


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """What a node brought."""

    write: Any
    """Channel -> value, or None for nothing; checked against the schema by the executor."""


class NodeRunner(Protocol):
    """Runs one node of one kind."""

    async def run(
        self, plan: Plan, node: Node, state: Mapping[str, Any], context: NodeContext, live: LiveReporter
    ) -> NodeOutput:
        """Run `node` once on `state` (channel -> value)."""

    def at_most_once(self, plan: Plan, node: Node, state: Mapping[str, Any]) -> bool:
        """Whether `node`, on `state`, must not be called again after a call of which the outcome is unknown."""

    async def run_tool(self, request: RunTool | DiscoverTools) -> ToolDone | ToolsDiscovered:
        """Run a tool outside any thread, or find out which there are."""

    async def close(self) -> None:
        """Give back what it holds."""
