"""How an actor reaches another: by address, over one coalescing channel to each process."""

from __future__ import annotations

import logging
from typing import Protocol, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from actors.errors import DestinationDied
from actors.mailbox import Channel, LocalTransport, Mailbox
from actors.protocol import Message, decode_reply, encode

_Reply = TypeVar("_Reply", bound=Message)

logger = logging.getLogger(__name__)

SUPERVISOR = "supervisor"
"""Address of the supervisor."""
SUPERVISOR_PATIENCE_S = 60.0
"""How long a supervisor that has died may take to be back."""


class Dialer(Protocol):
    """Opens channels: over Ray, or within the process."""

    async def dial(self, address: str) -> Channel:
        """A new channel to the process at `address`. Raises `DestinationDied` if there is none."""


class Network:
    """The channels of one process, opened when first needed.

    Args:
        dialer: Opens channels to other processes.
        address: Its own address; empty for a driver.
        mailbox: Its own mailbox: what it sends itself never leaves it. (Ray now and then loses batches of a stream that
            the process reads which writes it.)
    """

    def __init__(self, dialer: Dialer, address: str = "", mailbox: Mailbox | None = None) -> None:
        self._dialer = dialer
        self._address = address
        self._mailbox = mailbox
        self._channels: dict[str, Channel] = {}

    async def ask(self, address: str, message: Message, expected: type[_Reply]) -> _Reply:
        """Send `message` and wait for the reply. The supervisor is asked again when it dies: it comes back.

        Raises:
            DestinationDied: The process is gone; it may or may not have handled the message.
            Overloaded: Too many messages are pending.
            GreenroomError: What the handler raised.
        """
        try:
            return await self._ask(address, message, expected)  # the common case needs no retrying object
        except DestinationDied as error:
            if not _is_supervisor(error):
                raise
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_supervisor),
            stop=stop_after_delay(SUPERVISOR_PATIENCE_S),
            wait=wait_random_exponential(0.05, max=1),
            reraise=True,
        )
        return await retrying(self._ask, address, message, expected)

    async def _ask(self, address: str, message: Message, expected: type[_Reply]) -> _Reply:
        channel = await self._channel(address)
        try:
            return decode_reply(await channel.ask(encode(message)), expected)
        except DestinationDied:
            # The handler may have said so of someone else: then this channel is as good as before.
            if channel.ended and self._channels.get(address) is channel:
                await self.forget(address)
            raise

    async def tell(self, address: str, message: Message) -> None:
        """Send `message` without waiting for anything. If the process is gone, it is lost."""
        try:
            channel = await self._channel(address)
        except DestinationDied as error:
            logger.info("a %s is lost: %s", type(message).__name__, error)
            return
        channel.tell(encode(message))

    async def forget(self, address: str) -> None:
        """Close the channel to a process that is gone."""
        channel = self._channels.pop(address, None)
        if channel is not None:
            await channel.close()

    async def close(self) -> None:
        """Close all channels; what is pending fails."""
        for address in list(self._channels):
            await self.forget(address)

    async def _channel(self, address: str) -> Channel:
        channel = self._channels.get(address)
        if channel is not None and channel.ended:
            await self.forget(address)
            channel = self._channels.get(address)
        if channel is None:
            if self._mailbox is not None and address == self._address:
                opened = Channel(address, LocalTransport(self._mailbox))
            else:
                opened = await self._dialer.dial(address)
            channel = self._channels.setdefault(address, opened)
            if channel is not opened:
                await opened.close()
        return channel


def _is_supervisor(error: BaseException) -> bool:
    return isinstance(error, DestinationDied) and error.fields.get("destination") == SUPERVISOR
