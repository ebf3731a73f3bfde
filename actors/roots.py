"""Asking the host of a root thread, wherever that is by now."""

from __future__ import annotations

import msgspec

from actors.errors import ActiveElsewhere, DestinationDied
from actors.network import SUPERVISOR, Network
from actors.patience import patiently
from actors.ports import Clock, Journal
from actors.protocol import Adopt, Done, FetchHosts, HaltThread, Hosts


class Roots:
    """Root threads as the hosts see them that carry others of their sessions.

    Args:
        host: Address of this host, which takes those that no living host has.
        journal: Knows who had each last.
        network: The way to the hosts.
        clock: Time.
    """

    def __init__(self, host: str, journal: Journal, network: Network, clock: Clock) -> None:
        self._host = host
        self._journal = journal
        self._network = network
        self._clock = clock

    async def ask(self, thread_id: str, request: Adopt | HaltThread) -> None:
        """Have `request` carried out by the host of a root thread, and by the next one if that dies."""
        suspect = ""

        async def once() -> None:
            nonlocal suspect
            head = await self._journal.head(thread_id)
            host, lost = self._host, ""
            if head is not None and head.host not in ("", self._host):
                known = (await self._network.ask(SUPERVISOR, FetchHosts(suspect=suspect), Hosts)).hosts
                host, lost = (head.host, "") if head.host in known else (self._host, head.host)
            try:
                await self._network.ask(host, msgspec.structs.replace(request, lost=lost), Done)
            except (DestinationDied, ActiveElsewhere) as error:
                suspect = host
                raise DestinationDied(error.message, destination=host) from error  # to look where it is now

        await patiently(self._clock, once)
