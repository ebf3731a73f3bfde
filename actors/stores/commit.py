"""Group commit: commands that arrive while a round trip is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from redis import exceptions
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_result

from actors.errors import Overloaded
from actors.stores.faults import BACKOFF, closed, is_transient, unavailable

MAX_COMMANDS = 512
MAX_BYTES = 4 * 1024 * 1024


Answers: TypeAlias = list[Any] | RedisError
"""Of a batch, in order, redis-py's errors among them where a command failed; or why the connection failed."""


class Wire(Protocol):
    """The connection, which carries one batch at a time."""

    async def open(self) -> None:
        """Be connected. Raises redis-py's errors."""

    def send(self, commands: Sequence[bytes], answered: Callable[[Answers], None]) -> bool:
        """Send packed commands; False if there is no connection.

        Args:
            commands: What to send.
            answered: Called once. If the connection has failed, any of the commands may have been done.
        """


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
        wire: The connection.
        server: Name of the server in errors.
        deadline_s: How long a command is retried while the server is away.
        capacity: Commands that may wait; more are `Overloaded`.
    """

    def __init__(self, wire: Wire, *, server: str, deadline_s: float, capacity: int = 65_536) -> None:
        self._wire = wire
        self._server = server
        self._deadline_s = deadline_s
        self._capacity = capacity
        self._batch: list[_Item] = []
        self._waiting: deque[_Item] = deque()
        self._busy = False
        """Whether a batch is under way, or is about to be."""
        self._closed = False
        self._trying: asyncio.Task[None] | None = None
        """Sends what was not done at the first attempt."""

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
        item = _Item(command, loop.create_future(), loop.time() + self._deadline_s)
        self._waiting.append(item)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next)  # with all that come at the same moment
        return await item.answer

    async def close(self) -> None:
        """End; commands not answered yet fail with `StoreUnavailable`."""
        self._end(None)
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait([self._trying])

    def _end(self, cause: BaseException | None) -> None:
        """Answer everyone who still waits."""
        self._closed = True
        for item in (*self._batch, *self._waiting):
            if not item.answer.done():
                error = closed(self._server)
                error.__cause__ = cause
                item.answer.set_exception(error)
        self._waiting.clear()

    def _next(self) -> None:
        """Send what waits."""
        self._batch = self._next_batch()
        if not self._batch:
            self._busy = False
            return
        try:
            if not self._wire.send([item.command for item in self._batch], self._answered):
                self._try(self._batch)
        except Exception as error:
            self._end(error)
            raise

    def _answered(self, answers: Answers) -> None:
        left = self._settle(self._batch, answers)
        if self._closed:
            return
        if left:
            self._try(left)
        else:
            self._next()

    def _next_batch(self) -> list[_Item]:
        batch: list[_Item] = []
        size_bytes = 0
        while self._waiting and len(batch) < MAX_COMMANDS and size_bytes < MAX_BYTES:
            item = self._waiting.popleft()
            batch.append(item)
            size_bytes += len(item.command)
        return batch

    def _try(self, items: list[_Item]) -> None:
        self._trying = asyncio.create_task(self._again(items), name="group-commit")
        self._trying.add_done_callback(self._tried)

    async def _again(self, items: list[_Item]) -> None:
        """Connect if that is needed, and send `items` until nothing is left of them."""

        async def attempt() -> bool:
            nonlocal items
            items = self._settle(items, await self._exchange(items))
            return bool(items)

        await AsyncRetrying(retry=retry_if_result(bool), wait=BACKOFF)(attempt)

    async def _exchange(self, items: list[_Item]) -> Answers:
        answers: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()

        def answered(given: Answers) -> None:
            if not answers.done():
                answers.set_result(given)

        try:
            await self._wire.open()
        except RedisError as error:
            return error
        if not self._wire.send([item.command for item in items], answered):
            return exceptions.ConnectionError("the connection was lost at once")
        return await answers

    def _tried(self, trying: asyncio.Task[None]) -> None:
        if trying.cancelled() or trying.exception() is not None:
            self._end(None if trying.cancelled() else trying.exception())
        else:
            self._next()

    def _settle(self, items: list[_Item], answers: Answers) -> list[_Item]:
        """Hand out `answers`; what is returned is to be tried again."""
        left, trouble = (items, answers) if isinstance(answers, RedisError) else self._hand_out(items, answers)
        if trouble is None:
            return []
        now = asyncio.get_running_loop().time()
        hope = is_transient(trouble)
        self._fail([item for item in left if not hope or item.give_up_at <= now], trouble)
        return [item for item in left if hope and item.give_up_at > now]

    def _hand_out(self, items: list[_Item], answers: list[Any]) -> tuple[list[_Item], RedisError | None]:
        """What is left are the commands that failed for a while, and why."""
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

    def _fail(self, items: list[_Item], error: RedisError) -> None:
        for item in items:
            if not item.answer.done():
                item.answer.set_exception(unavailable(error, self._server))
