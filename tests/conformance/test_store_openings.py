"""Turns that begin with the activation of their thread, in one step; and turns that wait when another one ends."""

from __future__ import annotations

import pytest

from actors.errors import ActiveElsewhere, SessionChanged
from actors.ports import Head, Opening, Store
from graphs.errors import BusinessRuleViolation, NotFoundError
from graphs.journal import Cursor, EntryKind, JournalEntry, Pause, PauseKind
from graphs.sessions import InteractionType, Session, SessionState, UserInteraction
from graphs.threads import Thread, ThreadState, ThreadType, session_of

pytestmark = pytest.mark.integration

MAIN = "s:0"
BRANCH = "s:0.2.1"
WHAT_IF = "s:0~1-a"

SESSION = Session(id="s", user_id="ada", workflow_id="w@1", created_at=1.0)


def record(thread_id: str = MAIN) -> Thread:
    kind = ThreadType.MAIN if thread_id == MAIN else ThreadType.PARALLEL
    return Thread(id=thread_id, session_id=session_of(thread_id), thread_type=kind, workflow="w@1")


def begun(turn: int = 1, *, seq: int = 1) -> JournalEntry:
    cursor = Cursor(turn=turn, status=ThreadState.RUNNING, node="n")
    return JournalEntry(seq=seq, kind=EntryKind.TURN_STARTED, cursor=cursor, at=100.0, deltas=(b"input",))


def over(turn: int = 1, *, seq: int = 2) -> JournalEntry:
    cursor = Cursor(turn=turn, status=ThreadState.COMPLETED)
    return JournalEntry(seq=seq, kind=EntryKind.TURN_FINISHED, cursor=cursor, at=101.0)


def opening(turn: int = 1, *, epoch: int = 1, seq: int = 1) -> Opening:
    return Opening(epoch, (begun(turn, seq=seq),), "op")


def interaction(interaction_id: str = "i") -> UserInteraction:
    return UserInteraction(
        interaction_id=interaction_id,
        session_id="s",
        interaction_type=InteractionType.USER_REQUEST,
        content=b"input",
        timestamp=5.0,
    )


async def begin(store: Store, interaction_id: str = "i", opens: Opening | None = None, host: str = "a", lost: str = ""):
    opens = opens or opening()
    return await store.sessions.begin_turn(SESSION, interaction(interaction_id), record(), opens, host=host, lost=lost)


def head(thread_id: str = MAIN, *, epoch: int = 1, opened: bool = True, host: str = "a") -> Head:
    return Head(thread=record(thread_id), seq=0, epoch=epoch, cursor=Cursor(), host=host, opened=opened)


