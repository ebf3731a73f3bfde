"""What crosses between two processes, and the decisions about it: what goes in which frame, and in which order.

Nothing here waits: `Outbox` (sending end) and `Inbox` (receiving end) are plain objects; `actors.channel` and
`actors.mailbox` do what they say.

A channel numbers its frames 0, 1, 2, ... The receiving end takes them in that order and takes none twice, so a frame
may be sent again when it is not known whether it arrived. It keeps every reply until a later frame says that it has
been received, so replies may be sent again too, and the sending end drops those it has had.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from graphs.errors import ErrorInfo

ASK, TELL, CANCEL, CLOSE = range(4)
"""Kinds of messages: wants a reply; wants none; stops the ask of the same id; the channel is used no more."""

FRAME_BYTES = 4 * 1024 * 1024
"""A frame is cut when its bodies reach this size. A larger body travels alone."""

_SPLIT_FROM_COUNT = 32
_ACK_BYTES = 1024 * 1024


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message of a channel."""

    id: int
    kind: int
    body: bytes


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """What one call carries to the receiving end."""

    channel_id: str
    seq: int
    known: bool
    """True when the receiving end has taken a frame of this channel before: if it has no memory of it, it is not the
    process it was."""
    received: list[int]
    """Ids of the replies that have arrived since the last frame; the receiving end forgets them."""
    messages: list[Message]


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The answer to one ask."""

    id: int
    result: bytes | ErrorInfo

    @property
    def size_bytes(self) -> int:
        """Size of the body; errors count as nothing."""
        return len(self.result) if isinstance(self.result, bytes) else 0


class Replies(msgspec.Struct, frozen=True, array_like=True):
    """What comes back: as the response to a frame, and on the reply stream."""

    replies: list[Reply] = []
    gone: str = ""
    """Not empty: why the receiving end will answer nothing more on this channel."""


encode = msgspec.msgpack.Encoder().encode
decode_frame = msgspec.msgpack.Decoder(Frame).decode
decode_replies = msgspec.msgpack.Decoder(Replies).decode


class Outbox:
    """The sending end: messages that wait, and what goes in the next frame.

    Args:
        channel_id: Unique among all channels to the destination.
        frame_bytes: Where a frame is cut.
    """

    def __init__(self, channel_id: str, *, frame_bytes: int = FRAME_BYTES) -> None:
        self.channel_id = channel_id
        self.known = False
        """Set it when the destination has answered for the first time."""
        self._frame_bytes = frame_bytes
        self._waiting: dict[int, Message] = {}
        self._urgent: list[Message] = []
        self._received: list[int] = []
        self._received_bytes = 0
        self._next_id = 0
        self._next_seq = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, kind: int, body: bytes) -> int:
        """Add a message at the end; its id is returned."""
        message_id = self._next_id
        self._next_id = message_id + 1
        self._waiting[message_id] = Message(message_id, kind, body)
        return message_id

    def cancel(self, message_id: int) -> None:
        """Take an ask back if it still waits; if it was sent, send a cancel after it."""
        if self._waiting.pop(message_id, None) is None:
            self._urgent.append(Message(message_id, CANCEL, b""))

    def received(self, replies: list[Reply], size_bytes: int) -> None:
        """Note that these replies have arrived, `size_bytes` in all, for the next frame to say so."""
        self._received += [reply.id for reply in replies]
        self._received_bytes += size_bytes

    @property
    def must_acknowledge(self) -> bool:
        """True when the destination holds many bytes of replies that have been received."""
        return self._received_bytes > _ACK_BYTES

    def clear(self) -> int:
        """Drop what waits; the number of tells that were dropped is returned."""
        tells_count = sum(message.kind == TELL for message in self._waiting.values())
        self._waiting.clear()
        self._urgent.clear()
        self._received, self._received_bytes = [], 0
        return tells_count

    def frames(self, free_calls: int) -> list[bytes]:
        """The frames to send now, when `free_calls` more calls may be under way.

        Few messages go together in one frame. Many are shared out among the free calls, so that both processes have
        work at the same time. Without messages a frame goes only if it must acknowledge.
        """
        frames: list[bytes] = []
        count = len(self._waiting)
        share = count if count < _SPLIT_FROM_COUNT else -(-count // max(1, free_calls))
        while len(frames) < free_calls and (self._waiting or self._urgent):
            frames.append(self._frame(self._cut(share)))
        if free_calls and not frames and self.must_acknowledge:
            frames.append(self._frame([]))
        return frames

    def _cut(self, count: int) -> list[Message]:
        cut: list[Message] = []
        size_bytes = 0
        for message in islice(self._waiting.values(), count):
            size_bytes += len(message.body)
            if cut and size_bytes > self._frame_bytes:
                break
            cut.append(message)
        if len(cut) == len(self._waiting):
            self._waiting.clear()
        else:
            for message in cut:
                del self._waiting[message.id]
        urgent, self._urgent = self._urgent, []
        return [*urgent, *cut]

    def _frame(self, messages: list[Message]) -> bytes:
        frame = Frame(self.channel_id, self._next_seq, self.known, self._received, messages)
        self._next_seq += 1
        self._received, self._received_bytes = [], 0
        return encode(frame)


class Inbox:
    """The receiving end: which frames are next, and the replies that may have to be sent again."""

    def __init__(self) -> None:
        self._next_seq = 0
        self._early: dict[int, Frame] = {}
        self._kept: dict[int, Reply] = {}
        self._unsent: list[Reply] = []

    def accept(self, frame: Frame) -> list[Frame] | None:
        """The frames whose messages start now, in order: none if an earlier one is missing. None: had this one."""
        if frame.seq < self._next_seq or frame.seq in self._early:
            return None
        self._early[frame.seq] = frame
        ready = []
        while (following := self._early.pop(self._next_seq, None)) is not None:
            self._next_seq += 1
            for message_id in following.received:
                self._kept.pop(message_id, None)
            ready.append(following)
        return ready

    def keep(self, replies: list[Reply]) -> None:
        """Keep replies until a frame says that they were received."""
        self._kept.update((reply.id, reply) for reply in replies)

    def queue(self, reply: Reply) -> None:
        """Keep a reply, and send it on the stream."""
        self._kept[reply.id] = reply
        self._unsent.append(reply)

    def replay(self) -> None:
        """Send everything that is kept on the stream: it is not known what arrived."""
        self._unsent = list(self._kept.values())

    @property
    def has_unsent(self) -> bool:
        """True when the stream has something to send."""
        return bool(self._unsent)

    def take(self, size_bytes: int = FRAME_BYTES) -> list[Reply]:
        """The next batch for the stream, cut at `size_bytes`."""
        total_bytes = 0
        for count, reply in enumerate(self._unsent):
            total_bytes += reply.size_bytes
            if count and total_bytes > size_bytes:
                batch, self._unsent = self._unsent[:count], self._unsent[count:]
                return batch
        batch, self._unsent = self._unsent, []
        return batch
