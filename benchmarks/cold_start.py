"""How long from nothing to the first result: `greenroom run`, against Ray alone?

Greenroom starts a store, Ray and its actors. Both are new processes, measured from their start until they print a
result. Ray's is a script that starts Ray, tuned as ours is, and one actor, and calls it. Nothing of either runs before.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness import Summary, progress, save, show
from benchmarks.peers.plain_ray import RAY_ENVIRONMENT

_QUESTION = "seconds from nothing to the first result"
TARGET_S = 4.0
"""Over Ray's own start."""

WORKFLOW = """
from pydantic import BaseModel
from runtime import END, START, Graph

class Greeting(BaseModel):
    text: str = ""

g = Graph("benchmark-cold", state=Greeting)

@g.node
def greet(state: Greeting) -> dict:
    return {"text": "first result"}

g.edge(START, "greet")
g.edge("greet", END)
"""
RAY_SCRIPT = """
import sys
import ray

@ray.remote(num_cpus=0)
class Greeter:
    def greet(self):
        return "first result"

ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=sys.argv[1])
print(ray.get(Greeter.remote().greet.remote()), flush=True)
"""
_ENDED_WITHIN_S = 120.0


async def first_result(command: list[str], environment: dict[str, str]) -> float:
    """Seconds until a program prints the result; it is waited for until it has ended."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,  # noqa: TID251
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(_ENDED_WITHIN_S):
        printed_s = None
        async for line in process.stdout:
            if b"first result" in line and printed_s is None:
                printed_s = time.perf_counter() - began
        assert await process.wait() == 0, f"{command} failed"
    assert printed_s is not None, f"{command} printed no result"
    return printed_s


async def measure(rounds: int) -> dict[str, list[float]]:
    """Each in turn, every round."""
    seconds: dict[str, list[float]] = {"greenroom run, cold": [], "greenroom run, services up": [], "Ray alone": []}
    greenroom = [sys.executable, "-m", "runtime.cli"]
    with tempfile.TemporaryDirectory(prefix="gr-cold-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        workflow, ray_script = Path(directory) / "cold.py", Path(directory) / "plain.py"
        workflow.write_text(WORKFLOW)
        ray_script.write_text(RAY_SCRIPT)
        command = [*greenroom, "run", f"{workflow}:g", "--input", "{}"]
        for number in range(rounds):
            home = {"GREENROOM_HOME": f"{directory}/home{number}"}
            cold = await first_result(command, home)
            await _ended(home)
            plain = await first_result([sys.executable, str(ray_script), f"{directory}/r{number}"], RAY_ENVIRONMENT)
            await _call([*greenroom, "up"], home)
            await first_result(command, home)  # its actors are there then
            warm = await first_result(command, home)
            await _call([*greenroom, "down"], home)
            for values, value in zip(seconds.values(), (cold, warm, plain), strict=True):
                values.append(value)
            progress(f"round {number + 1}/{rounds}: cold {cold:.2f} s, warm {warm:.2f} s, Ray alone {plain:.2f} s")
    return seconds


async def _call(command: list[str], environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,  # noqa: TID251
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0, f"{command} failed"


async def _ended(environment: dict[str, str]) -> None:
    """Wait until the services have ended after their last user."""
    await _call([sys.executable, "-m", "runtime.cli", "down"], environment)


def run(rounds: Annotated[int, typer.Option(min=1)] = 3) -> None:
    """Cold starts: measure, print a table, and write the result to benchmarks/results/."""
    seconds = asyncio.run(measure(rounds))
    cold, _, plain = seconds.values()
    over = Summary.of([ours - theirs for ours, theirs in zip(cold, plain, strict=True)])
    show(
        f"{_QUESTION}\n{rounds} rounds; median; cold over Ray alone: {over:.2f} s, to reach: {TARGET_S}",
        ["", "seconds"],
        [[name, f"{Summary.of(values):.2f}"] for name, values in seconds.items()],
    )
    rows = [{"contender": name, "seconds": Summary.of(values)} for name, values in seconds.items()]
    save("cold_start", _QUESTION, {"rounds": rounds}, [*rows, {"contender": "cold over Ray alone", "seconds": over}])


if __name__ == "__main__":
    typer.run(run)
