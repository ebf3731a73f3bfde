"""Frames between processes of one machine: over a socket of the kernel, for a tenth of what a Ray call costs.

A process listens on a socket in Linux's abstract namespace: it has no file that could be left behind, goes away with
its process, and cannot be reached from another machine. Both ends make sure that the other one is of the same user.
What cannot be reached this way, and whatever was under way when a connection was lost, goes the way it would have gone
anyhow: frames may be sent twice (see `actors.frames`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import cast

from actors.channel import Transport
from actors.errors import DestinationDied
from actors.frames import FRAME_BYTES
from actors.mailbox import Linger, Mailbox

_log = logging.getLogger(__name__)

_HEAD = struct.Struct("<IIB")
"""Bytes of the body, number of the call or stream, kind."""
_CALL, _STREAM, _KNOWN_STREAM, _DROP, _RESPONSE, _BATCH, _END = range(7)
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group at the other end."""
_CONNECT_S = 2.0
_LINGER = Linger(first_s=0.001, others_s=0.0)
"""Another way back costs next to nothing: a response waits for what is there at once."""


class _Peer(asyncio.Protocol):
    """One end of a connection: cuts what comes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        both_ways = cast("asyncio.Transport", transport)  # that of uvloop does not say so
        peer = both_ways.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(peer)[1] != os.geteuid():
            _log.warning("a process of another user was refused")
            both_ways.abort()
            return
        both_ways.set_write_buffer_limits(high=2 * FRAME_BYTES)
        self._transport = both_ways

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, size = 0, len(buffer)
        while size - at >= _HEAD.size:
            body_bytes, number, kind = _HEAD.unpack_from(buffer, at)
            end = at + _HEAD.size + body_bytes
            if end > size:
                break
            self.received(kind, number, bytes(buffer[at + _HEAD.size : end]))
            at = end
        del buffer[:at]

    def received(self, kind: int, number: int, body: bytes) -> None:
        """Take one message."""
        raise NotImplementedError

    def send(self, kind: int, number: int, body: bytes) -> None:
        """Send one message; it is lost if the connection is."""
        if self._transport is not None:
            self._transport.write(_HEAD.pack(len(body), number, kind) + body)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class _Accepted(_Peer):
    """The receiving process's end."""

    def __init__(self, mailbox: Mailbox, peers: set[_Accepted]) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._peers = peers
        self._calls: set[asyncio.Task[None]] = set()
        self._streams: dict[int, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._peers.discard(self)
        for stream in self._streams.values():
            stream.cancel()

    def received(self, kind: int, number: int, body: bytes) -> None:
        """Take a frame, or open or end a stream."""
        loop = asyncio.get_running_loop()
        if kind == _CALL:
            call = loop.create_task(self._call(number, body))
            self._calls.add(call)
            call.add_done_callback(self._done)
        elif kind == _DROP:
            if number in self._streams:
                self._streams[number].cancel()
        else:
            stream = loop.create_task(self._stream(number, body.decode(), known=kind == _KNOWN_STREAM))
            self._streams[number] = stream
            stream.add_done_callback(partial(self._ended, number))

    async def _call(self, number: int, frame: bytes) -> None:
        self.send(_RESPONSE, number, await self._mailbox.call(frame, _LINGER))

    async def _stream(self, number: int, channel_id: str, *, known: bool) -> None:
        async with contextlib.aclosing(self._mailbox.replies(channel_id, known=known)) as batches:
            async for batch in batches:
                await self._writable.wait()
                self.send(_BATCH, number, batch)
        self.send(_END, number, b"")

    def _ended(self, number: int, stream: asyncio.Task[None]) -> None:
        del self._streams[number]
        self._done(stream)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection is closed", exc_info=error)  # by the other way, the sender learns why
            self.close()


class SocketListener:
    """Takes frames for a mailbox from processes of this machine.

    Args:
        mailbox: Whose frames.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.name = ""
        """Name of the socket; empty where there are none of this kind."""
        self._mailbox = mailbox
        self._server: asyncio.Server | None = None
        self._peers: set[_Accepted] = set()

    async def open(self) -> None:
        """Begin to listen."""
        if sys.platform != "linux":
            return
        name = f"greenroom-{secrets.token_hex(16)}"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(f"\0{name}")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Accepted(self._mailbox, self._peers), sock=listening)
        self.name = name

    async def close(self) -> None:
        """Listen no more, and close what is connected."""
        if self._server is not None:
            self._server.close()
        for peer in tuple(self._peers):
            peer.close()


class _Connected(_Peer):
    """The sending process's end."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False
        self._count = 0
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[int, asyncio.Queue[bytes | None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.is_open = self._transport is not None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.is_open = False
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.done():
                call.set_exception(ConnectionResetError())
        for batches in self._streams.values():
            batches.put_nowait(None)

    def received(self, kind: int, number: int, body: bytes) -> None:
        """Take a response, or the next batch of a stream."""
        if kind == _RESPONSE:
            call = self._calls.pop(number, None)
            if call is not None and not call.done():
                call.set_result(body)
        elif number in self._streams:
            self._streams[number].put_nowait(body if kind == _BATCH else None)

    async def call(self, frame: bytes) -> bytes:
        """The response to a frame. Raises `ConnectionResetError`."""
        number = self._next()
        call: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = call
        self.send(_CALL, number, frame)
        try:
            return await call
        finally:
            self._calls.pop(number, None)

    async def replies(self, channel_id: str, *, known: bool) -> AsyncGenerator[bytes, None]:
        """A channel's stream, until it ends or the connection does."""
        number = self._next()
        # Not bounded here: there are never more replies than asks, which the channel bounds.
        batches = self._streams[number] = asyncio.Queue()
        self.send(_KNOWN_STREAM if known else _STREAM, number, channel_id.encode())
        try:
            while (batch := await batches.get()) is not None:
                yield batch
        finally:
            del self._streams[number]
            self.send(_DROP, number, b"")

    def _next(self) -> int:
        self._count = (self._count + 1) % 2**32
        return self._count


class SocketTransport:
    """To a process that may be on this machine; over its socket if it is.

    Args:
        endpoint: Asks for the name of its socket.
        otherwise: The way to it if it cannot be reached so, or not any more.
    """

    def __init__(self, endpoint: Callable[[], Awaitable[str]], otherwise: Transport) -> None:
        self._endpoint = endpoint
        self._otherwise = otherwise
        self._connecting: asyncio.Task[_Connected | None] | None = None

    async def call(self, frame: bytes) -> bytes:
        """See `Transport`."""
        peer = await self._peer()
        if peer is not None:
            with contextlib.suppress(ConnectionResetError):
                return await peer.call(frame)
        return await self._otherwise.call(frame)

    async def replies(self, channel_id: str, *, known: bool) -> AsyncGenerator[bytes, None]:
        """See `Transport`."""
        peer = await self._peer()
        way: _Connected | Transport = self._otherwise if peer is None else peer
        async with contextlib.aclosing(way.replies(channel_id, known=known)) as batches:
            async for batch in batches:
                yield batch

    async def close(self) -> None:
        """See `Transport`."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            if not self._connecting.cancelled() and (peer := self._connecting.result()) is not None:
                peer.close()
        await self._otherwise.close()

    async def _peer(self) -> _Connected | None:
        """The open connection, if there is one; it is not made a second time."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        if not self._connecting.done():
            await asyncio.wait([self._connecting])
        peer = self._connecting.result()
        return peer if peer is not None and peer.is_open else None

    async def _connect(self) -> _Connected | None:
        try:
            name = await self._endpoint()
            async with asyncio.timeout(_CONNECT_S):
                return await _connected(name) if name else None
        except (DestinationDied, OSError):  # the other way tells what is the matter
            return None


async def _connected(name: str) -> _Connected:
    """A connection to the socket `name`. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        await loop.sock_connect(connecting, f"\0{name}")
        _, peer = await loop.create_unix_connection(_Connected, sock=connecting)
    except BaseException:
        connecting.close()
        raise
    return peer
