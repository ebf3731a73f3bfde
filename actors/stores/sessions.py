"""Sessions in Redis: one hash each, and sorted sets over all of them and over each user's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from actors.errors import ActiveElsewhere
from actors.ports import Head, Opening
from actors.stores import keys
from actors.stores.calls import accept_call, accepted, activate_call, open_call, opened
from actors.stores.checks import changed, check_activate, check_append, completed, no_session, not_over
from actors.stores.link import RedisLink
from actors.stores.records import SESSION, open_interaction, open_session
from actors.stores.rows import used
from actors.stores.writer import ScriptWriter
from graphs.journal import Usage
from graphs.sessions import Session, SessionState, UserInteraction
from graphs.threads import Thread, main_thread_id

_FIELD = "session"
_STATE = "state"
"""Beside the record, for scripts; not there while the session is active."""


class RedisSessions:
    """Session records and the index over them (port `SessionRepository`)."""

    def __init__(self, link: RedisLink, writer: ScriptWriter) -> None:
        self._link = link
        self._writer = writer
        self._complete = link.script("complete")
        self._change = link.script("change")
        self._settle = link.script("settle")

    async def save(self, session: Session) -> None:
        """Create or replace."""
        before = await self.find_by_id(session.id)
        await self._link.run(partial(self._save, session, before))

    async def create(self, session: Session, *, alias: str = "") -> Session | None:
        """Store unless the id exists; the stored one is returned. None if `alias` is not its workflow any more."""
        indexes = keys.SESSIONS, keys.user_sessions(session.user_id), keys.ACTIVE
        latest = (keys.latest(alias), session.workflow_id) if alias else ("", "")
        args = SESSION.encode(session), session.id, repr(session.created_at), *latest
        script_keys = [keys.session(session.id), *indexes, keys.WORKFLOW_INDEX]
        is_stored, *before = await self._writer.script("begin", script_keys, args)
        if not is_stored:
            return None
        return open_session(session.id, before[0]) if before else session

    async def accept(self, session: Session, interaction: UserInteraction, *, host: str) -> int:
        """Record an interaction, and its session if the id is new; the number of its turn is returned.

        `host` works on the main thread from now on, unless another one does, or it is paused.

        Raises:
            BusinessRuleViolation: The session has ended.
        """
        return accepted(await self._writer.script("accept", *accept_call(session, interaction, host)), session.id)

    async def begin_turn(
        self,
        session: Session,
        interaction: UserInteraction,
        thread: Thread,
        opening: Opening,
        *,
        host: str,
        lost: str = "",
    ) -> tuple[int, Head | None]:
        """`accept`, and if it is the turn that `opening` begins, `Journal.activate` with that, in one step.

        Raises:
            BusinessRuleViolation: The session has ended.
        """
        check_activate(thread.id, thread)
        check_append(opening.entries)
        accept, activate = accept_call(session, interaction, host), activate_call(thread.id, host, thread, lost)
        answer = await self._writer.script("open", *open_call(activate, thread.id, opening, accept))
        turn = accepted(answer[0], session.id)
        if len(answer) == 1:
            return turn, None
        try:
            return turn, opened(answer, thread.id, opening)
        except ActiveElsewhere:
            return turn, None

    async def complete(self, session_id: str, *, at: float) -> Session:
        """End a session of which all turns are over. Raises as the port says."""
        key, main = keys.session(session_id), main_thread_id(session_id)
        script_keys = [key, keys.interactions(session_id), keys.record(main)]
        while True:
            before = await self._link.run(lambda: self._link.client.hget(key, _FIELD))
            if before is None:
                raise no_session(session_id)
            session = completed(open_session(session_id, before), at)
            args = [before, SESSION.encode(session)]
            match await self._link.run(partial(self._complete, keys=script_keys, args=args)):
                case b"completed":
                    return session
                case b"busy":
                    raise not_over(session_id)

    async def change(self, session_id: str, state: SessionState, *, reason: str, at: float, host: str) -> Session:
        """Pause, resume or abort a session; what follows is open for `host`. Raises as the port says."""
        key = keys.session(session_id)
        script_keys = [key, keys.interactions(session_id), keys.threads(session_id), keys.OPEN, keys.TIMERS]
        while True:
            before = await self._link.run(lambda: self._link.client.hget(key, _FIELD))
            if before is None:
                raise no_session(session_id)
            session = changed(open_session(session_id, before), state, reason, at)
            args = [before, SESSION.encode(session), state.value, session_id, host]
            if await self._link.run(partial(self._change, keys=script_keys, args=args)):
                return session

    async def settle(self, session: Session) -> None:
        """What the state of a session means is carried out; nothing happens if it has been changed since."""
        script_keys = [keys.session(session.id), keys.OPEN]
        await self._link.run(lambda: self._settle(keys=script_keys, args=[SESSION.encode(session), session.id]))

    async def interaction(self, session_id: str, turn: int) -> UserInteraction | None:
        """The interaction that starts `turn`. Raises `CorruptRecord`."""
        if turn < 1:
            return None
        blob, content = await self._link.run(partial(self._interaction, session_id, turn))
        if blob is None:
            return None
        return open_interaction(session_id, turn, blob, content)

    async def find_by_id(self, session_id: str) -> Session | None:
        """The session, if there is one. Raises `CorruptRecord`."""
        key = keys.session(session_id)
        blob = await self._link.run(lambda: self._link.client.hget(key, _FIELD))
        return None if blob is None else open_session(session_id, blob)

    async def used(self, session_id: str) -> Usage:
        """What the models of all its threads have used."""
        found = await self._link.run(lambda: self._link.client.hgetall(keys.session(session_id)))
        prefix = b"used:"
        return used({name[len(prefix) :].decode(): int(n) for name, n in found.items() if name.startswith(prefix)})

    async def list(self, *, user_id: str | None = None, limit: int = 100) -> list[Session]:
        """Newest first. Raises `CorruptRecord`."""
        if limit <= 0:
            return []
        index = keys.SESSIONS if user_id is None else keys.user_sessions(user_id)
        ids = [
            member.decode() for member in await self._link.run(lambda: self._link.client.zrevrange(index, 0, limit - 1))
        ]
        blobs = await self._link.run(partial(self._load, ids))
        return [open_session(session_id, blob) for session_id, blob in zip(ids, blobs, strict=True) if blob is not None]

    async def _interaction(self, session_id: str, turn: int) -> Sequence[bytes | None]:
        async with self._link.client.pipeline(transaction=False) as pipeline:
            pipeline.lindex(keys.interactions(session_id), turn - 1)
            pipeline.hget(keys.inputs(session_id), str(turn))
            found: Sequence[bytes | None] = await pipeline.execute()
            return found

    async def _save(self, session: Session, before: Session | None) -> None:
        async with self._link.client.pipeline(transaction=True) as pipeline:
            pipeline.hset(keys.session(session.id), _FIELD, SESSION.encode(session))
            if session.state is SessionState.ACTIVE:
                pipeline.hdel(keys.session(session.id), _STATE)
            else:
                pipeline.hset(keys.session(session.id), _STATE, session.state)
            if before is not None and before.user_id != session.user_id:
                pipeline.zrem(keys.user_sessions(before.user_id), session.id)
            for index in (keys.SESSIONS, keys.user_sessions(session.user_id)):
                pipeline.zadd(index, {session.id: session.created_at})
            pipeline.zadd(keys.ACTIVE, {session.id: session.created_at}, nx=True)
            await pipeline.execute()

    async def _load(self, session_ids: Sequence[str]) -> Sequence[bytes | None]:
        if not session_ids:
            return []
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for session_id in session_ids:
                pipeline.hget(keys.session(session_id), _FIELD)
            blobs: Sequence[bytes | None] = await pipeline.execute()
            return blobs
