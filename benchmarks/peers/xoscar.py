"""xoscar: light actors in the processes of a pool."""

from __future__ import annotations

import xoscar


class Echo(xoscar.Actor):
    """An actor that answers with what it was sent."""

    async def handle(self, body: bytes) -> bytes:
        """Answer with the body."""
        return body


class Messages:
    """Calls of an actor in another process, one message each.

    Args:
        body_bytes: Size of the messages.
    """

    def __init__(self, *, body_bytes: int) -> None:
        self._body = b"x" * body_bytes

    async def start(self) -> None:
        """Start a pool, with the actor in its one sub-process."""
        self._pool = await xoscar.create_actor_pool("127.0.0.1", n_process=1)
        strategy = xoscar.allocate_strategy.ProcessIndex(1)
        self._actor = await xoscar.create_actor(Echo, address=self._pool.external_address, allocate_strategy=strategy)

    async def operation(self) -> bytes:
        """One message and its answer."""
        return await self._actor.handle(self._body)

    async def close(self) -> None:
        """Stop the pool."""
        await self._pool.stop()
