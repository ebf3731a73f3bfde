"""What every store knows without looking into sessions: who has to work on what, and what goes on when."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from actors.errors import ActiveElsewhere, Fenced, SeqConflict
from actors.ports import Store
from graphs.errors import BusinessRuleViolation, IllegalTransition, NotFoundError
from graphs.journal import Cursor, EntryKind, JournalEntry, Pause, PauseKind
from graphs.sessions import InteractionType, Session, SessionState, UserInteraction
from graphs.threads import Thread, ThreadState, ThreadType, session_of

MAIN = "s:0"
BRANCH = "s:0~3-x"
CHILD = "s:0.2.1"
CHILD_OF_BRANCH = "s:0~3-x.4.0"

RUNNING = Cursor(turn=1, status=ThreadState.RUNNING, node="n")
DONE = Cursor(turn=1, status=ThreadState.COMPLETED)


def paused(kind: PauseKind = PauseKind.HUMAN, until: float | None = None) -> Cursor:
    return Cursor(turn=1, status=ThreadState.PAUSED, pause=Pause(kind=kind, until=until))


def record(thread_id: str) -> Thread:
    return Thread(
        id=thread_id, session_id=session_of(thread_id), thread_type=ThreadType.MAIN, workflow="w@1", updated_at=1.0
    )


async def accept(store: Store, interaction_id: str = "i", *, host: str = "a", session_id: str = "s") -> int:
    interaction = UserInteraction(
        interaction_id=interaction_id,
        session_id=session_id,
        interaction_type=InteractionType.USER_REQUEST,
        content=b"",
        timestamp=5.0,
    )
    session = Session(id=session_id, user_id="u", workflow_id="w@1", created_at=1.0)
    return await store.sessions.accept(session, interaction, host=host)


async def activate(store: Store, thread_id: str = MAIN, host: str = "a", **options) -> None:
    await store.journal.activate(thread_id, host, create=record(thread_id), **options)


async def append(store: Store, *steps: tuple[EntryKind, Cursor], thread_id: str = MAIN, op_id: str = "op") -> None:
    head = await store.journal.head(thread_id)
    assert head is not None
    entries = [
        JournalEntry(seq=seq, kind=kind, cursor=cursor, at=100.0 + seq)
        for seq, (kind, cursor) in enumerate(steps, start=head.seq + 1)
    ]
    await store.journal.append(thread_id, head.epoch, entries, op_id=op_id)


async def started(store: Store, thread_id: str = MAIN) -> None:
    await activate(store, thread_id)
    await append(store, (EntryKind.TURN_STARTED, RUNNING), thread_id=thread_id)


class TestOpenThreads:
    async def test_from_the_interaction_to_the_end_of_its_turn(self, store: Store):
        seen = [await store.journal.open_threads()]
        await accept(store, host="a")
        seen.append(await store.journal.open_threads())
        await activate(store, host="b")
        seen.append(await store.journal.open_threads())
        await append(store, (EntryKind.TURN_STARTED, RUNNING))
        await append(store, (EntryKind.STEP_FINISHED, RUNNING))
        seen.append(await store.journal.open_threads())
        await append(store, (EntryKind.STEP_FINISHED, RUNNING), (EntryKind.TURN_FINISHED, DONE))
        seen.append(await store.journal.open_threads())

        assert seen == [{}, {MAIN: "a"}, {MAIN: "b"}, {MAIN: "b"}, {}]

    async def test_it_stays_open_while_another_interaction_waits(self, store: Store):
        await accept(store, "i")
        await accept(store, "j")
        await started(store)
        await append(store, (EntryKind.TURN_FINISHED, DONE))
        between = await store.journal.open_threads()
        second = Cursor(turn=2, status=ThreadState.RUNNING)
        await append(store, (EntryKind.TURN_STARTED, second))
        await append(store, (EntryKind.TURN_FINISHED, Cursor(turn=2, status=ThreadState.FAILED)))

        assert between == {MAIN: "a"}
        assert await store.journal.open_threads() == {}

    async def test_an_interaction_that_was_recorded_before_opens_nothing(self, store: Store):
        await accept(store)
        await started(store)
        await append(store, (EntryKind.TURN_FINISHED, DONE))
        await accept(store)

        assert await store.journal.open_threads() == {}

    async def test_an_interaction_takes_the_thread_from_nobody(self, store: Store):
        await accept(store, "i", host="a")
        await accept(store, "j", host="b")

        assert await store.journal.open_threads() == {MAIN: "a"}

    async def test_a_thread_at_rest_may_be_loaded_without_being_opened(self, store: Store):
        await started(store)
        await append(store, (EntryKind.TURN_FINISHED, DONE))
        await activate(store, host="b")

        assert await store.journal.open_threads() == {}

    async def test_who_takes_it_over_is_named(self, store: Store):
        await started(store)
        with pytest.raises(ActiveElsewhere):
            await activate(store, host="b")
        before = await store.journal.open_threads()
        await activate(store, host="b", lost="a")

        assert before == {MAIN: "a"}
        assert await store.journal.open_threads() == {MAIN: "b"}

    async def test_branches_are_roots_and_children_are_not(self, store: Store):
        for thread_id in (CHILD, CHILD_OF_BRANCH):
            await started(store, thread_id)
        await activate(store, BRANCH)
        await append(store, (EntryKind.BRANCHED, RUNNING), thread_id=BRANCH)
        opened = await store.journal.open_threads()
        await append(store, (EntryKind.TURN_FINISHED, DONE), thread_id=BRANCH)

        assert opened == {BRANCH: "a"}
        assert await store.journal.open_threads() == {}

    async def test_a_branch_of_what_was_over_is_over(self, store: Store):
        await activate(store, BRANCH)
        await append(store, (EntryKind.BRANCHED, DONE), thread_id=BRANCH)

        assert await store.journal.open_threads() == {}

    async def test_a_branch_does_not_wait_for_interactions(self, store: Store):
        for number in range(3):
            await accept(store, f"i{number}")
        await activate(store, BRANCH)
        await append(store, (EntryKind.BRANCHED, RUNNING), (EntryKind.TURN_FINISHED, DONE), thread_id=BRANCH)

        assert await store.journal.open_threads() == {MAIN: "a"}

    async def test_a_refused_append_changes_nothing(self, store: Store):
        await started(store)
        with pytest.raises(SeqConflict):
            await store.journal.append(
                MAIN, 1, [JournalEntry(seq=9, kind=EntryKind.TURN_FINISHED, cursor=DONE, at=1.0)], op_id="x"
            )
        with pytest.raises(Fenced):
            await store.journal.append(
                MAIN, 7, [JournalEntry(seq=2, kind=EntryKind.TURN_FINISHED, cursor=DONE, at=1.0)], op_id="x"
            )

        assert await store.journal.open_threads() == {MAIN: "a"}

    async def test_sessions_with_odd_ids(self, store: Store):
        await accept(store, session_id="a}:{b:c")

        assert await store.journal.open_threads() == {"a}:{b:c:0": "a"}


class TestPauses:
    async def test_nobody_has_to_work_on_what_is_paused(self, store: Store):
        await accept(store, "i")
        await started(store)
        await append(store, (EntryKind.PAUSED, paused()))
        await accept(store, "j")
        between = await store.journal.open_threads()
        await append(store, (EntryKind.RESUMED, RUNNING))

        assert between == {}
        assert await store.journal.open_threads() == {MAIN: "a"}
        assert await store.journal.timers() == []

    async def test_what_waits_for_a_time_is_found_by_it(self, store: Store):
        times = {"p:0": 30.25, "q:0": 10.5, "r:0": 20.0, "s:0": None}
        for thread_id, until in times.items():
            await started(store, thread_id)
            await append(store, (EntryKind.PAUSED, paused(PauseKind.TIMER, until)), thread_id=thread_id)

        assert await store.journal.timers() == [("q:0", 10.5), ("r:0", 20.0), ("p:0", 30.25)]
        assert await store.journal.timers(until=20.0) == [("q:0", 10.5), ("r:0", 20.0)]
        assert await store.journal.timers(limit=1) == [("q:0", 10.5)]
        assert await store.journal.timers(until=10.0) == await store.journal.timers(limit=0) == []
        assert await store.journal.open_threads() == {}

    @pytest.mark.parametrize(
        ("kind", "cursor"),
        [
            (EntryKind.RESUMED, RUNNING),
            (EntryKind.PAUSED, paused(PauseKind.ASKED)),
            (EntryKind.RESTORED, DONE),
            (EntryKind.TURN_FINISHED, Cursor(turn=1, status=ThreadState.CANCELLED)),
        ],
    )
    async def test_whatever_comes_next_removes_the_timer(self, store: Store, kind: EntryKind, cursor: Cursor):
        await started(store)
        await append(store, (EntryKind.PAUSED, paused(PauseKind.TIMER, 10.0)))
        await append(store, (kind, cursor))

        assert await store.journal.timers() == []

    async def test_a_pause_may_be_prolonged(self, store: Store):
        await started(store)
        await append(store, (EntryKind.PAUSED, paused(PauseKind.BRANCHES, 10.0)))
        await append(store, (EntryKind.PAUSED, paused(PauseKind.BRANCHES, 40.0)))

        assert await store.journal.timers() == [(MAIN, 40.0)]

    async def test_children_have_no_timers_of_their_own(self, store: Store):
        await started(store, CHILD)
        await append(store, (EntryKind.PAUSED, paused(PauseKind.TIMER, 10.0)), thread_id=CHILD)

        assert await store.journal.timers() == []

    async def test_a_turn_that_ends_while_the_thread_is_paused_lets_the_next_one_go(self, store: Store):
        await accept(store, "i")
        await started(store)
        await append(store, (EntryKind.PAUSED, paused()))
        await accept(store, "j")
        await append(store, (EntryKind.TURN_FINISHED, Cursor(turn=1, status=ThreadState.CANCELLED)))

        assert await store.journal.open_threads() == {MAIN: "a"}


class TestThreadsBelow:
    @pytest.mark.parametrize(("root", "child"), [(MAIN, CHILD), (BRANCH, CHILD_OF_BRANCH)])
    async def test_a_child_that_goes_on_opens_the_paused_thread_above_it(self, store: Store, root: str, child: str):
        for thread_id in (root, child):
            await started(store, thread_id)
        await append(store, (EntryKind.PAUSED, paused(PauseKind.BRANCHES, 10.0)), thread_id=root)
        await append(store, (EntryKind.PAUSED, paused()), thread_id=child)
        before = await store.journal.open_threads()

        await append(store, (EntryKind.RESUMED, RUNNING), thread_id=child)

        assert before == {}
        assert await store.journal.open_threads() == {root: "a"}
        assert await store.journal.timers() == [(root, 10.0)]

    async def test_a_thread_that_is_open_stays_with_its_host(self, store: Store):
        await started(store)
        await store.journal.activate(CHILD, "b", create=record(CHILD))
        await append(store, (EntryKind.TURN_STARTED, RUNNING), thread_id=CHILD)
        await append(store, (EntryKind.PAUSED, paused()), thread_id=CHILD)

        await append(store, (EntryKind.RESUMED, RUNNING), thread_id=CHILD)

        assert await store.journal.open_threads() == {MAIN: "a"}


class TestCounters:
    async def test_refused_writes_are_counted(self, store: Store):
        await started(store)
        await store.journal.activate(MAIN, "b", lost="a")
        for _ in range(2):
            with pytest.raises(Fenced):
                await store.journal.append(
                    MAIN, 1, [JournalEntry(seq=2, kind=EntryKind.STEP_FINISHED, cursor=RUNNING, at=1.0)], op_id="x"
                )

        head = await store.journal.head(MAIN)
        assert head is not None
        assert head.fenced == 2
        assert (await store.journal.activate(MAIN, "c", lost="b")).fenced == 2
        assert [head.fenced for head in await store.journal.threads("s")] == [2]

    async def test_each_incarnation_has_its_number(self, store: Store):
        first = await store.next_incarnation()
        others = await asyncio.gather(*(store.next_incarnation() for _ in range(5)))

        assert first == 1
        assert sorted(others) == [2, 3, 4, 5, 6]


async def finished(store: Store, turn: int = 1) -> None:
    await append(
        store,
        (EntryKind.TURN_STARTED, Cursor(turn=turn, status=ThreadState.RUNNING, node="n")),
        (EntryKind.TURN_FINISHED, Cursor(turn=turn, status=ThreadState.COMPLETED)),
        op_id=f"turn {turn}",
    )


class TestCompletedSessions:
    async def test_it_takes_no_more_turns_and_knows_those_it_has_taken(self, store: Store):
        await accept(store, "one")
        await activate(store)
        await finished(store)

        session = await store.sessions.complete("s", at=7.0)

        assert (session.state, session.updated_at) == (SessionState.COMPLETED, 7.0)
        assert await store.sessions.find_by_id("s") == session
        with pytest.raises(BusinessRuleViolation, match="session s is completed and takes no more turns"):
            await accept(store, "two")
        assert await accept(store, "one") == 1
        assert await store.sessions.interaction("s", 2) is None
        assert await store.journal.open_threads() == {}
        with pytest.raises(IllegalTransition, match="a completed session cannot become completed"):
            await store.sessions.complete("s", at=8.0)
        assert await store.sessions.find_by_id("s") == session

    async def test_one_without_any_turn_is_completed(self, store: Store):
        await store.sessions.create(Session(id="s", user_id="u", workflow_id="w@1", created_at=1.0))
        await store.sessions.complete("s", at=7.0)

        with pytest.raises(BusinessRuleViolation, match="takes no more turns"):
            await accept(store)

    async def test_not_while_a_turn_waits_runs_or_is_paused(self, store: Store):
        async def refused() -> bool:
            with pytest.raises(BusinessRuleViolation, match="runs, is paused or waits"):
                await store.sessions.complete("s", at=7.0)
            session = await store.sessions.find_by_id("s")
            return session is not None and session.state is SessionState.ACTIVE

        await accept(store, "one")
        assert await refused()
        await activate(store)
        await append(store, (EntryKind.TURN_STARTED, RUNNING))
        assert await refused()
        await append(store, (EntryKind.PAUSED, paused()), op_id="pause")
        assert await refused()
        await append(store, (EntryKind.RESUMED, RUNNING), (EntryKind.TURN_FINISHED, DONE), op_id="end")
        assert await accept(store, "two") == 2
        assert await refused()
        await finished(store, 2)
        await store.sessions.complete("s", at=7.0)

    async def test_whether_it_has_ended_goes_with_its_record(self, store: Store):
        session = Session(id="s", user_id="u", workflow_id="w@1", created_at=1.0)
        await store.sessions.save(msgspec.structs.replace(session, state=SessionState.ABORTED))
        with pytest.raises(BusinessRuleViolation, match="session s is aborted"):
            await accept(store)
        await store.sessions.save(session)

        assert await accept(store) == 1

    async def test_one_that_is_not_there(self, store: Store):
        with pytest.raises(NotFoundError):
            await store.sessions.complete("s", at=7.0)
