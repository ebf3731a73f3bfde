"""Sessions and workflows in memory: same answers and same stored bytes as in Redis, no server."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from actors.errors import ActiveElsewhere
from actors.ports import Head, Opening
from actors.stores import keys
from actors.stores.checks import (
    changed,
    check_activate,
    check_append,
    completed,
    no_session,
    not_over,
    takes_no_turns,
)
from actors.stores.memory_journal import MemoryIndex, MemoryJournal
from actors.stores.memory_rows import MemoryRows
from actors.stores.records import INTERACTION, SESSION, open_bytes, open_interaction, open_session, seal_bytes
from actors.stores.rows import used
from graphs.journal import Cursor, PauseKind, Usage
from graphs.sessions import Session, SessionState, UserInteraction
from graphs.threads import Thread, ThreadState, is_root, main_thread_id, session_work_id


class MemorySessions:
    """Session records (port `SessionRepository`)."""

    def __init__(
        self, journal: MemoryJournal, index: MemoryIndex, rows: MemoryRows, workflows: MemoryWorkflows
    ) -> None:
        self._journal = journal
        self._workflows = workflows
        self._index = index
        self._rows = rows
        self.records = rows.owners
        """Session id -> sealed session."""
        self.interactions: dict[str, list[bytes]] = {}
        """Session id -> sealed interactions; the first starts turn 1."""
        self._turns: dict[tuple[str, str], int] = {}
        """(session id, interaction id) -> number of its turn."""

    async def save(self, session: Session) -> None:
        """Create or replace."""
        self.records[session.id] = SESSION.encode(session)
        if session.state is SessionState.ACTIVE:
            self._index.sessions.pop(session.id, None)
        else:
            self._index.sessions[session.id] = session
        self._index.active.setdefault(session.id, session.created_at)

    async def create(self, session: Session, *, alias: str = "") -> Session | None:
        """Store unless the id exists; the stored one is returned. None if `alias` is not its workflow any more."""
        if alias and self._workflows.latest.get(alias) != session.workflow_id:
            return None
        stored = open_session(session.id, self.records.setdefault(session.id, SESSION.encode(session)))
        self._index.active.setdefault(session.id, stored.created_at)
        return stored

    async def accept(self, session: Session, interaction: UserInteraction, *, host: str) -> int:
        """Record an interaction, and its session if the id is new; the number of its turn is returned.

        `host` works on the main thread from now on, unless another one does, or it is paused.

        Raises:
            BusinessRuleViolation: The session has ended.
        """
        self.records.setdefault(session.id, SESSION.encode(session))
        key = session.id, interaction.interaction_id
        if key not in self._turns:
            state = self._index.state(session.id)
            if state.ended:
                raise takes_no_turns(session.id, state)
            interactions = self.interactions.setdefault(session.id, [])
            interactions.append(INTERACTION.encode(msgspec.structs.replace(interaction, content=b"")))
            turn = self._turns[key] = self._index.turns[session.id] = len(interactions)
            self._index.inputs[session.id, turn] = seal_bytes(interaction.content)
            self._index.touch(session.id, interaction.timestamp)
            main = main_thread_id(session.id)
            if state is not SessionState.PAUSED and self._journal.status(main) is not ThreadState.PAUSED:
                self._index.open.setdefault(main, host)
        return self._turns[key]

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
        turn = await self.accept(session, interaction, host=host)
        if turn != opening.entries[0].cursor.turn:
            return turn, None
        try:
            return turn, await self._journal.activate(thread.id, host, create=thread, lost=lost, opening=opening)
        except ActiveElsewhere:
            return turn, None

    async def complete(self, session_id: str, *, at: float) -> Session:
        """End a session of which all turns are over. Raises as the port says."""
        before = await self.find_by_id(session_id)
        if before is None:
            raise no_session(session_id)
        session = completed(before, at)
        cursor = self._journal.cursor(main_thread_id(session_id)) or Cursor()
        waiting = len(self.interactions.get(session_id, ())) > cursor.turn
        if waiting or cursor.status in (ThreadState.RUNNING, ThreadState.PAUSED):
            raise not_over(session_id)
        await self.save(session)
        return session

    async def change(self, session_id: str, state: SessionState, *, reason: str, at: float, host: str) -> Session:
        """Pause, resume or abort a session; what follows is open for `host`. Raises as the port says."""
        before = await self.find_by_id(session_id)
        if before is None:
            raise no_session(session_id)
        session = changed(before, state, reason, at)
        await self.save(session)
        self._index.open[session_work_id(session_id)] = host
        main = main_thread_id(session_id)
        for root in {main, *filter(is_root, self._journal.ids(session_id))}:
            cursor = self._journal.cursor(root) or Cursor()
            waits = root == main and len(self.interactions.get(session_id, ())) > cursor.turn
            self._change_root(root, host, state, cursor, waits=waits)
        return session

    def _change_root(self, root: str, host: str, state: SessionState, cursor: Cursor, *, waits: bool) -> None:
        """What another state of its session means for the indexes of a root thread."""
        index, pause = self._index, cursor.pause
        if state is SessionState.PAUSED:
            if cursor.status is not ThreadState.RUNNING:
                index.open.pop(root, None)
            index.timers.pop(root, None)
        elif state is SessionState.ABORTED or pause is None:
            if waits:
                index.open.setdefault(root, host)
        else:
            if pause.kind in (PauseKind.SESSION, PauseKind.BRANCHES):
                index.open.setdefault(root, host)
            if pause.until is not None:
                index.timers[root] = pause.until

    async def settle(self, session: Session) -> None:
        """What the state of a session means is carried out; nothing happens if it has been changed since."""
        if self.records.get(session.id) == SESSION.encode(session):
            self._index.open.pop(session_work_id(session.id), None)

    async def interaction(self, session_id: str, turn: int) -> UserInteraction | None:
        """The interaction that starts `turn`. Raises `CorruptRecord`."""
        interactions = self.interactions.get(session_id, [])
        if not 0 < turn <= len(interactions):
            return None
        content = self._index.inputs.get((session_id, turn))
        return open_interaction(session_id, turn, interactions[turn - 1], content)

    def size(self, session_id: str) -> int:
        """Bytes of what is stored of a session besides its threads."""
        inputs = (blob for (owner, _), blob in self._index.inputs.items() if owner == session_id)
        blobs = [self.records.get(session_id, b""), *self.interactions.get(session_id, ()), *inputs]
        return sum(map(len, blobs))

    def forget(self, session_id: str) -> None:
        """Delete what is stored of a session besides its threads."""
        self.records.pop(session_id, None)
        self.interactions.pop(session_id, None)
        self._index.sessions.pop(session_id, None)
        self._index.active.pop(session_id, None)
        self._index.turns.pop(session_id, None)
        for interaction in [key for key in self._turns if key[0] == session_id]:
            del self._turns[interaction]
        for turn in [key for key in self._index.inputs if key[0] == session_id]:
            del self._index.inputs[turn]

    async def find_by_id(self, session_id: str) -> Session | None:
        """The session, if there is one. Raises `CorruptRecord`."""
        blob = self.records.get(session_id)
        return None if blob is None else open_session(session_id, blob)

    async def used(self, session_id: str) -> Usage:
        """What the models of all its threads have used."""
        return used(self._rows.used.get(session_id, {}))

    async def list(self, *, user_id: str | None = None, limit: int = 100) -> list[Session]:
        """Newest first. Raises `CorruptRecord`."""
        sessions = [open_session(session_id, blob) for session_id, blob in self.records.items()]
        sessions.sort(key=lambda session: (session.created_at, session.id.encode()), reverse=True)
        return [session for session in sessions if user_id in (None, session.user_id)][: max(limit, 0)]


class MemoryWorkflows:
    """Stored workflow specs (port `WorkflowRepository`)."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        """Ref -> sealed spec."""
        self.programs: dict[str, bytes] = {}
        """Ref -> sealed program."""
        self.latest: dict[str, str] = {}
        """`id@version` or `id` -> ref saved last."""
        self._times: dict[str, tuple[float, float]] = {}

    async def save(self, ref: str, spec: bytes, *, at: float) -> None:
        """Store the spec of a build, and make it what `id@version` and `id` name. `at` is Unix seconds."""
        self.records[ref] = seal_bytes(spec)
        for alias in keys.aliases(ref):
            self.latest[alias] = ref
        self._times[ref] = (self._times.get(ref, (at, at))[0], at)

    async def get(self, ref: str) -> tuple[str, bytes] | None:
        """(ref, spec) of a build, or of the one saved last if `ref` is an alias. Raises `CorruptRecord`."""
        ref = self.latest.get(ref, ref)
        blob = self.records.get(ref)
        return None if blob is None else (ref, open_bytes(blob, key=f"{keys.WORKFLOWS} {ref}"))

    async def resolve(self, ref: str) -> str | None:
        """The build that `get` would give, without its spec."""
        ref = self.latest.get(ref, ref)
        return ref if ref in self.records else None

    async def save_program(self, ref: str, program: bytes) -> None:
        """Store where the Python functions of a build are written."""
        self.programs[ref] = seal_bytes(program)

    async def program(self, ref: str) -> bytes | None:
        """Where the Python functions of a build are written. Raises `CorruptRecord`."""
        blob = self.programs.get(ref)
        return None if blob is None else open_bytes(blob, key=f"{keys.PROGRAMS} {ref}")

    async def list(self) -> Mapping[str, tuple[float, float]]:
        """Ref -> (created_at, updated_at), in order of the ref."""
        return dict(sorted(self._times.items()))
