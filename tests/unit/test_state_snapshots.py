"""Snapshots that a journal shows, and those somebody asks for."""

from graphs.journal import Cursor, EntryKind, JournalEntry
from graphs.state.snapshots import CheckpointType, StateSnapshot, ThreadSnapshot, checkpoints
from graphs.threads import ThreadState


def entry(seq: int, kind: EntryKind, status: ThreadState = ThreadState.RUNNING) -> JournalEntry:
    return JournalEntry(seq=seq, kind=kind, cursor=Cursor(turn=1, status=status), at=float(seq))


def test_ends_of_turns_and_pauses_are_checkpoints():
    entries = [
        entry(1, EntryKind.TURN_STARTED),
        entry(2, EntryKind.STEP_FINISHED),
        entry(3, EntryKind.PAUSED, ThreadState.PAUSED),
        entry(4, EntryKind.RESUMED),
        entry(5, EntryKind.TURN_FINISHED, ThreadState.COMPLETED),
        entry(6, EntryKind.TURN_STARTED),
        entry(7, EntryKind.STEP_FAILED),
        entry(8, EntryKind.TURN_FINISHED, ThreadState.FAILED),
        entry(9, EntryKind.TURN_STARTED),
        entry(10, EntryKind.TURN_FINISHED, ThreadState.CANCELLED),
    ]

    assert checkpoints("s:0", entries) == [
        ThreadSnapshot(thread_id="s:0", seq=seq, created_at=float(seq), checkpoint_type=kind)
        for seq, kind in (
            (3, CheckpointType.BEFORE_INTERRUPT),
            (5, CheckpointType.AUTOMATIC),
            (8, CheckpointType.ON_FAILURE),
            (10, CheckpointType.AUTOMATIC),
        )
    ]


def test_a_snapshot_says_where_its_states_stand():
    of_thread = StateSnapshot(id="a", state_id="s:0", seq=3, created_at=1.0)
    of_session = StateSnapshot(id="b", state_id="s:0", seq=3, created_at=1.0, threads={"s:0": 3, "s:0.1.0": 2})
    point = ThreadSnapshot(thread_id="s:0", seq=3, created_at=1.0, checkpoint_type=CheckpointType.AUTOMATIC)

    assert of_thread.snapshot_data == {"s:0": 3}
    assert of_session.snapshot_data == {"s:0": 3, "s:0.1.0": 2}
    assert (point.id, point.snapshot_data) == ("s:0@3", {"s:0": 3})


def test_a_snapshot_expires_when_its_time_has_come():
    lasting = StateSnapshot(id="a", state_id="s:0", seq=3, created_at=1.0)
    ending = StateSnapshot(id="a", state_id="s:0", seq=3, created_at=1.0, expires_at=5.0)

    assert [lasting.expired(9.0), ending.expired(4.9), ending.expired(5.0)] == [False, False, True]
