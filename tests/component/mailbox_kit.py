"""What the tests of channels share: a handler with gates, and a way that loses, delays and dies."""

import asyncio
import contextlib

from actors.errors import DestinationDied
from actors.frames import decode_frame
from actors.mailbox import Channel, LocalTransport, Mailbox


class Desk:
    """Answers at once with the body in upper case, but holds messages that start with `hold` until told."""

    def __init__(self):
        self.started = []
        self.cancelled = []
        self.doors = {}
        self.arrivals = asyncio.Event()

    async def handle(self, body):
        self.started.append(body)
        self.arrivals.set()
        if body.startswith(b"hold"):
            try:
                await self.doors.setdefault(body, asyncio.Event()).wait()
            except asyncio.CancelledError:
                self.cancelled.append(body)
                raise
        return body.upper()

    async def arrived(self, count):
        while len(self.started) < count:
            self.arrivals.clear()
            await self.arrivals.wait()

    def release(self, body):
        self.doors.setdefault(body, asyncio.Event()).set()


class Wire(LocalTransport):
    """Counts what is carried, and fails where it is told to."""

    def __init__(self, mailbox):
        super().__init__(mailbox)
        self.frames = []
        self.streams = 0
        self.lose_requests = 0
        self.lose_responses = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.cut = asyncio.Event()
        self.dead = False

    @property
    def counts(self):
        return [len(frame.messages) for frame in self.frames]

    def _check(self):
        if self.dead:
            raise DestinationDied("killed")

    async def call(self, frame):
        self.frames.append(decode_frame(frame))
        await self.gate.wait()
        self._check()
        if self.lose_requests:
            self.lose_requests -= 1
            raise DestinationDied("lost on the way there", unavailable=True)
        replies = await super().call(frame)
        self._check()
        if self.lose_responses:
            self.lose_responses -= 1
            raise DestinationDied("lost on the way back", unavailable=True)
        return replies

    async def replies(self, channel_id, *, known):
        self.streams += 1
        self._check()
        async with contextlib.aclosing(super().replies(channel_id, known=known)) as stream:
            while True:
                following = asyncio.ensure_future(anext(stream, None))
                cut = asyncio.ensure_future(self.cut.wait())
                try:
                    await asyncio.wait([following, cut], return_when=asyncio.FIRST_COMPLETED)
                    self._check()
                    if cut.done():
                        self.cut.clear()
                        raise DestinationDied("the stream broke", unavailable=True)
                    if following.result() is None:
                        return
                    yield following.result()
                finally:
                    for task in (following, cut):
                        task.cancel()
                    await asyncio.gather(following, cut, return_exceptions=True)

    def kill(self):
        self.dead = True
        self.gate.set()
        self.cut.set()


@contextlib.asynccontextmanager
async def connected(handler, *, capacity=10_000, **mailbox_options):
    mailbox = Mailbox(handler, **mailbox_options)
    wire = Wire(mailbox)
    channel = Channel("desk-1", wire, capacity=capacity)
    try:
        yield channel, wire, mailbox
    finally:
        await channel.close()
        await mailbox.close()


async def until(condition):
    """Let other tasks run until `condition()` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
