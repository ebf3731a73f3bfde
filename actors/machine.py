"""Operating system processes of this machine, by their ids. Linux says the most; elsewhere less is known."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process is there and not suspended, as far as can be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "TtZX"


def rss_bytes(pid: int | str = "self") -> int:
    """Physical memory a process has, as the kernel counts it: pages that it shares with others included.

    Args:
        pid: Its id; `self` is this process.

    Returns:
        0 if that is not known: there is no such process, or this is not Linux.
    """
    try:
        statm = Path(f"/proc/{pid}/statm").read_text("ascii")
    except OSError:
        return 0
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def end(pid: int) -> None:
    """End a process at once, even if it is suspended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
