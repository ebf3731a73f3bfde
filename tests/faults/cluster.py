"""A local Greenroom of its own on Ray and Valkey, and how tests end its processes."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors import remote
from actors.errors import DestinationDied
from graphs.journal import JournalEntry
from runtime import Runtime
from runtime.service import ServicePaths, ServiceRecord

PATIENCE_S = 60.0
"""How long a test waits for what ought to be there in a second or two."""


@dataclass
class Cluster:
    """What runs at `home`, as `rt` sees it."""

    home: Path
    rt: Runtime

    def pids(self, kind: str = "") -> dict[str, int]:
        """Address -> process id of the actors of a kind that answer. The supervisor is not needed for it."""
        names = sorted(ray.util.list_named_actors())
        pids = {name: self._pid(name) for name in names if name.startswith(kind)}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def _pid(self, name: str) -> int | None:
        async def ask() -> int | None:
            actor = remote.find(name)
            if actor is None:
                return None
            try:
                async with asyncio.timeout(2.0):
                    return (await remote.whereabouts(actor))[1]
            except (DestinationDied, TimeoutError):
                return None

        return asyncio.run(ask())

    def kill(self, name: str) -> int:
        """SIGKILL an actor process, which is dead when this returns; its process id."""
        pid = self.until(lambda: self._pid(name), f"{name} answers")
        kill(pid)
        return pid

    def kill_store(self) -> int:
        """SIGKILL Valkey, which its keeper starts again."""
        pid = self.until(lambda: ServiceRecord.read(ServicePaths.of(self.home, "valkey")), "there is a Valkey").pid
        kill(pid)
        return pid

    def entries(self, thread_id: str) -> list[JournalEntry]:
        """The journal of a thread, each seq of which must be there once."""
        entries: list[JournalEntry] = self.rt._run(self.rt._client.records.store.journal.read(thread_id))
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        return entries

    def open_threads(self) -> dict[str, str]:
        """Threads that somebody has to work on, with their hosts."""
        return dict(self.rt._run(self.rt._client.records.store.journal.open_threads()))

    def head(self, thread_id: str) -> Any:
        """The record of a thread."""
        return self.rt._run(self.rt._client.records.store.journal.head(thread_id))

    def reached(self, thread_id: str, seq: int) -> Any:
        """Wait until a thread has come so far; its record then."""

        def there() -> Any:
            head = self.head(thread_id)
            return head if head is not None and head.seq >= seq else None

        return self.until(there, f"{thread_id} reaches seq {seq}")

    def over(self, thread_id: str, within_s: float = PATIENCE_S) -> Any:
        """Wait until a thread is over, without asking any actor for it; its record then."""

        def there() -> Any:
            head = self.head(thread_id)
            return head if head is not None and head.cursor.status.finished else None

        return self.until(there, f"{thread_id} is over", within_s)

    @staticmethod
    def until(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
        """Wait until `condition` gives something that is true, and return that."""
        deadline = time.monotonic() + within_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it is not so after {within_s} s that {what}"
            select.select([], [], [], 0.02)
        return found


def kill(pid: int) -> None:
    """SIGKILL a process, which is gone when this returns."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], PATIENCE_S)[0], f"{pid} lives on after SIGKILL"


@contextmanager
def stopped(pid: int) -> Iterator[Callable[[], bool]]:
    """Suspend a process meanwhile; what is given says whether it has ended all the same."""
    descriptor = os.pidfd_open(pid)
    with os.fdopen(descriptor):
        signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
        try:
            yield lambda: bool(select.select([descriptor], [], [], 0)[0])
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
