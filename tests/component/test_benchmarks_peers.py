"""Peers run in processes of their own, and one that is not installed is no crash."""

from __future__ import annotations

import pytest

from benchmarks.loads import Load
from benchmarks.peers.process import Peer, PeerFailed, PeerMissing

BURNING = "benchmarks.peers.burn:Burning"


async def test_a_peer_is_measured_in_its_own_process() -> None:
    peer = Peer(BURNING, branches=1, loops=10)
    await peer.start()

    await peer.once()
    load = await peer.load(2, 0.01)
    with pytest.raises(PeerFailed, match=f"^{BURNING} ended with code 1$"):
        await peer.call("a_method_it_does_not_have")

    assert isinstance(load, Load)
    assert load.per_s > 0
    assert len(load.latencies_s) > 1


async def test_a_peer_is_closed_with_its_process() -> None:
    peer = Peer(BURNING, branches=1, loops=10)
    await peer.start()

    await peer.close()

    with pytest.raises(PeerFailed, match=f"^{BURNING} ended with code 0$"):
        await peer.once()


async def test_a_peer_that_is_not_installed_says_so() -> None:
    peer = Peer("benchmarks.peers.a_module_that_nobody_has:Chain")

    with pytest.raises(PeerMissing, match=r"^benchmarks\.peers\.a_module_that_nobody_has is not installed$"):
        await peer.start()
