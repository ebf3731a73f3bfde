"""The process of a peer: `python -m benchmarks.peers module:class options`. See `Peer`."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from typing import Any

import msgspec

from benchmarks.loads import closed_loop
from benchmarks.peers.process import LOAD, Answer, PeerMissing


async def serve(factory: str, options: dict[str, Any], answers: int) -> None:
    """In the peer's process: do what is asked until it is to close.

    Args:
        factory: See `Peer`.
        options: See `Peer`.
        answers: File descriptor that answers are written to.
    """

    def answer(answer: Answer) -> None:
        with open(answers, "wb", closefd=False) as pipe:
            pipe.write(msgspec.json.encode(answer) + b"\n")

    module, _, name = factory.partition(":")
    try:
        contender = getattr(importlib.import_module(module), name)(**options)
        await contender.start()
    except ModuleNotFoundError as error:
        answer(Answer(missing=f"{error.name} is not installed"))
        return
    except PeerMissing as error:
        answer(Answer(missing=str(error)))
        return
    await contender.operation()
    answer(Answer())
    method = ""
    while method != "close":
        line = await asyncio.to_thread(sys.stdin.buffer.readline)
        method, arguments = msgspec.json.decode(line, type=tuple[str, list[Any]])
        if method == LOAD:
            in_flight, seconds = arguments
            result: Any = await closed_loop(contender.operation, in_flight, seconds=seconds)
        else:
            result = await getattr(contender, method)(*arguments)
        answer(Answer(result=None if method == "operation" else result))


def _main() -> None:
    import uvloop

    # What libraries print goes to the error stream, not between the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    logging.disable(logging.WARNING)
    factory, options = sys.argv[1:]
    uvloop.run(serve(factory, msgspec.json.decode(options), answers))


if __name__ == "__main__":
    _main()
