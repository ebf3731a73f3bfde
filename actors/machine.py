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


def end(pid: int) -> None:
    """End a process at once, even if it is suspended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
