"""Operating system processes of this machine, by their ids. Linux says the most; elsewhere less is known."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process is there and not suspended, as far as can be seen."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "Tt"


def born(pid: int) -> str:
    """When a process began, by the kernel's clock: it tells apart two that had one id. Empty if that is not known."""
    stat = _stat(pid)
    return stat[19] if stat else ""


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


def end(pid: int, born_at: str | None = None) -> bool:
    """End a process at once, even if it is suspended.

    Args:
        pid: Its id.
        born_at: What `born` said of it: another one that has this id by now is left alone. None: none can have.

    Returns:
        Whether it was there.
    """
    if born_at is not None and born(pid) != born_at:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing if it has ended, or this is not Linux."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return []
    facts = stat.rpartition(")")[2].split()
    return [] if facts[0] in "ZX" else facts
