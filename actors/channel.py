"""The sending end of messages to one process: what waits for a call goes together in the next one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator
from typing import Protocol

import tenacity

from actors.errors import DestinationDied, Overloaded
from actors.frames import ASK, CLOSE, TELL, Outbox, decode_replies
from graphs.errors import ErrorInfo, GreenroomError

_log = logging.getLogger(__name__)

_CALLS = 2
_RETRY_AFTER_S = 0.1
_UNAVAILABLE_S = 2.0


class Transport(Protocol):
    """The way to one destination process."""

    async def call(self, frame: bytes) -> bytes:
        """Carry a frame there; the response is `Replies`.

        Raises:
            DestinationDied: The process has died; with `unavailable=True` if it is only out of reach for now, in which
                case the frame may or may not have arrived.
        """

    def replies(self, channel_id: str, *, known: bool) -> AsyncGenerator[bytes, None]:
        """Open the channel's reply stream; it may end at any time, and is then opened again. Raises as `call`."""

    async def close(self) -> None:
        """Give back what it holds; nothing is under way on it any more."""


def _is_unavailable(error: BaseException) -> bool:
    return isinstance(error, DestinationDied) and bool(error.fields.get("unavailable"))


_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception(_is_unavailable),
    wait=tenacity.wait_exponential_jitter(multiplier=0.02, max=0.5, jitter=0.02),
    stop=tenacity.stop_after_delay(_UNAVAILABLE_S),
    reraise=True,
)


