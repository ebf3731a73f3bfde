"""What is open of sessions that are paused and aborted: the same in Redis and in memory."""

from __future__ import annotations

import pytest

from actors.errors import SessionChanged
from actors.ports import Store
from graphs.errors import BusinessRuleViolation, IllegalTransition, NotFoundError
from graphs.journal import Cursor, EntryKind, PauseKind
from graphs.sessions import Session, SessionState
from graphs.threads import ThreadState
from tests.conformance.test_store_index import (
    BRANCH,
    CHILD,
    DONE,
    MAIN,
    RUNNING,
    accept,
    activate,
    append,
    paused,
    started,
)

PAUSED_WITH_SESSION = paused(PauseKind.SESSION)
WORK = "s:"
"""What stands for a session of which the state is to be carried out."""


async def change(store: Store, state: SessionState, *, reason: str = "r", at: float = 7.0, host: str = "h") -> Session:
    return await store.sessions.change("s", state, reason=reason, at=at, host=host)


class TestHaltedSessions:
    async def test_turns_are_accepted_in_a_paused_session_and_nobody_works_on_them(self, store: Store):
        await accept(store, "one")
        session = await change(store, SessionState.PAUSED)
        opened = [await store.journal.open_threads()]
        assert await accept(store, "two") == 2
        opened.append(await store.journal.open_threads())
        await store.sessions.settle(session)
        opened.append(await store.journal.open_threads())
        active = await change(store, SessionState.ACTIVE, at=8.0, host="b")
        opened.append(await store.journal.open_threads())
        await store.sessions.settle(session)
        opened.append(await store.journal.open_threads())
        await store.sessions.settle(active)
        opened.append(await store.journal.open_threads())

        assert (session.state, session.reason, session.updated_at) == (SessionState.PAUSED, "r", 7.0)
        assert opened == [{WORK: "h"}, {WORK: "h"}, {}, {WORK: "b", MAIN: "b"}, {WORK: "b", MAIN: "b"}, {MAIN: "b"}]
        assert await store.sessions.find_by_id("s") == active

    async def test_no_turn_begins_in_it_and_what_runs_may_only_pause(self, store: Store):
        await accept(store, "one")
        await accept(store, "two")
        await started(store)
        session = await change(store, SessionState.PAUSED)
        assert await store.journal.open_threads() == {WORK: "h", MAIN: "a"}
        await append(store, (EntryKind.STEP_FINISHED, RUNNING), op_id="step")
        await append(store, (EntryKind.PAUSED, PAUSED_WITH_SESSION), op_id="pause")
        assert await store.journal.open_threads() == {WORK: "h"}
        for kind in (EntryKind.RESUMED, EntryKind.TURN_STARTED, EntryKind.BRANCHED):
            with pytest.raises(SessionChanged, match="session s is paused now") as error:
                await append(store, (kind, RUNNING), op_id=kind)
            assert error.value.fields == {"session_id": "s", "state": "paused"}
        await append(store, (EntryKind.RESUMED, RUNNING), (EntryKind.PAUSED, PAUSED_WITH_SESSION), op_id="answer")
        head = await store.journal.head(MAIN)
        halted = (await store.journal.activate(MAIN, "b")).halted

        assert head is not None
        assert head.seq == 5
        assert halted == session
        assert await store.journal.open_threads() == {WORK: "h"}

    async def test_a_turn_that_ends_in_it_does_not_open_the_next_one(self, store: Store):
        await accept(store, "one")
        await accept(store, "two")
        await started(store)
        await change(store, SessionState.PAUSED)
        await append(store, (EntryKind.TURN_FINISHED, DONE), op_id="end")

        assert await store.journal.open_threads() == {WORK: "h"}

    async def test_who_pauses_with_an_active_session_is_refused(self, store: Store):
        await started_session(store)
        with pytest.raises(SessionChanged, match="session s is active now"):
            await append(store, (EntryKind.PAUSED, PAUSED_WITH_SESSION), op_id="pause")
        await change(store, SessionState.PAUSED)
        await append(store, (EntryKind.PAUSED, PAUSED_WITH_SESSION), op_id="pause")
        await change(store, SessionState.ACTIVE)

        assert await store.journal.open_threads() == {WORK: "h", MAIN: "h"}
        assert (await store.journal.activate(MAIN, "b")).halted is None

    async def test_times_come_again_when_it_goes_on(self, store: Store):
        await started_session(store)
        times = {MAIN: 1_764_130_771.123456, BRANCH: 20.5}
        await activate(store, BRANCH)
        await append(store, (EntryKind.BRANCHED, RUNNING), thread_id=BRANCH)
        await append(store, (EntryKind.PAUSED, paused(PauseKind.TIMER, times[MAIN])), op_id="wait")
        await change(store, SessionState.PAUSED)
        seen = [await store.journal.timers()]
        await append(store, (EntryKind.PAUSED, paused(PauseKind.BRANCHES, times[BRANCH])), thread_id=BRANCH, op_id="w")
        seen.append(await store.journal.timers())
        await change(store, SessionState.ACTIVE)

        assert seen == [[], []]
        assert await store.journal.timers() == [(BRANCH, times[BRANCH]), (MAIN, times[MAIN])]
        assert await store.journal.open_threads() == {WORK: "h", BRANCH: "h"}

    async def test_a_thread_below_that_goes_on_opens_nothing_in_it(self, store: Store):
        await started_session(store)
        await append(store, (EntryKind.PAUSED, paused(PauseKind.BRANCHES)), op_id="pause")
        await started(store, CHILD)
        await append(store, (EntryKind.PAUSED, paused()), thread_id=CHILD, op_id="pause")
        await change(store, SessionState.PAUSED)
        await append(store, (EntryKind.RESUMED, RUNNING), thread_id=CHILD, op_id="answer")

        assert await store.journal.open_threads() == {WORK: "h"}

    async def test_an_aborted_session_stays_open_until_its_turns_are_over_and_takes_no_more(self, store: Store):
        for number in range(3):
            await accept(store, f"i{number}")
        await started(store)
        session = await change(store, SessionState.ABORTED)
        await store.sessions.settle(session)
        opened = [await store.journal.open_threads()]
        with pytest.raises(SessionChanged, match="session s is aborted now"):
            await append(store, (EntryKind.RESUMED, RUNNING), op_id="resume")
        for turn in (1, 2, 3):
            cancelled = Cursor(turn=turn, status=ThreadState.CANCELLED)
            begun = () if turn == 1 else ((EntryKind.TURN_STARTED, Cursor(turn=turn, status=ThreadState.RUNNING)),)
            await append(store, *begun, (EntryKind.TURN_FINISHED, cancelled), op_id=f"end {turn}")
            opened.append(await store.journal.open_threads())

        assert opened == [{MAIN: "a"}, {MAIN: "a"}, {MAIN: "a"}, {}]
        with pytest.raises(BusinessRuleViolation, match="session s is aborted and takes no more turns"):
            await accept(store, "late")
        assert await accept(store, "i1") == 2

    async def test_turns_that_wait_in_a_paused_session_are_open_once_it_is_aborted(self, store: Store):
        await accept(store)
        for state in (SessionState.PAUSED, SessionState.ABORTED):
            await change(store, state)

        assert await store.journal.open_threads() == {WORK: "h", MAIN: "h"}

    async def test_what_is_so_already_stays_as_it_is_and_is_carried_out_again(self, store: Store):
        await accept(store)
        first = await change(store, SessionState.PAUSED)
        await store.sessions.settle(first)
        second = await change(store, SessionState.PAUSED, reason="other", at=9.0, host="b")

        assert second == first
        assert await store.journal.open_threads() == {WORK: "b"}

    async def test_what_has_ended_does_not_change(self, store: Store):
        await store.sessions.create(Session(id="s", user_id="u", workflow_id="w@1", created_at=1.0))
        await store.sessions.complete("s", at=7.0)
        for state in (SessionState.PAUSED, SessionState.ACTIVE, SessionState.ABORTED):
            with pytest.raises(IllegalTransition, match=f"a completed session cannot become {state}"):
                await change(store, state)
        assert await store.journal.open_threads() == {}

    async def test_one_that_is_not_there_does_not_change(self, store: Store):
        with pytest.raises(NotFoundError):
            await change(store, SessionState.PAUSED)

    async def test_it_is_deleted_by_force_alone_while_it_is_paused(self, store: Store):
        await accept(store)
        await started(store)
        await append(store, (EntryKind.TURN_FINISHED, DONE), op_id="end")
        session = await change(store, SessionState.PAUSED)
        with pytest.raises(BusinessRuleViolation, match="thread s:0 is running"):
            await store.upkeep.prune("s")
        await store.sessions.settle(session)
        with pytest.raises(BusinessRuleViolation, match="thread s:0 is paused"):
            await store.upkeep.prune("s")
        await change(store, SessionState.PAUSED)
        await store.upkeep.prune("s", force=True)

        assert await store.journal.open_threads() == {}
        assert await accept(store) == 1
        assert await store.journal.open_threads() == {MAIN: "a"}


async def started_session(store: Store) -> None:
    await accept(store)
    await started(store)
