"""AutoGen Core: agents that send each other messages, in one process."""

from __future__ import annotations

from dataclasses import dataclass

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler


@dataclass
class Body:
    """A message."""

    content: str


class Echo(RoutedAgent):
    """An agent that answers with what it was sent."""

    def __init__(self) -> None:
        super().__init__("echo")

    @message_handler
    async def handle(self, message: Body, ctx: MessageContext) -> Body:
        """Answer with the message."""
        return message


class Messages:
    """Messages to an agent of the same process: AutoGen Core has no other runtime that is not experimental.

    Args:
        body_bytes: Size of the messages.
    """

    def __init__(self, *, body_bytes: int) -> None:
        self._message = Body("x" * body_bytes)

    async def start(self) -> None:
        """Register the agent."""
        self._runtime = SingleThreadedAgentRuntime()
        await Echo.register(self._runtime, "echo", Echo)
        self._runtime.start()

    async def operation(self) -> Body:
        """One message and its answer."""
        return await self._runtime.send_message(self._message, AgentId("echo", "default"))

    async def close(self) -> None:
        """Stop the runtime."""
        await self._runtime.stop()