class TestActivation:
    @pytest.mark.parametrize("thread_id", [MAIN, BRANCH])
    async def test_a_new_thread_is_recorded_taken_and_has_begun(self, store: Store, thread_id: str):
        activated = await store.journal.activate(thread_id, "a", create=record(thread_id), opening=opening())

        assert activated == head(thread_id)
        assert await store.journal.read(thread_id) == [begun()]
        now = await store.journal.head(thread_id)
        assert now is not None
        assert (now.seq, now.epoch, now.host, now.cursor) == (1, 1, "a", begun().cursor)
        assert await store.journal.open_threads() == ({MAIN: "a"} if thread_id == MAIN else {})

    async def test_a_thread_at_rest_goes_on_where_it_was(self, store: Store):
        await store.journal.activate(MAIN, "a", create=record(), opening=opening())
        await store.journal.append(MAIN, 1, [over()], op_id="end")

        activated = await store.journal.activate(MAIN, "b", opening=opening(2, epoch=2, seq=3))

        assert (activated.seq, activated.epoch, activated.cursor, activated.opened) == (2, 2, over().cursor, True)
        assert await store.journal.read(MAIN) == [begun(), over(), begun(2, seq=3)]

    async def test_done_again_it_takes_another_epoch_and_begins_nothing_twice(self, store: Store):
        await store.journal.activate(MAIN, "a", create=record(), opening=opening())

        again = await store.journal.activate(MAIN, "a", create=record(), opening=opening())

        assert (again.seq, again.epoch, again.cursor, again.opened) == (1, 2, begun().cursor, False)
        assert await store.journal.read(MAIN) == [begun()]

    @pytest.mark.parametrize("expected", [{"epoch": 2, "seq": 3}, {"epoch": 3, "seq": 2}, {"epoch": 4, "seq": 4}])
    async def test_a_thread_that_somebody_has_had_is_only_taken(self, store: Store, expected: dict[str, int]):
        await store.journal.activate(MAIN, "a", create=record(), opening=opening())
        await store.journal.append(MAIN, 1, [over()], op_id="end")
        await store.journal.activate(MAIN, "a")

        activated = await store.journal.activate(MAIN, "b", opening=opening(2, **expected))

        assert (activated.seq, activated.epoch, activated.host, activated.opened) == (2, 3, "b", False)
        assert await store.journal.read(MAIN) == [begun(), over()]

    async def test_a_thread_that_is_not_there_is_an_error(self, store: Store):
        with pytest.raises(NotFoundError, match="no thread 's:0'"):
            await store.journal.activate(MAIN, "a", opening=opening())

    async def test_a_turn_that_runs_elsewhere_is_left_there(self, store: Store):
        await store.journal.activate(MAIN, "a", create=record(), opening=opening())
        before = await store.journal.head(MAIN)

        with pytest.raises(ActiveElsewhere):
            await store.journal.activate(MAIN, "b", opening=opening(2, epoch=2, seq=2))

        assert await store.journal.head(MAIN) == before

    @pytest.mark.parametrize("state", [SessionState.PAUSED, SessionState.ABORTED])
    async def test_nothing_begins_in_a_session_that_is_halted(self, store: Store, state: SessionState):
        await store.sessions.create(SESSION)
        halted = await store.sessions.change("s", state, reason="r", at=2.0, host="a")

        activated = await store.journal.activate(MAIN, "a", create=record(), opening=opening())

        assert (activated.epoch, activated.halted, activated.opened) == (1, halted, False)
        assert await store.journal.read(MAIN) == []

    @pytest.mark.parametrize("state", [SessionState.PAUSED, SessionState.ABORTED])
    async def test_no_other_root_thread_is_recorded_in_it(self, store: Store, state: SessionState):
        await store.sessions.create(SESSION)
        await store.sessions.change("s", state, reason="r", at=2.0, host="a")

        with pytest.raises(SessionChanged, match=f"session s is {state} now"):
            await store.journal.activate(WHAT_IF, "a", create=record(WHAT_IF), opening=opening())

        assert await store.journal.head(WHAT_IF) is None
        assert await store.journal.threads("s") == []

    async def test_one_that_is_there_already_is_taken(self, store: Store):
        await store.sessions.create(SESSION)
        await store.journal.activate(WHAT_IF, "a", create=record(WHAT_IF), opening=opening())
        halted = await store.sessions.change("s", SessionState.PAUSED, reason="r", at=2.0, host="a")

        activated = await store.journal.activate(WHAT_IF, "a", create=record(WHAT_IF), opening=opening())

        assert (activated.seq, activated.epoch, activated.halted, activated.opened) == (1, 2, halted, False)


