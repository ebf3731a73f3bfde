"""How many messages a second go from one process to another, and how long does one take?

The channel is compared with plain calls of an asynchronous Ray actor in the same cluster. The cluster is tuned as ours
is, and Ray keeps no record of the calls of either actor: the comparison leaves nothing to the channel but its own work.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import ray
import typer
import uvloop

from actors.mailbox import Channel, Mailbox
from actors.remote import RayTransport, ray_actor, start
from benchmarks.harness import Load, Summary, closed_loop, percentile, progress, save, show

_QUESTION = "messages/s and latency between two processes: coalescing channel against plain Ray actor calls"
_ROOT = Path(__file__).parent.parent
_PLAIN, _CHANNEL = "plain", "channel"


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


@ray.remote(num_cpus=0, enable_task_events=False)
class PlainEcho:
    """The same as a Ray actor that everybody would write."""

    async def handle(self, body: bytes) -> bytes:
        """Answer with the body."""
        return body


async def measure(body: bytes, in_flight: list[int], rounds: int, seconds: float) -> dict[int, dict[str, list[Load]]]:
    """Measure both in turn, every round, at each number of messages in flight."""
    plain = PlainEcho.remote()
    actor = ray_actor("benchmarks.messages:build", b"")
    await start(actor)
    channel = Channel("echo", RayTransport(actor))
    operations: dict[str, Callable[[], Awaitable[Any]]] = {
        _PLAIN: lambda: plain.handle.remote(body),
        _CHANNEL: lambda: channel.ask(body),
    }
    for operation in operations.values():
        assert await operation() == body
    loads: dict[int, dict[str, list[Load]]] = {count: {name: [] for name in operations} for count in in_flight}
    for round_number in range(rounds):
        for count in in_flight:
            for name, operation in operations.items():
                load = await closed_loop(operation, count, seconds=seconds)
                loads[count][name].append(load)
                progress(f"round {round_number + 1}/{rounds}: {count:>4} in flight, {name}: {load.per_s:,.0f}/s")
    await channel.close()
    return loads


def rows_of(loads: dict[int, dict[str, list[Load]]]) -> list[dict[str, Any]]:
    """One row for each number in flight. Ratios are taken within a round; the median of them counts."""
    rows = []
    for count, by_name in loads.items():
        row: dict[str, Any] = {"in_flight": count}
        for name, measured in by_name.items():
            row[name] = {
                "per_s": Summary.of([load.per_s for load in measured]),
                "p50_s": Summary.of([percentile(load.latencies_s, 50) for load in measured]),
                "p99_s": Summary.of([percentile(load.latencies_s, 99) for load in measured]),
            }
        row["ratios"] = {
            key: Summary.of(
                [ours / plain for ours, plain in zip(row[_CHANNEL][key].values, row[_PLAIN][key].values, strict=True)]
            )
            for key in ("per_s", "p50_s")
        }
        rows.append(row)
    return rows


def _cells(row: dict[str, Any], name: str) -> list[str]:
    measured, ratios = row[name], row["ratios"]
    return [
        str(row["in_flight"]),
        name,
        f"{measured['per_s']:,.0f}",
        f"{measured['p50_s'].median * 1e3:.2f}",
        f"{measured['p99_s'].median * 1e3:.2f}",
        *([f"{ratios['per_s']:.1f}", f"{ratios['p50_s']:.2f}"] if name == _CHANNEL else ["", ""]),
    ]


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
) -> None:
    """Messages between two processes: measure, print a table, and write the result to benchmarks/results/."""
    os.environ |= {  # noqa: TID251
        "PYTHONPATH": str(_ROOT),
        "RAY_AUTH_MODE": "disabled",
        "RAY_enable_metrics_collection": "0",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_worker_niceness": "0",
    }
    with tempfile.TemporaryDirectory(prefix="gr-", dir="/tmp") as home:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=home)
        try:
            loads = uvloop.run(measure(b"x" * body_bytes, in_flight, rounds, seconds))
        finally:
            ray.shutdown()
    rows = rows_of(loads)
    show(
        f"{_QUESTION}\n{rounds} rounds of {seconds} s, bodies of {body_bytes} bytes; median (lowest-highest)",
        ["in flight", "", "msg/s", "p50 ms", "p99 ms", "msg/s over plain", "p50 over plain"],
        [_cells(row, name) for row in rows for name in (_PLAIN, _CHANNEL)],
    )
    parameters = {"rounds": rounds, "seconds": seconds, "body_bytes": body_bytes}
    progress(f"written to {save('messages', _QUESTION, parameters, rows)}")


if __name__ == "__main__":
    typer.run(run)
