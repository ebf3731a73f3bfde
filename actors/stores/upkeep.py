"""How large sessions are, which have been idle, and getting rid of them, in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from actors.stores import keys
from actors.stores.checks import at_work
from actors.stores.link import RedisLink
from actors.stores.records import open_session
from graphs.journal import CorruptRecord
from graphs.threads import main_thread_id

T = TypeVar("T")

_PAGE = 1_000
"""Commands sent in one round trip."""


class RedisUpkeep:
    """What is kept of sessions (port `Upkeep`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._prune = link.script("prune")

    async def size(self, session_id: str) -> Mapping[str, int]:
        """Bytes of memory the server has in use for a session, by kind."""
        client = self._link.client
        paths = await self._link.run(lambda: client.lrange(keys.threads(session_id), 0, -1))
        digests = await self._link.run(lambda: client.hkeys(keys.values(session_id)))
        thread_ids = [f"{session_id}:{path.decode()}" for path in paths]
        sizes = dict.fromkeys(("journal", "snapshots", "values", "live", "records"), 0)
        kinds = _keys_by_kind(session_id, thread_ids, [digest.decode() for digest in digests])
        for page in _pages(kinds):
            found = await self._link.run(partial(self._usage, [key for _, key in page]))
            for (kind, _), size_bytes in zip(page, found, strict=True):
                sizes[kind] += size_bytes or 0
        return sizes

    async def idle(self, before: float, *, skip: int = 0, limit: int = 100) -> list[tuple[str, float]]:
        """Sessions last active before a time, with that time: the longest idle first."""
        client = self._link.client
        indexed, known = await self._link.run(self._counts)
        if indexed < known:
            await self._index()
        found = await self._link.run(
            lambda: client.zrangebyscore(
                keys.ACTIVE, "-inf", f"({before!r}", start=max(skip, 0), num=max(limit, 0), withscores=True
            )
        )
        return [(session_id.decode(), at) for session_id, at in found]

    async def prune(self, session_id: str, *, idle_since: float | None = None, force: bool = False) -> bool:
        """Delete all that is stored of a session. Raises `BusinessRuleViolation` for one that is not at rest."""
        answer = await self._link.run(
            partial(self._pruned, session_id, await self._user(session_id), idle_since, force)
        )
        if isinstance(answer, list):
            thread_id, status = answer
            raise at_work(thread_id.decode(), status.decode())
        return bool(answer)

    async def _pruned(self, session_id: str, user_id: str, idle_since: float | None, force: bool) -> Any:
        script_keys = [
            keys.session(session_id),
            keys.threads(session_id),
            keys.values(session_id),
            keys.OPEN,
            keys.TIMERS,
            keys.SNAPSHOT_SESSIONS,
            keys.ACTIVE,
            keys.SESSIONS,
            keys.user_sessions(user_id),
            keys.user_history(user_id),
        ]
        return await self._prune(
            keys=script_keys, args=[session_id, int(force), "" if idle_since is None else repr(idle_since)]
        )

    async def _user(self, session_id: str) -> str:
        key = keys.session(session_id)
        blob = await self._link.run(lambda: self._link.client.hget(key, "session"))
        try:
            return "" if blob is None else open_session(session_id, blob).user_id
        except CorruptRecord:
            return ""  # its user's index names it for good; lists leave out what is not there

    async def _usage(self, names: Sequence[str]) -> Sequence[int | None]:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.memory_usage(name, samples=0)
            found: Sequence[int | None] = await pipeline.execute()
            return found

    async def _counts(self) -> Sequence[int]:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            pipeline.zcard(keys.ACTIVE)
            pipeline.zcard(keys.SESSIONS)
            found: Sequence[int] = await pipeline.execute()
            return found

    async def _index(self) -> None:
        """Bring into the index by activity what was stored before there was one."""
        client = self._link.client
        sessions = await self._link.run(lambda: client.zrange(keys.SESSIONS, 0, -1, withscores=True))
        for page in _pages(sessions):
            await self._link.run(partial(self._index_page, page))

    async def _index_page(self, page: Sequence[tuple[bytes, float]]) -> None:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for session_id, _ in page:
                pipeline.hget(keys.record(main_thread_id(session_id.decode())), "updated_at")
            updated = await pipeline.execute()
            for (session_id, created_at), updated_at in zip(page, updated, strict=True):
                at = max(created_at, float(updated_at or 0))
                pipeline.zadd(keys.ACTIVE, {session_id: at}, nx=True)
            await pipeline.execute()


def _keys_by_kind(session_id: str, thread_ids: Sequence[str], digests: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in (keys.session, keys.interactions, keys.turns, keys.inputs, keys.threads, keys.session_history):
        yield "records", name(session_id)
    yield "snapshots", keys.named_snapshots(session_id)
    yield "values", keys.values(session_id)
    for digest in digests:
        yield "values", keys.value(session_id, digest)
    for thread_id in thread_ids:
        yield "records", keys.record(thread_id)
        yield "journal", keys.journal(thread_id)
        yield "snapshots", keys.snapshots(thread_id)
        yield "live", keys.live(thread_id)


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while page := list(islice(rest, _PAGE)):
        yield page