class TestTurns:
    async def test_a_new_session_has_its_first_turn_in_one_step(self, store: Store):
        assert await begin(store) == (1, head())

        assert await store.sessions.list() == await store.sessions.list(user_id="ada") == [SESSION]
        assert await store.journal.read(MAIN) == [begun()]
        assert await store.journal.open_threads() == {MAIN: "a"}
        kept = await store.sessions.interaction("s", 1)
        assert kept is not None
        assert (kept.interaction_id, kept.content) == ("i", b"")  # the input is in the journal now

    async def test_the_next_turn_is_as_quick(self, store: Store):
        await begin(store)
        await store.journal.append(MAIN, 1, [over()], op_id="end")

        turn, activated = await begin(store, "j", opening(2, epoch=2, seq=3))

        assert turn == 2
        assert activated is not None
        assert (activated.epoch, activated.opened) == (2, True)
        assert await store.journal.read(MAIN) == [begun(), over(), begun(2, seq=3)]

    async def test_a_turn_that_is_not_the_next_one_is_accepted_alone(self, store: Store):
        await store.sessions.accept(SESSION, interaction("first"), host="a")

        assert await begin(store) == (2, None)

        assert await store.journal.head(MAIN) is None
        assert await store.sessions.interaction("s", 2) == interaction()

    async def test_asked_again_it_is_the_same_turn(self, store: Store):
        await begin(store)
        turn, activated = await begin(store)

        assert turn == 1
        assert activated is not None
        assert (activated.epoch, activated.seq, activated.opened) == (2, 1, False)
        assert await store.sessions.interaction("s", 2) is None

    async def test_while_another_host_runs_one_it_waits_there(self, store: Store):
        await begin(store)

        assert await begin(store, "j", opening(2, epoch=2, seq=2), host="b") == (2, None)

        assert await store.sessions.interaction("s", 2) == interaction("j")
        assert await store.journal.open_threads() == {MAIN: "a"}

    async def test_from_a_dead_host_it_is_taken(self, store: Store):
        await begin(store)

        turn, activated = await begin(store, "j", opening(2, epoch=2, seq=2), host="b", lost="a")

        assert turn == 2
        assert activated is not None
        assert (activated.host, activated.epoch, activated.seq) == ("b", 2, 1)

    async def test_what_has_ended_takes_none(self, store: Store):
        await store.sessions.create(SESSION)
        await store.sessions.complete("s", at=2.0)

        with pytest.raises(BusinessRuleViolation, match="is completed and takes no more turns"):
            await begin(store)

        assert await store.journal.head(MAIN) is None

    async def test_a_paused_session_accepts_and_waits(self, store: Store):
        await store.sessions.create(SESSION)
        halted = await store.sessions.change("s", SessionState.PAUSED, reason="r", at=2.0, host="a")

        turn, activated = await begin(store)

        assert turn == 1
        assert activated is not None
        assert (activated.halted, activated.opened) == (halted, False)
        assert await store.sessions.interaction("s", 1) == interaction()


class TestWaiting:
    async def test_the_end_of_a_turn_tells_that_the_next_one_waits(self, store: Store):
        await begin(store)
        await store.sessions.accept(SESSION, interaction("j"), host="b")

        told = [await store.journal.append(MAIN, 1, [over()], op_id="end") for _ in range(2)]

        assert [each.turn_waits for each in told] == [True, True]

    async def test_no_other_append_does(self, store: Store):
        await begin(store)
        step = JournalEntry(seq=2, kind=EntryKind.STEP_FINISHED, cursor=begun().cursor, at=100.5)
        paused = Cursor(turn=1, status=ThreadState.PAUSED, pause=Pause(kind=PauseKind.HUMAN))
        await store.sessions.accept(SESSION, interaction("j"), host="b")

        size = await store.journal.append(MAIN, 1, [step], op_id="step")
        pause = JournalEntry(seq=3, kind=EntryKind.PAUSED, cursor=paused, at=100.6)
        other = await store.journal.append(MAIN, 1, [pause], op_id="pause")

        assert (size.turn_waits, other.turn_waits) == (False, False)

    async def test_nor_does_it_if_none_waits_or_the_session_is_paused(self, store: Store):
        await begin(store)
        alone = await store.journal.append(MAIN, 1, [over()], op_id="end")
        await begin(store, "j", opening(2, epoch=2, seq=3))
        await store.sessions.accept(SESSION, interaction("k"), host="b")
        await store.sessions.change("s", SessionState.PAUSED, reason="r", at=2.0, host="a")
        paused = await store.journal.append(MAIN, 2, [over(2, seq=4)], op_id="end")

        assert (alone.turn_waits, paused.turn_waits) == (False, False)
