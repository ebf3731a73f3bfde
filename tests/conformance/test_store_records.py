"""What every store does with sessions, interactions and workflows, whatever it is made of."""

from __future__ import annotations

import asyncio

import pytest

from actors.ports import Store
from graphs.journal import CorruptRecord, Cursor, EntryKind, JournalEntry
from graphs.sessions import InteractionType, Session, SessionContext, SessionState, UserInteraction
from graphs.state.snapshots import SnapshotMetadata, StateSnapshot
from graphs.threads import Thread, ThreadState, ThreadType


class TestSessions:
    def session(self, session_id: str, *, user_id: str = "ada", at: float = 1.0, **fields) -> Session:
        fields.setdefault("workflow_id", "w@1")
        return Session(id=session_id, user_id=user_id, created_at=at, **fields)

    async def test_create_returns_the_stored_one(self, store: Store):
        first = self.session("a", context=SessionContext(metadata={"n": 1}, permissions=("x",)))

        assert await store.sessions.create(first) == first
        assert await store.sessions.create(self.session("a", user_id="bob", at=9.0)) == first
        assert await store.sessions.find_by_id("a") == first
        assert await store.sessions.find_by_id("b") is None
        assert await store.sessions.list() == [first]
        assert await store.sessions.list(user_id="bob") == []

    async def test_save_replaces(self, store: Store):
        await store.sessions.create(self.session("a"))
        changed = self.session("a", user_id="bob", at=2.0, state=SessionState.PAUSED)
        await store.sessions.save(changed)

        assert await store.sessions.find_by_id("a") == changed
        assert await store.sessions.list(user_id="ada") == []
        assert await store.sessions.list(user_id="bob") == [changed]

    async def test_a_session_of_a_build_that_has_been_replaced_is_not_stored(self, store: Store):
        first, second = self.session("a", workflow_id="w@1+x"), self.session("b", workflow_id="w@1+y")
        await store.workflows.save("w@1+x", b"x", at=1.0)
        assert await store.sessions.create(first, alias="w") == first
        await store.workflows.save("w@1+y", b"y", at=2.0)

        refused = [
            await store.sessions.create(self.session("b", workflow_id="w@1+x"), alias=alias)
            for alias in ("w", "w@1", "w@2", "other")
        ]

        assert refused == [None] * 4
        assert await store.sessions.create(second, alias="w@1") == second
        assert await store.sessions.create(second, alias="w") == second
        assert await store.sessions.list() == [second, first]

    async def test_listed_newest_first(self, store: Store):
        made = [self.session(f"s{n}", user_id=("ada", "bob")[n % 2], at=1e9 + n / 8) for n in (3, 1, 4, 0, 2)]
        for session in made:
            await store.sessions.create(session)
        ordered = sorted(made, key=lambda session: session.created_at, reverse=True)

        assert await store.sessions.list() == ordered
        assert await store.sessions.list(limit=2) == ordered[:2]
        assert await store.sessions.list(limit=0) == []
        assert await store.sessions.list(user_id="ada") == [s for s in ordered if s.user_id == "ada"]


class TestInteractions:
    def session(self, user_id: str = "ada") -> Session:
        return Session(id="a", user_id=user_id, workflow_id="w@1", created_at=1.0)

    def interaction(self, interaction_id: str, content: bytes = b"\x00input") -> UserInteraction:
        return UserInteraction(
            interaction_id=interaction_id,
            session_id="a",
            interaction_type=InteractionType.USER_REQUEST,
            content=content,
            timestamp=2.5,
        )

    async def test_each_starts_the_next_turn_and_is_accepted_once(self, store: Store):
        ids = ["x", "y", "x", "z", "y"]
        turns = [await store.sessions.accept(self.session(), self.interaction(each), host="h") for each in ids]

        assert turns == [1, 2, 1, 3, 2]
        assert [await store.sessions.interaction("a", turn) for turn in range(-1, 5)] == [
            None,
            None,
            self.interaction("x"),
            self.interaction("y"),
            self.interaction("z"),
            None,
        ]

    async def test_the_input_of_a_turn_that_has_begun_is_in_the_journal_alone(self, store: Store):
        for each in ("x", "y", "z"):
            await store.sessions.accept(self.session(), self.interaction(each), host="h")
        thread = Thread(id="a:0", session_id="a", thread_type=ThreadType.MAIN, workflow="w@1")
        await store.journal.activate("a:0", "h", create=thread)
        for turn, delta in ((1, (b"delta",)), (2, ())):  # the second is refused by the state
            begun = Cursor(turn=turn, status=ThreadState.RUNNING)
            over = Cursor(turn=turn, status=ThreadState.COMPLETED)
            entries = [
                JournalEntry(seq=2 * turn - 1, kind=EntryKind.TURN_STARTED, cursor=begun, at=1.0, deltas=delta),
                JournalEntry(seq=2 * turn, kind=EntryKind.TURN_FINISHED, cursor=over, at=1.0),
            ]
            await store.journal.append("a:0", 1, entries, op_id=f"op{turn}")

        assert [await store.sessions.interaction("a", turn) for turn in (1, 2, 3)] == [
            self.interaction("x", b""),
            self.interaction("y"),
            self.interaction("z"),
        ]
        assert await store.sessions.accept(self.session(), self.interaction("x"), host="h") == 1

    async def test_the_first_accepted_stays(self, store: Store):
        await store.sessions.accept(self.session(), self.interaction("x"), host="h")
        await store.sessions.accept(self.session(), self.interaction("x", b"other"), host="h")

        assert await store.sessions.interaction("a", 1) == self.interaction("x")
        assert await store.sessions.interaction("b", 1) is None

    async def test_a_new_session_is_recorded_with_it_and_a_stored_one_stays(self, store: Store):
        await store.sessions.accept(self.session(), self.interaction("x"), host="h")
        await store.sessions.accept(self.session("bob"), self.interaction("x"), host="h")

        assert await store.sessions.find_by_id("a") == self.session()
        assert await store.sessions.list() == await store.sessions.list(user_id="ada") == [self.session()]
        assert await store.sessions.list(user_id="bob") == []

    async def test_numbers_have_no_gaps_when_many_come_at_once(self, store: Store):
        accepts = (store.sessions.accept(self.session(), self.interaction(f"i{n % 50}"), host="h") for n in range(100))
        turns = await asyncio.gather(*accepts)

        assert turns[:50] == turns[50:]
        assert sorted(turns[:50]) == list(range(1, 51))


