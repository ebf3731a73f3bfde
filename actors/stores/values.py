"""Large values of states: in Redis in chunks, so that no command keeps the server from others; and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

from actors.errors import ValueMissing
from actors.stores import keys
from actors.stores.link import RedisLink
from graphs.journal import CorruptRecord
from graphs.state.refs import ValueRef, ref_of
from graphs.threads import session_of

CHUNK_BYTES = 4 * 1024 * 1024


class RedisValues:
    """Large values (port `ValueRepository`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def put(self, thread_id: str, blob: memoryview) -> ValueRef:
        """Store an encoded value for the session of a thread; durable in the store when it returns."""
        ref = await _named(blob)
        client, session_id = self._link.client, session_of(thread_id)
        index, key = keys.values(session_id), keys.value(session_id, ref.digest)
        # Named before it is there, so that whoever deletes the session also finds what a crash has left of it.
        await self._link.run(lambda: client.hsetnx(index, ref.digest, 0))
        if int(await self._link.run(lambda: client.hget(index, ref.digest)) or 0) == ref.size_bytes:
            return ref
        for number, chunk in enumerate(_chunks(blob)):
            await self._link.run(partial(client.hset, key, str(number), chunk))
        await self._link.run(lambda: client.hset(index, ref.digest, ref.size_bytes))
        return ref

    async def get(self, thread_id: str, ref: ValueRef) -> memoryview:
        """The encoded value that `ref` names. Raises `ValueMissing`, `CorruptRecord`."""
        key = keys.value(session_of(thread_id), ref.digest)
        blob, filled, number = bytearray(ref.size_bytes), 0, 0
        while filled < ref.size_bytes:
            chunk: bytes | None = await self._link.run(partial(self._link.client.hget, key, str(number)))
            if not chunk:
                raise _missing(thread_id, key, ref, f"its chunk {number}" if number else "")
            chunk = chunk[: ref.size_bytes - filled]
            blob[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            number += 1
        return await _checked(thread_id, key, ref, memoryview(blob))


class MemoryValues:
    """Large values in a dict (port `ValueRepository`)."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        """Key -> encoded value."""

    async def put(self, thread_id: str, blob: memoryview) -> ValueRef:
        """Store an encoded value for the session of a thread."""
        ref = await _named(blob)
        self.blobs.setdefault(keys.value(session_of(thread_id), ref.digest), bytes(blob))
        return ref

    async def get(self, thread_id: str, ref: ValueRef) -> memoryview:
        """The encoded value that `ref` names. Raises `ValueMissing`, `CorruptRecord`."""
        key = keys.value(session_of(thread_id), ref.digest)
        blob = self.blobs.get(key)
        if blob is None:
            raise _missing(thread_id, key, ref)
        return await _checked(thread_id, key, ref, memoryview(blob))


async def _named(blob: memoryview) -> ValueRef:
    """The reference to `blob`; a long one is hashed in a thread, so that it does not hold up the others."""
    return ref_of(blob) if len(blob) < CHUNK_BYTES else await asyncio.to_thread(ref_of, blob)


def _chunks(blob: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(blob), CHUNK_BYTES):
        yield blob[start : start + CHUNK_BYTES]


def _missing(thread_id: str, key: str, ref: ValueRef, part: str = "") -> ValueMissing:
    return ValueMissing(
        f"{key}: {part or 'the value'} is missing, which thread {thread_id} refers to; restore the store from a backup",
        thread_id=thread_id,
        key=key,
        digest=ref.digest,
    )


async def _checked(thread_id: str, key: str, ref: ValueRef, blob: memoryview) -> memoryview:
    """`blob`, if it is what `ref` names. Raises `CorruptRecord`."""
    if await _named(blob) != ref:
        raise CorruptRecord(
            f"{key}: the value is damaged, which thread {thread_id} refers to",
            key=key,
            thread_id=thread_id,
            seq=0,
            digest=ref.digest,
        )
    return blob
