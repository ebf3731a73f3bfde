"""Asking by address: other processes over the way there is, oneself without any."""

from __future__ import annotations

import pytest

from actors.errors import DestinationDied
from actors.mailbox import Channel, LocalTransport, Mailbox
from actors.network import Network
from actors.protocol import Done, FetchHosts, Hosts, decode_request, encode


class Answering:
    """Answers with the name of the one it is."""

    def __init__(self, name: str) -> None:
        self.mailbox = Mailbox(self)
        self._name = name

    async def handle(self, body: bytes) -> bytes:
        decode_request(body)
        return encode(Hosts(hosts=(self._name,), store=""))


class Street:
    """Processes by address."""

    def __init__(self, *processes: tuple[str, Answering]) -> None:
        self.dialled: list[str] = []
        self._processes = dict(processes)

    async def dial(self, address: str) -> Channel:
        self.dialled.append(address)
        if address not in self._processes:
            raise DestinationDied(f"there is no {address}", destination=address)
        return Channel(address, LocalTransport(self._processes[address].mailbox))


async def test_what_a_process_sends_itself_never_leaves_it() -> None:
    here, there = Answering("here"), Answering("there")
    street = Street(("there", there))
    network = Network(street, "here", here.mailbox)
    answers = [(await network.ask(name, FetchHosts(), Hosts)).hosts for name in ("here", "there", "here")]

    assert answers == [("here",), ("there",), ("here",)]
    assert street.dialled == ["there"]

    await network.close()
    for process in (here, there):
        await process.mailbox.close()


async def test_a_process_that_is_not_there() -> None:
    network = Network(Street())

    with pytest.raises(DestinationDied, match="there is no nobody"):
        await network.ask("nobody", FetchHosts(), Done)
