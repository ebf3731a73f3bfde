"""The process at the other end of the transports under test. It is imported there by name."""

import asyncio
import os
import signal
import threading

from actors.errors import ToolError
from actors.mailbox import Mailbox


class Desk:
    """Does what the message says."""

    def __init__(self):
        self.mailbox = Mailbox(self)
        self.log = []
        self.release = asyncio.Event()

    async def start(self):
        """Nothing to connect."""

    async def close(self):
        await self.mailbox.close()

    async def handle(self, body):
        order, _, rest = body.partition(b" ")
        match order:
            case b"log":
                self.log.append(rest)
            case b"show":
                return b",".join(self.log)
            case b"typed":
                raise ToolError("no such file; check the path", tool="cat")
            case b"foreign":
                raise ZeroDivisionError("division by zero")
            case b"hold":
                await self._hold(rest)
            case b"release":
                self.release.set()
            case b"close":
                await self.close()
            case b"block":
                threading.Event().wait(float(rest))
            case b"die":
                os.kill(os.getpid(), signal.SIGKILL)
        return rest

    async def _hold(self, name):
        self.log.append(b"held " + name)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.log.append(b"cancelled " + name)
            raise


def build(settings):
    """The factory; `settings` that are not empty make it fail."""
    if settings:
        raise ToolError(settings.decode(), tool="build")
    return Desk()
