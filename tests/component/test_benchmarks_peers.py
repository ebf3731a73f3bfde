"""Peers run in processes of their own, and one that is not installed is no crash."""

from __future__ import annotations

import os

import pytest

from benchmarks.peers.process import Peer, PeerMissing


class Work:
    """A contender that says where it runs."""

    async def start(self) -> None:
        pass

    async def operation(self) -> int:
        return os.getpid()

    async def close(self) -> None:
        pass


class Absent:
    """A contender that needs what nobody has."""

    def __init__(self) -> None:
        import a_package_that_nobody_has  # noqa: F401


async def test_a_peer_is_measured_in_its_own_process() -> None:
    peer = Peer(f"{__name__}:Work")
    await peer.start()

    load = await peer.load(2, 0.01)
    pid = await peer.call("operation")
    await peer.close()

    assert load.per_s > 0
    assert pid != os.getpid()


async def test_a_peer_that_is_not_installed_says_so() -> None:
    peer = Peer(f"{__name__}:Absent")

    with pytest.raises(PeerMissing, match=r"^a_package_that_nobody_has is not installed$"):
        await peer.start()
