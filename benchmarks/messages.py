"""How many messages a second go from one process to another, and how long does one take?

The channel is compared with plain calls of an asynchronous Ray actor in the same cluster. The cluster is tuned as
ours is, and Ray keeps no record of the calls of either actor: the comparison leaves nothing to the channel but its
own work. xoscar's actor is in a process of its pool. AutoGen Core's agent is in the process of the sender: its
messages cross no process, and are passed by reference.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import ray
import typer
import uvloop

from actors.mailbox import Channel, Mailbox
from actors.remote import ray_actor, start, transport
from benchmarks.harness import save
from benchmarks.peers.plain_ray import RAY_ENVIRONMENT, PlainEcho
from benchmarks.peers.process import Peer
from benchmarks.race import Here, Loads, Racer, race, rows_of, show_race

_QUESTION = "messages/s and latency between two processes"
_ROOT = Path(__file__).parent.parent
OURS = "Greenroom channel"


class Echo:
    """A process that answers each message with its own body."""

    def __init__(self) -> None:
        self.mailbox = Mailbox(self)

    async def start(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Close the mailbox."""
        await self.mailbox.close()

    async def handle(self, body: bytes) -> bytes:
        """See `Handler`."""
        return body


def build(_settings: bytes) -> Echo:
    """The factory, called in the actor's process."""
    return Echo()


async def measure(
    body: bytes, in_flight: list[int], rounds: int, seconds: float, peers: bool
) -> tuple[Loads, dict[str, str]]:
    """Measure everybody in turn, every round, at each number of messages in flight."""
    plain = PlainEcho.remote()
    actor = ray_actor("benchmarks.messages:build", b"")
    await start(actor)
    channel = Channel("echo", transport(actor))
    racers: dict[str, Racer] = {
        OURS: Here(lambda: channel.ask(body)),
        "plain Ray actor": Here(lambda: plain.handle.remote(body)),
    }
    if peers:
        racers["xoscar"] = Peer("benchmarks.peers.xoscar:Messages", body_bytes=len(body))
        racers["AutoGen Core, one process"] = Peer("benchmarks.peers.autogen:Messages", body_bytes=len(body))
    measured = await race(racers, in_flight, rounds=rounds, seconds=seconds, unit="messages")
    await channel.close()
    return measured


def run(
    in_flight: Annotated[list[int], typer.Option(help="Messages in flight; may be given several times.")] = [  # noqa: B006
        1,
        16,
        128,
        512,
    ],
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1.0,
    body_bytes: Annotated[int, typer.Option(min=0)] = 100,
    peers: Annotated[bool, typer.Option(help="Measure xoscar and AutoGen Core too.")] = True,
) -> None:
    """Messages between two processes: measure, print a table, and write the result to benchmarks/results/."""
    os.environ |= {"PYTHONPATH": str(_ROOT), **RAY_ENVIRONMENT}  # noqa: TID251
    with tempfile.TemporaryDirectory(prefix="gr-", dir="/tmp") as home:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=home)
        try:
            loads, missing = uvloop.run(measure(b"x" * body_bytes, in_flight, rounds, seconds, peers))
        finally:
            ray.shutdown()
    rows = rows_of(loads, OURS)
    title = f"{_QUESTION}\n{rounds} rounds of {seconds} s, bodies of {body_bytes} bytes; median (lowest-highest)"
    show_race(title, "messages", OURS, rows, missing)
    parameters = {"rounds": rounds, "seconds": seconds, "body_bytes": body_bytes, "missing": missing}
    save("messages", _QUESTION, parameters, rows)


if __name__ == "__main__":
    typer.run(run)
