"""The receiving end of channels: one `Mailbox` in each process that others send messages to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec

from actors.channel import Channel, Transport
from actors.errors import Overloaded
from actors.frames import ASK, CANCEL, CLOSE, Frame, Inbox, Message, Replies, Reply, decode_frame, encode
from graphs.errors import Cancelled, ErrorInfo, GreenroomError, describe

__all__ = ["Channel", "Handler", "Linger", "LocalTransport", "Mailbox", "Transport"]

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 0.1
_STREAM_S = 300.0
_STREAM_COUNT = 10_000


class Linger(NamedTuple):
    """How long a response waits for replies, so that they need no second way back."""

    first_s: float
    """Until there is one."""
    others_s: float
    """From then on, for those of the same frame."""


_LINGER = Linger(first_s=0.02, others_s=0.002)
"""What pays over Ray, where another way back costs as much as a call."""


class Handler(Protocol):
    """What a process does with a message."""

    def handle(self, body: bytes) -> Coroutine[Any, Any, bytes | None]:
        """Handle one message; what is returned answers it (`None`: empty). It runs as a task of its own.

        A `GreenroomError` reaches the caller as it is; any other error as a `NodeError` with its class as `code`.
        """


class _Batch:
    """The asks of one frame whose replies can still go into the response to that frame."""

    def __init__(self, inbox: Inbox, count: int, linger: Linger) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._others_s = linger.others_s
        self.replies: list[Reply] = []
        self.done: asyncio.Future[None] = loop.create_future()
        self._inbox = inbox
        self._missing_count = count
        self._is_open = True
        self._timer = loop.call_later(linger.first_s, self.release)
        if not count:
            self.release()

    def add(self, reply: Reply) -> bool:
        """Take a reply; False if the response has gone."""
        if self._is_open:
            self.replies.append(reply)
            self._missing_count -= 1
            if not self._missing_count:
                self.release()
            elif len(self.replies) == 1:
                # Whoever has an answer waits no longer than this for the others.
                self._timer.cancel()
                self._timer = self._loop.call_later(self._others_s, self.release)
            return True
        return False

    def release(self) -> None:
        """Respond with what there is."""
        if self._is_open:
            self._is_open = False
            self._timer.cancel()
            self._inbox.keep(self.replies)
            if not self.done.done():
                self.done.set_result(None)


class _Box:
    """One channel, as its receiving end sees it."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.asks: dict[int, asyncio.Task[bytes | None]] = {}
        self.batches: dict[int, _Batch] = {}
        """By frame seq, while the response to the frame has not gone."""
        self.stream_number = 0
        """Of the reply stream that was opened last; the ones before it end."""
        self.changed = asyncio.Event()
        self.expiry: asyncio.TimerHandle | None = None

    def replay(self) -> None:
        """Send every reply that is not known to have arrived, on the stream."""
        for batch in self.batches.values():
            batch.release()
        self.inbox.replay()
        self.changed.set()


