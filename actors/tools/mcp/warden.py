"""Runs the program of an MCP server, and ends all of it when whoever asked for it dies; run as a script, stdlib only.

A program that is started by another one (`npx`, `uvx`) and those it starts in turn are one process group with the
warden. The kernel tells the warden when its parent has died (SIGHUP, see `prctl`), and the program when the warden has.
What the program says on its standard error goes to a log file of bounded size. Arguments: the parent's pid, the log
file, the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import IO, Any

PR_SET_PDEATHSIG = 1
LOG_SIZE_BYTES = 1_000_000
LAST_WORDS_S = 0.5
"""How long the last lines of a program that has ended may take to the log."""


def main() -> None:
    """Run the command until it ends, or until the parent does; the end is that of the whole group."""
    parent, log, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    signal.signal(signal.SIGHUP, lambda *_: end())
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is for the program, which is in the same group
    tell_death(signal.SIGHUP)
    if os.getppid() != parent:  # it has died before it could be told
        end()
    try:
        program = subprocess.Popen(  # noqa: S603 - what it is there for
            command,
            stderr=subprocess.PIPE,
            preexec_fn=partial(tell_death, signal.SIGKILL),  # noqa: PLW1509 - there is no thread yet
        )
    except OSError as error:
        with open(log, "a") as file:
            file.write(f"{command[0]} cannot be started: {error}\n")
        return
    assert program.stderr is not None
    words = threading.Thread(target=write_log, args=(program.stderr, log), daemon=True)
    words.start()
    program.wait()
    words.join(LAST_WORDS_S)
    end()


def end() -> None:
    """End every process of this group, and this one with them."""
    os.killpg(0, signal.SIGKILL)


def tell_death(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)


def write_log(source: IO[Any], path: str) -> None:
    """Copy a stream to a file; what is too much goes to `path.1`, and then away."""
    file = open(path, "ab")  # noqa: SIM115
    for chunk in iter(partial(source.read1, 65_536), b""):  # type: ignore[attr-defined]
        if file.tell() > LOG_SIZE_BYTES:
            file.close()
            os.replace(path, f"{path}.1")
            file = open(path, "ab")  # noqa: SIM115
        file.write(chunk)
        file.flush()


if __name__ == "__main__":
    main()
