"""A byte flipped in any record of a store: an error that names thread, seq and key, and everything else goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from actors.ports import Store
from graphs.journal import CorruptRecord, Cursor, EntryKind, JournalEntry, Snapshot
from graphs.sessions import InteractionType, Session, UserInteraction
from graphs.state.snapshots import StateSnapshot
from graphs.threads import Thread, ThreadState, ThreadType

Damage = Callable[..., Awaitable[None]]


async def furnish(store: Store, session_id: str) -> None:
    """A session of which one turn is over and one is waiting."""
    for interaction_id in ("i", "j"):
        interaction = UserInteraction(
            interaction_id=interaction_id,
            session_id=session_id,
            interaction_type=InteractionType.USER_REQUEST,
            content=b"input",
            timestamp=2.0,
        )
        session = Session(id=session_id, user_id="u", workflow_id="w@1", created_at=1.0)
        await store.sessions.accept(session, interaction, host="h")
    main = f"{session_id}:0"
    thread = Thread(id=main, session_id=session_id, thread_type=ThreadType.MAIN, workflow="w@1", updated_at=1.0)
    await store.journal.activate(main, "h", create=thread)
    cursors = [Cursor(turn=1, status=status) for status in (ThreadState.RUNNING, ThreadState.COMPLETED)]
    kinds = [EntryKind.TURN_STARTED, EntryKind.TURN_FINISHED]
    entries = [
        JournalEntry(seq=seq, kind=kind, cursor=cursor, at=1.0, deltas=(b"delta" * 100,))
        for seq, (kind, cursor) in enumerate(zip(kinds, cursors, strict=True), start=1)
    ]
    await store.journal.append(main, 1, entries, op_id="op")
    await store.journal.keep_snapshot(main, Snapshot(seq=2, cursor=cursors[1], state=b"state" * 100, created_at=1.0))
    await store.snapshots.save(StateSnapshot(id="x", state_id=main, seq=2, created_at=1.0))


async def read_all(store: Store, session_id: str) -> dict[str, str]:
    """What cannot be read of a session -> what is said about it; nothing if all of it can."""
    main = f"{session_id}:0"
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "session": lambda: store.sessions.find_by_id(session_id),
        "head": lambda: store.journal.head(main),
        "activate": lambda: store.journal.activate(main, "h"),
        "threads": lambda: store.journal.threads(session_id),
        "entries": lambda: store.journal.read(main),
        "snapshot": lambda: store.journal.snapshot(main),
        "interaction 1": lambda: store.sessions.interaction(session_id, 1),
        "interaction 2": lambda: store.sessions.interaction(session_id, 2),
        "named snapshot": lambda: store.snapshots.get(session_id, "x"),
        "named snapshots": lambda: store.snapshots.list(session_id),
    }
    told = {}
    for name, read in reads.items():
        try:
            assert await read()
        except CorruptRecord as error:
            fields = error.fields
            told[name] = f"{fields['thread_id']}@{fields['seq']} {fields['key']}: {error.message}"
    return told


WRONG = "the checksum is wrong"


@pytest.mark.parametrize(
    ("what", "arguments", "told"),
    [
        ("entry", ("s:0", 2), {"entries": "s:0@2 gr:{s}:j:0: gr:{s}:j:0: the checksum of seq 2 is wrong"}),
        ("snapshot", ("s:0", 2), {"snapshot": "s:0@2 gr:{s}:s:0: gr:{s}:s:0: the checksum of seq 2 is wrong"}),
        (
            "cursor",
            ("s:0",),
            dict.fromkeys(("head", "activate", "threads"), f"s:0@2 gr:{{s}}:t:0: gr:{{s}}:t:0: {WRONG}"),
        ),
        (
            "thread",
            ("s:0",),
            dict.fromkeys(("head", "activate", "threads"), f"s:0@2 gr:{{s}}:t:0: gr:{{s}}:t:0: {WRONG}"),
        ),
        ("session", ("s",), {"session": f"s:0@0 gr:{{s}}: gr:{{s}}: {WRONG}"}),
        (
            "interaction",
            ("s", 1),
            {"interaction 1": f"s:0@0 gr:{{s}}:interactions: gr:{{s}}:interactions: {WRONG} (turn 1)"},
        ),
        ("input", ("s", 2), {"interaction 2": f"s:0@0 gr:{{s}}:inputs: gr:{{s}}:inputs: {WRONG} (turn 2)"}),
        (
            "named_snapshot",
            ("s", "x"),
            dict.fromkeys(
                ("named snapshot", "named snapshots"),
                f"s:0@0 gr:{{s}}:snapshots: gr:{{s}}:snapshots: {WRONG} (snapshot x)",
            ),
        ),
    ],
)
async def test_one_flipped_byte(store: Store, damage, what: str, arguments: tuple, told: dict[str, str]):
    for session_id in ("s", "t"):
        await furnish(store, session_id)
    whole = await read_all(store, "s")
    await getattr(damage, what)(*arguments)

    assert whole == {}
    assert await read_all(store, "s") == told
    assert await read_all(store, "t") == {}
