"""Sealed bytes of every record that is not an entry or a snapshot: a CRC-32, then msgpack."""

from __future__ import annotations

import zlib
from typing import Generic, TypeVar

import msgspec

from actors.ports import NodeRunning, TokenChunk
from actors.stores import keys
from graphs.journal import CorruptRecord, Cursor
from graphs.sessions import Session, UserInteraction
from graphs.state.snapshots import StateSnapshot
from graphs.threads import Thread, main_thread_id

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def seal_bytes(body: bytes) -> bytes:
    """`body` behind its CRC-32."""
    return zlib.crc32(body).to_bytes(4, "big") + body


def open_bytes(blob: bytes, *, key: str, thread_id: str = "", seq: int = 0) -> bytes:
    """What `seal_bytes` was given. Raises `CorruptRecord`."""
    body = blob[4:]
    if len(blob) < 4 or zlib.crc32(body) != int.from_bytes(blob[:4], "big"):
        raise CorruptRecord(f"{key}: the checksum is wrong", key=key, thread_id=thread_id, seq=seq)
    return body


class Codec(Generic[T]):
    """Records of one type to sealed bytes and back."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)

    def encode(self, record: T) -> bytes:
        """The sealed bytes of `record`."""
        return seal_bytes(_encoder.encode(record))

    def decode(self, blob: bytes, *, key: str, thread_id: str = "", seq: int = 0) -> T:
        """The record in `blob`. Raises `CorruptRecord` naming where it stands."""
        body = open_bytes(blob, key=key, thread_id=thread_id, seq=seq)
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise CorruptRecord(f"{key}: {error}", key=key, thread_id=thread_id, seq=seq) from error


def open_session(session_id: str, blob: bytes) -> Session:
    """A stored session. Raises `CorruptRecord`."""
    return SESSION.decode(blob, key=keys.session(session_id), thread_id=main_thread_id(session_id))


def open_interaction(session_id: str, turn: int, blob: bytes, content: bytes | None) -> UserInteraction:
    """A stored interaction with its input, if that is there still. Raises `CorruptRecord`."""
    thread_id = main_thread_id(session_id)
    try:
        interaction = INTERACTION.decode(blob, key=keys.interactions(session_id), thread_id=thread_id)
        if content is None:
            return interaction
        given = open_bytes(content, key=keys.inputs(session_id), thread_id=thread_id)
    except CorruptRecord as error:
        raise CorruptRecord(f"{error.message} (turn {turn})", **error.fields) from None
    return msgspec.structs.replace(interaction, content=given)


THREAD = Codec(Thread)
CURSOR = Codec(Cursor)
SESSION = Codec(Session)
SNAPSHOT = Codec(StateSnapshot)
INTERACTION = Codec(UserInteraction)
EVENTS: Codec[list[NodeRunning | TokenChunk]] = Codec(list[NodeRunning | TokenChunk])