class TestNamedSnapshots:
    def snapshot(self, snapshot_id: str, *, state_id: str = "a:0", at: float = 1.0, **fields) -> StateSnapshot:
        metadata = SnapshotMetadata(name="before", tags=("keep",), size_bytes=7)
        return StateSnapshot(
            id=snapshot_id, state_id=state_id, seq=3, created_at=at, expires_at=9.5, metadata=metadata, **fields
        )

    async def test_they_are_kept_by_id(self, store: Store):
        first = self.snapshot("x", threads={"a:0": 3, "a:0.1.0": 2})
        await store.snapshots.save(first)
        replaced = self.snapshot("y")
        await store.snapshots.save(replaced)
        second = self.snapshot("y", at=5.0)
        await store.snapshots.save(second)

        assert await store.snapshots.get("a", "x") == first
        assert await store.snapshots.get("a", "y") == second
        assert await store.snapshots.get("a", "z") is None
        assert await store.snapshots.get("b", "x") is None

    async def test_they_are_listed_oldest_first_by_what_they_cover(self, store: Store):
        whole = self.snapshot("z", at=1.0, threads={"a:0": 3, "a:0.1.0": 2})
        main = self.snapshot("y", at=3.0)
        branch = self.snapshot("x", at=2.0, state_id="a:0~1-q")
        for each in (main, whole, branch, self.snapshot("w", state_id="b:0")):
            await store.snapshots.save(each)

        assert await store.snapshots.list("a") == [whole, branch, main]
        assert await store.snapshots.list("a", thread_id="a:0") == [whole, main]
        assert await store.snapshots.list("a", thread_id="a:0.1.0") == [whole]
        assert await store.snapshots.list("c") == []
        assert list(await store.snapshots.sessions()) == ["a", "b"]

    async def test_deleting_one_leaves_the_others(self, store: Store):
        for name in ("x", "y"):
            await store.snapshots.save(self.snapshot(name))
        for _ in range(2):
            await store.snapshots.delete("a", "x")
        await store.snapshots.delete("nobody", "x")

        assert await store.snapshots.list("a") == [self.snapshot("y")]


class TestWorkflows:
    async def test_id_and_version_name_the_build_saved_last(self, store: Store):
        for at, ref in enumerate(["w@1+b", "w@1+a", "w@2+c", "w@1+b"], start=1):
            await store.workflows.save(ref, ref.encode() * at, at=float(at))

        found = {ref: await store.workflows.get(ref) for ref in ("w", "w@1", "w@2", "w@1+a", "w@3", "w@1+x", "x")}
        builds = {ref: await store.workflows.resolve(ref) for ref in found}
        assert found == {
            "w": ("w@1+b", b"w@1+b" * 4),
            "w@1": ("w@1+b", b"w@1+b" * 4),
            "w@2": ("w@2+c", b"w@2+c" * 3),
            "w@1+a": ("w@1+a", b"w@1+a" * 2),
            "w@3": None,
            "w@1+x": None,
            "x": None,
        }
        assert builds == {ref: None if build is None else build[0] for ref, build in found.items()}
        assert list((await store.workflows.list()).items()) == [
            ("w@1+a", (2.0, 2.0)),
            ("w@1+b", (1.0, 4.0)),
            ("w@2+c", (3.0, 3.0)),
        ]

    async def test_where_the_functions_of_a_build_are_written(self, store: Store):
        await store.workflows.save_program("w@1+b", b"first")
        await store.workflows.save_program("w@1+b", b"then")

        assert await store.workflows.program("w@1+b") == b"then"
        assert await store.workflows.program("w@1+a") is None


class TestCorruption:
    async def test_a_session_and_a_workflow(self, store: Store, damage):
        await store.sessions.save(Session(id="s1", user_id="u", workflow_id="w@1"))
        await store.workflows.save("w@1+b", b"{}", at=1.0)
        await damage.session("s1")
        await damage.workflow("w@1+b")

        with pytest.raises(CorruptRecord, match=r"gr:\{s1\}: the checksum is wrong"):
            await store.sessions.find_by_id("s1")
        with pytest.raises(CorruptRecord, match=r"gr:workflows w@1\+b: the checksum is wrong"):
            await store.workflows.get("w")