class Channel:
    """Sends messages to one destination process, and hands each reply to the one who asked.

    When no call is under way, a message goes at once in a call of its own, and its reply comes back in the response.
    Messages that come while calls are under way go together in the next. A call never lasts long: replies that are not
    there when it returns come on one stream, so an ask may take hours and hold up nothing. Handlers are started in the
    order in which the messages were sent.

    Must be used in one event loop. A channel that has failed stays failed: make another one to where the destination
    lives now.

    Args:
        destination: Name of the destination, for errors and logs.
        transport: The way to it.
        capacity: Most asks that are not answered yet; a tell is refused when so many messages are not sent yet.
    """

    def __init__(self, destination: str, transport: Transport, *, capacity: int = 10_000) -> None:
        self.destination = destination
        self.lost_tells_count = 0
        """Tells that were not sent because the destination had died."""
        self._transport = transport
        self._capacity = capacity
        self._outbox = Outbox(uuid.uuid4().hex)
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None
        self._is_woken = False
        self._end = ""
        """Why the channel can be used no more."""

    @property
    def ended(self) -> bool:
        """Whether it can be used no more."""
        return bool(self._end)

    async def ask(self, body: bytes, *, timeout_s: float | None = None) -> bytes:
        """Send a message and wait for its reply. Cancelling the caller cancels the handler.

        Args:
            body: Opaque to the channel.
            timeout_s: None waits as long as it takes.

        Raises:
            Overloaded: Too much is pending on this channel, or at the destination.
            DestinationDied: The destination died before it answered; it may or may not have handled the message.
            TimeoutError: No reply in time; the handler is cancelled.
            GreenroomError: What the handler raised.
        """
        if self._end:
            raise self._death()
        if len(self._pending) >= self._capacity:
            raise self._overload()
        message_id = self._outbox.put(ASK, body)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[message_id] = future
        self._wake()
        try:
            if timeout_s is None:
                return await future
            async with asyncio.timeout(timeout_s):
                return await future
        finally:
            if self._pending.pop(message_id, None) is not None:
                self._outbox.cancel(message_id)
                self._wake()

    def tell(self, body: bytes) -> None:
        """Send a message that has no reply. If the destination has died, it is logged and counted as lost.

        Raises:
            Overloaded: Too much is pending on this channel.
        """
        if self._end:
            self._lose_tells(1)
            return
        if len(self._outbox) >= self._capacity:
            raise self._overload()
        self._outbox.put(TELL, body)
        self._wake()

    async def close(self) -> None:
        """Send what waits, and let the destination forget the channel. Pending asks fail, and are cancelled."""
        if not self._end and (self._listener is not None or self._outbox):
            self._end = "is no longer talked to: the channel was closed"
            self._fail_pending()
            self._outbox.put(CLOSE, b"")
            self._flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_UNAVAILABLE_S):
                    while self._calls:
                        await asyncio.wait(self._calls)
        self._stop("is no longer talked to: the channel was closed")
        if self._listener is not None:
            await asyncio.wait([self._listener, *self._calls])
        await self._transport.close()

    def _overload(self) -> Overloaded:
        return Overloaded(
            f"{self._capacity} messages to {self.destination} are pending; try again in {_RETRY_AFTER_S} s",
            destination=self.destination,
            retry_after_s=_RETRY_AFTER_S,
        )

    def _death(self) -> DestinationDied:
        return DestinationDied(
            f"{self.destination} {self._end}; look up where it lives now, and ask again",
            destination=self.destination,
        )

    def _wake(self) -> None:
        """Send in the next turn of the event loop, so that messages of this turn go together."""
        if not self._is_woken and len(self._calls) < _CALLS:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_woken = False
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
            self._listener.add_done_callback(self._check)
        for frame in self._outbox.frames(_CALLS - len(self._calls)):
            call = asyncio.create_task(self._carry(frame))
            self._calls.add(call)
            call.add_done_callback(self._carried)

    async def _carry(self, frame: bytes) -> None:
        try:
            replies = await self._transport.call(frame)
        except DestinationDied as error:
            if not _is_unavailable(error):
                raise
            replies = await _patiently(self._transport.call)(frame)
        self._accept(replies)

    def _carried(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._check(call)
        self._flush()

    async def _listen(self) -> None:
        # Not `while True`: a stream that never makes this task wait would never let its cancellation in.
        while not self._end:
            stream = await self._open()
            try:
                async for replies in stream:
                    self._accept(replies)
            except DestinationDied as error:
                if not _is_unavailable(error):
                    raise

    @_patiently
    async def _open(self) -> AsyncGenerator[bytes, None]:
        stream = self._transport.replies(self._outbox.channel_id, known=self._outbox.known)
        first = await anext(stream, None)
        if first is None:
            raise DestinationDied("a reply stream ended before it began", unavailable=True)
        self._accept(first)
        return stream

    def _accept(self, replies: bytes) -> None:
        incoming = decode_replies(replies)
        self._outbox.known = True
        self._outbox.received(incoming.replies, len(replies))
        for reply in incoming.replies:
            future = self._pending.pop(reply.id, None)
            if future is None or future.done():
                continue
            if isinstance(reply.result, bytes):
                future.set_result(reply.result)
            else:
                future.set_exception(self._error(reply.result))
        if incoming.gone:
            self._stop(incoming.gone)
        elif self._outbox.must_acknowledge:
            self._wake()

    def _error(self, info: ErrorInfo) -> GreenroomError:
        error = GreenroomError.from_info(info)
        if isinstance(error, Overloaded):
            error.fields.setdefault("destination", self.destination)
        return error

    def _check(self, task: asyncio.Task[None]) -> None:
        """Stop if a call or the listener has failed: nothing that is pending would be answered."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DestinationDied):
            self._stop(f"died ({error.message})")
        elif error is not None:
            _log.error("the channel to %s failed", self.destination, exc_info=error)
            self._stop(f"cannot be talked to ({type(error).__name__}: {error})")

    def _stop(self, reason: str) -> None:
        self._end = self._end or reason
        self._lose_tells(self._outbox.clear())
        self._fail_pending()
        for task in (self._listener, *self._calls):
            if task is not None:
                task.cancel()

    def _fail_pending(self) -> None:
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(self._death())

    def _lose_tells(self, count: int) -> None:
        if count:
            self.lost_tells_count += count
            _log.warning("%d messages to %s are lost: it %s", count, self.destination, self._end)
