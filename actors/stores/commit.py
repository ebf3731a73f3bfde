"""Group commit: commands that arrive while a round trip is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_result

from actors.errors import Overloaded
from actors.stores.faults import BACKOFF, closed, is_transient, unavailable

MAX_COMMANDS = 512
MAX_BYTES = 4 * 1024 * 1024


class _Item(NamedTuple):
    command: bytes
    answer: asyncio.Future[Any]
    give_up_at: float
    """Loop time."""


class GroupCommit:
    """Sends commands in the order they came, at most one batch at a time; a lone one goes at once.

    A command is sent even if its caller was cancelled meanwhile: whether it was done is then unknown to the caller,
    and the order of the others does not change. Commands must be harmless when done twice.

    Args:
        exchange: Sends packed commands and returns their answers in order, with redis-py's errors as answers
            where a command failed; raises redis-py's errors if the connection did.
        server: Name of the server in errors.
        deadline_s: How long a command is retried while the server is away.
        capacity: Commands that may wait; more are `Overloaded`.
    """

    def __init__(
        self,
        exchange: Callable[[Sequence[bytes]], Awaitable[list[Any]]],
        *,
        server: str,
        deadline_s: float,
        capacity: int = 65_536,
    ) -> None:
        self._exchange = exchange
        self._server = server
        self._deadline_s = deadline_s
        self._capacity = capacity
        self._batch: list[_Item] = []
        self._waiting: deque[_Item] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, command: bytes) -> Any:
        """The answer to `command`.

        Raises:
            Overloaded: Too many commands wait already.
            StoreUnavailable: The server was away until the deadline, or refuses us, or this is closed.
        """
        if self._closed:
            raise closed(self._server)
        if len(self._waiting) >= self._capacity:
            raise Overloaded(
                f"{self._capacity} appends wait for the store at {self._server}; try again later",
                destination=self._server,
                retry_after_s=1.0,
            )
        loop = asyncio.get_running_loop()
        if self._worker is None:
            self._worker = loop.create_task(self._work(), name="group-commit")
            self._worker.add_done_callback(self._end)
        item = _Item(command, loop.create_future(), loop.time() + self._deadline_s)
        self._waiting.append(item)
        self._arrived.set()
        return await item.answer

    async def close(self) -> None:
        """End; commands not answered yet fail with `StoreUnavailable`."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            self._batch = self._next_batch()
            await self._send(self._batch)

    def _end(self, worker: asyncio.Task[None]) -> None:
        """Answer everyone who still waits when the worker has ended, whatever ended it."""
        self._closed = True
        for item in (*self._batch, *self._waiting):
            if not item.answer.done():
                error = closed(self._server)
                error.__cause__ = None if worker.cancelled() else worker.exception()
                item.answer.set_exception(error)
        self._waiting.clear()

    def _next_batch(self) -> list[_Item]:
        batch: list[_Item] = []
        size_bytes = 0
        while self._waiting and len(batch) < MAX_COMMANDS and size_bytes < MAX_BYTES:
            item = self._waiting.popleft()
            batch.append(item)
            size_bytes += len(item.command)
        return batch

    async def _send(self, batch: list[_Item]) -> None:
        left = await self._attempt(batch)
        if not left:  # the common case does without the cost of a retrying object
            return

        async def again() -> bool:
            nonlocal left
            left = await self._attempt(left)
            return bool(left)

        await AsyncRetrying(retry=retry_if_result(bool), wait=BACKOFF)(again)

    async def _attempt(self, items: list[_Item]) -> list[_Item]:
        """Send `items` once; returns those to be tried again."""
        try:
            left, trouble = self._settle(items, await self._exchange([item.command for item in items]))
        except RedisError as error:
            left, trouble = items, error
        if trouble is None:
            return []
        now = asyncio.get_running_loop().time()
        hope = is_transient(trouble)
        self._fail([item for item in left if not hope or item.give_up_at <= now], trouble)
        return [item for item in left if hope and item.give_up_at > now]

    def _fail(self, items: list[_Item], error: RedisError) -> None:
        for item in items:
            if not item.answer.done():
                item.answer.set_exception(unavailable(error, self._server))

    def _settle(self, items: list[_Item], answers: list[Any]) -> tuple[list[_Item], RedisError | None]:
        """Hand out `answers`; what is left are the commands to try again, and why."""
        left: list[_Item] = []
        trouble: RedisError | None = None
        for item, answer in zip(items, answers, strict=True):
            if isinstance(answer, RedisError) and is_transient(answer):
                left.append(item)
                trouble = answer
            elif isinstance(answer, RedisError):
                self._fail([item], answer)
            elif not item.answer.done():
                item.answer.set_result(answer)
        return left, trouble