class Mailbox:
    """Takes frames from any number of channels, runs the handler, and sends the replies back.

    A call is answered when every ask in it is, or as soon as its `Linger` is over, whichever is first: most replies
    need no second way back, and a slow one holds up nothing. Later replies go on the channel's stream. The stream ends
    from time to time, and the sending end opens it again; a channel whose stream is not opened again is that of a dead
    process, and is dropped.

    Args:
        handler: Handles the messages, of all channels.
        capacity: Most messages that are handled at a time. Above it an ask is answered with `Overloaded`, and a tell
            is lost.
        linger: How long calls wait for their replies, unless they say it themselves.
        stream_s: How long a stream stays open without a reply. A channel without a stream for as long is dropped, and
            its asks are cancelled.
        stream_count: Most batches of one stream. (Ray's memory of a stream grows with each batch until it ends.)
    """

    def __init__(
        self,
        handler: Handler,
        *,
        capacity: int = 100_000,
        linger: Linger = _LINGER,
        stream_s: float = _STREAM_S,
        stream_count: int = _STREAM_COUNT,
    ) -> None:
        self.failed_tells_count = 0
        """Tells whose handler raised, or that came above the capacity."""
        self._handler = handler
        self._capacity = capacity
        self._linger = linger
        self._stream_s = stream_s
        self._stream_count = stream_count
        self._boxes: dict[str, _Box] = {}
        self._tasks: set[asyncio.Task[bytes | None]] = set()
        self._closed = False

    async def call(self, frame: bytes, linger: Linger | None = None) -> bytes:
        """Take one frame; the response holds the replies that are there at once."""
        incoming = decode_frame(frame)
        box = self._box(incoming.channel_id, known=incoming.known)
        if box is None:
            return encode(Replies([], self._gone()))
        ready = box.inbox.accept(incoming)
        if ready is None:
            box.replay()
            return encode(Replies())
        ask_count = sum(message.kind == ASK for message in incoming.messages)
        batch = _Batch(box.inbox, ask_count, linger or self._linger)
        box.batches[incoming.seq] = batch
        for following in ready:
            self._start(incoming.channel_id, box, following)
        try:
            await batch.done
        finally:
            batch.release()
            del box.batches[incoming.seq]
        return encode(Replies(batch.replies, self._gone() if self._closed else ""))

    async def replies(self, channel_id: str, *, known: bool) -> AsyncGenerator[bytes, None]:
        """The reply stream of a channel: first everything that may not have arrived, even if that is nothing.

        Args:
            channel_id: Whose replies.
            known: As in `Frame`.
        """
        box = self._box(channel_id, known=known)
        if box is None:
            yield encode(Replies([], self._gone()))
            return
        box.stream_number += 1
        number = box.stream_number
        box.replay()
        try:
            for _ in range(self._stream_count):
                box.changed.clear()
                replies = box.inbox.take()
                gone = self._gone() if self._closed and not box.inbox.has_unsent else ""
                yield encode(Replies(replies, gone))
                if gone or not (box.inbox.has_unsent or await self._change(box)) or box.stream_number != number:
                    return
        finally:
            if box.stream_number == number:
                self._expect_stream(channel_id, box)

    async def close(self) -> None:
        """Stop the handlers. Every ask that is not answered yet fails at its caller with `DestinationDied`."""
        self._closed = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for box in self._boxes.values():
            if box.expiry is not None:
                box.expiry.cancel()
            for batch in box.batches.values():
                batch.release()
            box.changed.set()

    def _gone(self) -> str:
        return "was closed" if self._closed else "does not know this channel (any more): it was started anew"

    def _box(self, channel_id: str, *, known: bool) -> _Box | None:
        if self._closed:
            return None
        box = self._boxes.get(channel_id)
        if box is None and not known:
            box = self._boxes[channel_id] = _Box()
            self._expect_stream(channel_id, box)
        return box

    async def _change(self, box: _Box) -> bool:
        try:
            async with asyncio.timeout(self._stream_s):
                return await box.changed.wait()
        except TimeoutError:
            return False

    def _expect_stream(self, channel_id: str, box: _Box) -> None:
        """Drop the channel unless a stream is opened in time."""
        if box.expiry is not None:
            box.expiry.cancel()
        if not self._closed:
            loop = asyncio.get_running_loop()
            box.expiry = loop.call_later(self._stream_s, self._expire, channel_id, box, box.stream_number)

    def _expire(self, channel_id: str, box: _Box, stream_number: int) -> None:
        if box.stream_number == stream_number:
            self._drop(channel_id, box)

    def _drop(self, channel_id: str, box: _Box) -> None:
        self._boxes.pop(channel_id, None)
        box.stream_number += 1
        box.changed.set()
        if box.expiry is not None:
            box.expiry.cancel()
        for task in box.asks.values():
            task.cancel()

    def _start(self, channel_id: str, box: _Box, frame: Frame) -> None:
        loop = asyncio.get_running_loop()
        batch = box.batches.get(frame.seq)
        for message in frame.messages:
            if message.kind == CANCEL:
                if (task := box.asks.get(message.id)) is not None:
                    task.cancel()
            elif message.kind == CLOSE:
                self._drop(channel_id, box)
            elif len(self._tasks) >= self._capacity:
                self._refuse(box, batch, message)
            else:
                task = loop.create_task(self._handler.handle(message.body))
                self._tasks.add(task)
                if message.kind == ASK:
                    box.asks[message.id] = task
                task.add_done_callback(partial(self._handled, box, batch, message))

    def _refuse(self, box: _Box, batch: _Batch | None, message: Message) -> None:
        text = f"the destination handles {self._capacity} messages already; ask again in {_RETRY_AFTER_S} s"
        if message.kind == ASK:
            error = Overloaded(text, retry_after_s=_RETRY_AFTER_S)
            self._answer(box, batch, Reply(message.id, error.info()))
        else:
            self.failed_tells_count += 1
            _log.error("a message that wants no reply was lost: %s", text)

    def _handled(self, box: _Box, batch: _Batch | None, message: Message, task: asyncio.Task[bytes | None]) -> None:
        self._tasks.discard(task)
        if message.kind == ASK:
            del box.asks[message.id]
            if not (self._closed and task.cancelled()):
                self._answer(box, batch, Reply(message.id, _outcome(task)))
        elif not task.cancelled() and (error := task.exception()) is not None:
            self.failed_tells_count += 1
            _log.error("a message that wants no reply failed: %s", error, exc_info=error)

    def _answer(self, box: _Box, batch: _Batch | None, reply: Reply) -> None:
        if batch is None or not batch.add(reply):
            box.inbox.queue(reply)
            box.changed.set()


def _outcome(task: asyncio.Task[bytes | None]) -> bytes | ErrorInfo:
    """What to answer: the result, or the error as data that can be encoded."""
    if task.cancelled():
        return Cancelled("the message's handler was cancelled").info()
    error = task.exception()
    if error is None:
        result = task.result()
        if result is None or isinstance(result, bytes):
            return result or b""
        error = TypeError(f"a handler returned {type(result).__name__}; return bytes or None")
    if not isinstance(error, GreenroomError):
        _log.error("a message's handler failed: %s", error, exc_info=error)
    info = describe(error)
    try:
        encode(info)
    except TypeError:
        _log.exception("the fields of %s cannot be sent; they must be JSON-able", info.code)
        return msgspec.structs.replace(info, fields={})
    return info


class LocalTransport:
    """To a mailbox in the same event loop, with the same framing as between processes."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def call(self, frame: bytes) -> bytes:
        """See `Transport`."""
        return await self._mailbox.call(frame)

    def replies(self, channel_id: str, *, known: bool) -> AsyncGenerator[bytes, None]:
        """See `Transport`."""
        return self._mailbox.replies(channel_id, known=known)

    async def close(self) -> None:
        """Nothing: the mailbox is somebody else's."""
