"""What an actor process is told when it is built: plain data, filled in by the runtime's configuration."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from actors.llm.settings import ModelSettings
from actors.tools.settings import ToolSettings


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How hosts work."""

    min_hosts: int = 2
    max_hosts: int = 2
    capacity: int = 1_000
    """Turns of main threads that run at once on one host; more wait in the supervisor's queue."""


class ExecutorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the executors of one kind work."""

    processes: int = 1
    concurrency: int = 64
    """Threads for synchronous user code in each process."""
    segment_steps: int = 64
    """Nodes run in a row before the thread's host gets its state back."""


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is deleted by itself; None: nothing."""

    sessions_idle_s: float | None = 30 * 86_400.0
    """Sessions in which nothing has begun or ended for so long."""
    snapshots_per_thread: int | None = 20
    """Named snapshots above so many of one thread, the oldest first; those with the tag `keep` do not count."""
    history_s: float | None = None
    """Records of the history, if they are to be forgotten before their session is; counts stay."""


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of calls."""

    texts: bool = True
    """Whether the texts of requests and answers, and arguments and output of tools, are stored with the calls."""
    redact: str = ""
    """`module:function` that gets each of these texts and gives back what may be stored; empty: all may."""


class ActorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of every actor process of one Greenroom. Holds secrets: never log it."""

    redis_url: str
    """With password; `memory://` only within one process."""
    hosts: HostSettings = HostSettings()
    executors: dict[str, ExecutorSettings] = {}
    """Executor kind -> settings."""
    models: dict[str, ModelSettings] = {}
    tools: ToolSettings = ToolSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics_port: int | None = None
    """Where the supervisor serves metrics on the loopback address; None: nowhere."""
    history: HistorySettings = HistorySettings()
    log_level: str = "WARNING"
    shared_values: str = ""
    """Directory in which the processes of a machine share large values."""

    @property
    def store(self) -> str:
        """`redis_url` without user and password."""
        parts = urlsplit(self.redis_url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"

    def executor(self, kind: str) -> ExecutorSettings:
        """Settings of the executors of `kind`."""
        return self.executors.get(kind, ExecutorSettings())
