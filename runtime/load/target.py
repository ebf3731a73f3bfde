"""What is put under load: sessions of a runtime, and what can be seen of its processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from actors import machine
from actors.protocol import Cluster
from graphs.errors import BusinessRuleViolation, GreenroomError
from graphs.threads import ThreadPriority, ThreadState
from runtime import services
from runtime.client import AsyncClient
from runtime.handles import AsyncSession
from runtime.load.tally import COMPLETED, Ending, Outcome, Seen
from runtime.servers import ValkeyService

_CANCEL_S = 5.0
_DELETIONS = 32
_PAGE = 500


class Conversation(Protocol):
    """A session under load."""

    @property
    def thread_id(self) -> str:
        """Its main thread."""

    async def turn(self, content: Mapping[str, Any], priority: ThreadPriority) -> Ending:
        """Run a turn to its end. Raises `GreenroomError`."""

    async def cancel(self) -> None:
        """Cancel the turn that runs, as far as that can be done in a moment."""


class Target(Protocol):
    """What is put under load."""

    async def open(self, user: int) -> Conversation:
        """Begin a session of a user. Raises `GreenroomError`."""

    async def look(self) -> Seen | None:
        """What there is to see of the processes now; None if nobody answers."""


class RuntimeTarget:
    """A workflow of a runtime.

    Args:
        client: The runtime.
        workflow: The deployed workflow.
        run_id: Part of the users' ids: nobody else has it.
        home: Where the local services are, if the store is one of them.
    """

    def __init__(self, client: AsyncClient, workflow: str, run_id: str, home: Path | None = None) -> None:
        self._client = client
        self._workflow = workflow
        self._run_id = run_id
        self._home = home

    async def open(self, user: int) -> SessionConversation:
        """See `Target`."""
        session = await self._client.session(self._workflow, user_id=self._user(user))
        return SessionConversation(self._client, session)

    async def look(self) -> Seen | None:
        """See `Target`."""
        try:
            cluster = await self._client.cluster()
        except GreenroomError:
            return None
        store_pid = services.status(self._home, ValkeyService.name).pid if self._home is not None else None
        store_bytes = 0 if store_pid is None else machine.rss_bytes(store_pid)
        return seen(cluster, driver_bytes=machine.rss_bytes(), store_bytes=store_bytes)

    async def delete_sessions(self, users: int, keep: Collection[str]) -> int:
        """Delete the sessions of this run that are at rest, but for those in `keep`; how many is returned."""
        store, count = self._client.records.store, 0
        slots = asyncio.Semaphore(_DELETIONS)

        async def delete(session_id: str) -> bool:
            async with slots:
                with contextlib.suppress(BusinessRuleViolation):  # a turn that was given up runs on
                    return await store.upkeep.prune(session_id)
                return False

        for user in range(users):
            deleted = True
            while deleted and (page := await store.sessions.list(user_id=self._user(user), limit=_PAGE)):
                gone = await asyncio.gather(*(delete(session.id) for session in page if session.id not in keep))
                deleted = any(gone)
                count += sum(gone)
        return count

    def _user(self, number: int) -> str:
        return f"load-{self._run_id}-{number}"


class SessionConversation:
    """A session of a runtime (`Conversation`)."""

    def __init__(self, client: AsyncClient, session: AsyncSession) -> None:
        self._client = client
        self._session = session

    @property
    def thread_id(self) -> str:
        """See `Conversation`."""
        return self._session.thread

    async def turn(self, content: Mapping[str, Any], priority: ThreadPriority) -> Ending:
        """See `Conversation`."""
        result = await self._session.run(content, priority=priority)
        match result.status:
            case ThreadState.COMPLETED:
                return COMPLETED
            case ThreadState.PAUSED:
                return Ending(outcome=Outcome.PAUSED)
            case _:
                assert result.error is not None, "a turn that did not complete says why"
                info = result.error.info()
                code = str(info.fields.get("code", info.code))
                return Ending(outcome=Outcome.FAILED, error=code, message=info.message)

    async def cancel(self) -> None:
        """See `Conversation`."""
        # Should it not be possible, there is no more to do from here: the turn is in the journal.
        with contextlib.suppress(TimeoutError, GreenroomError):
            async with asyncio.timeout(_CANCEL_S):
                await (await self._client.thread(self._session.thread)).cancel("the load test does not wait for it")


def seen(cluster: Cluster, *, driver_bytes: int, store_bytes: int) -> Seen:
    """What a cluster shows. Processes that are objects in the driver's own have no memory of their own."""
    memory: defaultdict[str, int] = defaultdict(int, driver=driver_bytes)
    hosts = executors = running = 0
    is_local = all(not process.pid for process in cluster.processes)
    for process in cluster.processes:
        if process.kind == "host":
            hosts += 1
            running += process.facts.threads
        else:
            executors += 1
        if not is_local:
            memory["hosts" if process.kind == "host" else "executors"] += process.facts.rss_bytes
    if not is_local:
        memory["supervisor"] += cluster.supervisor_rss_bytes
    memory["store"] += store_bytes
    return Seen(
        hosts=hosts,
        executors=executors,
        running=running,
        waiting=cluster.waiting,
        memory_bytes={kind: size_bytes for kind, size_bytes in memory.items() if size_bytes},
    )
