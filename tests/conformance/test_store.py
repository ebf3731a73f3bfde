"""What every store does with threads and their journals, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest

from actors.errors import ActiveElsewhere, Fenced, SeqConflict
from actors.ports import Head, Store
from graphs.errors import ErrorInfo, NotFoundError
from graphs.journal import CorruptRecord, Cursor, EntryKind, Fork, JournalEntry, ReplaySize, Snapshot, Usage, seal
from graphs.threads import Thread, ThreadMetadata, ThreadPriority, ThreadState, ThreadType

MAIN = "s1:0"


def thread(thread_id: str = MAIN, **fields) -> Thread:
    session_id = thread_id.rpartition(":")[0]
    kind = ThreadType.MAIN if thread_id.endswith(":0") else ThreadType.PARALLEL
    return Thread(
        id=thread_id,
        session_id=session_id,
        thread_type=kind,
        workflow="triage@1.0.0",
        created_at=10.5,
        updated_at=10.5,
        **fields,
    )


def entry(seq: int, **fields) -> JournalEntry:
    fields = {"cursor": Cursor(turn=1, status=ThreadState.RUNNING, node=f"n{seq}", steps=seq)} | fields
    return JournalEntry(seq=seq, kind=EntryKind.STEP_FINISHED, at=100.0 + seq, node="n", **fields)


def snapshot(seq: int) -> Snapshot:
    return Snapshot(seq=seq, cursor=Cursor(turn=1, node="n"), state=b"state %d" % seq, created_at=5.0)


async def new_thread(store: Store, thread_id: str = MAIN) -> None:
    await store.journal.create(thread(thread_id))
    await store.journal.activate(thread_id, "host")


async def append(store: Store, *seqs: int, thread_id: str = MAIN, epoch: int = 1, op_id: str | None = None) -> None:
    await store.journal.append(thread_id, epoch, [entry(seq) for seq in seqs], op_id=op_id or f"op{seqs[0]}")


async def take(iterator: AsyncIterator, count: int) -> list:
    async with asyncio.timeout(10):
        return [await anext(iterator) for _ in range(count)]


def seqs(items: list) -> list[int]:
    return [item.seq for item in items]


class TestThreads:
    async def test_a_new_thread_has_a_record_and_no_entries(self, store: Store):
        made = thread(metadata=ThreadMetadata(name="x", priority=ThreadPriority.HIGH))
        await store.journal.create(made)

        assert await store.journal.head(MAIN) == Head(thread=made, seq=0, epoch=0, cursor=Cursor(), host="")
        assert await store.journal.read(MAIN) == []
        assert await store.journal.snapshot(MAIN) is None

    async def test_creating_it_again_changes_nothing(self, store: Store):
        await store.journal.create(thread(), snapshot(0))
        await store.journal.activate(MAIN, "host")
        await append(store, 1)
        before = await store.journal.head(MAIN)

        await store.journal.create(thread(metadata=ThreadMetadata(name="other")), snapshot(0))

        assert await store.journal.head(MAIN) == before
        assert await store.journal.threads("s1") == [before]

    async def test_the_base_is_its_snapshot_at_seq_0_and_its_cursor(self, store: Store):
        await store.journal.create(thread(), snapshot(0))

        head = await store.journal.head(MAIN)
        assert head == Head(thread=thread(), seq=0, epoch=0, cursor=snapshot(0).cursor, host="")
        assert await store.journal.snapshot(MAIN) == snapshot(0)
        assert await store.journal.snapshot(MAIN, at=0) == snapshot(0)

    async def test_what_does_not_fit_together_is_refused(self, store: Store):
        with pytest.raises(ValueError, match="must have seq 0, not 3"):
            await store.journal.create(thread(), snapshot(3))
        with pytest.raises(ValueError, match="is not of session 'other'"):
            await store.journal.create(msgspec.structs.replace(thread(), session_id="other"))

        assert await store.journal.head(MAIN) is None

    async def test_threads_of_a_session_are_listed_in_order_of_creation(self, store: Store):
        ids = ["s1:0", "s1:0.4.1", "s1:0.4.0", "s1:0.4.10"]
        for thread_id in (*ids, "s2:0", "s1:x:0"):
            await store.journal.create(thread(thread_id))

        assert [head.thread for head in await store.journal.threads("s1")] == [thread(i) for i in ids]
        assert [head.thread for head in await store.journal.threads("s1:x")] == [thread("s1:x:0")]
        assert await store.journal.threads("nobody") == []

    async def test_each_activation_takes_the_next_epoch(self, store: Store):
        await store.journal.create(thread())

        heads = [await store.journal.activate(MAIN, host) for host in ("a", "b", "b")]

        assert [(head.epoch, head.host) for head in heads] == [(1, "a"), (2, "b"), (3, "b")]
        assert await store.journal.head(MAIN) == heads[-1]

    async def test_a_running_turn_is_taken_from_no_host_that_may_live(self, store: Store):
        await new_thread(store)
        await append(store, 1)

        with pytest.raises(ActiveElsewhere) as caught:
            await store.journal.activate(MAIN, "other", create=thread(), lost="another")
        again = await store.journal.activate(MAIN, "host")
        taken = await store.journal.activate(MAIN, "other", lost="host")

        assert caught.value.fields == {"thread_id": MAIN, "host": "host"}
        assert [(head.epoch, head.host, head.seq) for head in (again, taken)] == [(2, "host", 1), (3, "other", 1)]

    async def test_what_rests_is_taken_by_anyone(self, store: Store):
        await new_thread(store)
        ended = entry(1, cursor=Cursor(turn=1, status=ThreadState.COMPLETED))
        await store.journal.append(MAIN, 1, [ended], op_id="a")

        head = await store.journal.activate(MAIN, "other")

        assert (head.epoch, head.host) == (2, "other")

    async def test_an_activation_records_a_thread_that_is_not_there(self, store: Store):
        made = thread(metadata=ThreadMetadata(name="x"))
        first = await store.journal.activate(MAIN, "a", create=made)
        second = await store.journal.activate(MAIN, "b", create=thread())

        assert first == Head(thread=made, seq=0, epoch=1, cursor=Cursor(), host="a")
        assert second == Head(thread=made, seq=0, epoch=2, cursor=Cursor(), host="b")
        assert await store.journal.threads("s1") == [second]

    async def test_an_activation_records_no_other_thread(self, store: Store):
        with pytest.raises(ValueError, match="'s1:0' cannot be recorded as 's2:0'"):
            await store.journal.activate(MAIN, "a", create=thread("s2:0"))

        assert await store.journal.threads("s2") == []

    async def test_an_unknown_thread(self, store: Store):
        assert await store.journal.head(MAIN) is None
        assert await store.journal.read(MAIN) == []
        assert await store.journal.snapshot(MAIN) is None
        with pytest.raises(NotFoundError, match="no thread 's1:0'") as caught:
            await store.journal.activate(MAIN, "host")
        assert caught.value.fields == {"kind": "thread", "key": MAIN}
        with pytest.raises(NotFoundError, match="no thread 's1:0'"):
            await append(store, 1)


class TestAppend:
    async def test_entries_come_back_whole_and_the_record_follows(self, store: Store):
        await new_thread(store)
        fork = Fork(node="n", seq=2, join="j", targets=("a", "b"))
        error = ErrorInfo(code="NodeError", message="bad", fields={"node": "n"}, retryable=True)
        entries = [
            entry(1, deltas=(b"\x00\xff" * 3, b""), usage=Usage(prompt_tokens=3, calls=1), by="exec-1", attempt=2),
            entry(2, cursor=Cursor(turn=1, status=ThreadState.FAILED, fork=fork, error=error), error=error),
        ]
        await store.journal.append(MAIN, 1, entries, op_id="op")

        assert await store.journal.read(MAIN) == entries
        state = msgspec.structs.replace(thread(), state=ThreadState.FAILED, updated_at=102.0)
        assert await store.journal.head(MAIN) == Head(
            thread=state, seq=2, epoch=1, cursor=entries[1].cursor, host="host"
        )

    async def test_the_same_append_again_is_done_once(self, store: Store):
        await new_thread(store)
        await append(store, 1, 2)
        await append(store, 1, 2)
        await append(store, 3)
        await append(store, 1, 2)
        await append(store, 3)

        assert await store.journal.read(MAIN) == [entry(1), entry(2), entry(3)]

    async def test_the_same_append_again_is_done_also_under_a_newer_epoch(self, store: Store):
        await new_thread(store)
        await append(store, 1)
        await store.journal.activate(MAIN, "other", lost="host")
        await append(store, 1)

        assert await store.journal.read(MAIN) == [entry(1)]

    @pytest.mark.parametrize(("seq", "op_id"), [(1, "other"), (2, "other"), (4, "op4")])
    async def test_one_that_is_not_next_conflicts(self, store: Store, seq: int, op_id: str):
        await new_thread(store)
        await append(store, 1, 2)

        with pytest.raises(SeqConflict) as caught:
            await append(store, seq, op_id=op_id)

        assert caught.value.fields == {"thread_id": MAIN, "seq": seq, "head": 2}
        assert await store.journal.read(MAIN) == [entry(1), entry(2)]

    @pytest.mark.parametrize("epoch", [0, 1, 3])
    async def test_a_writer_with_another_epoch_is_fenced(self, store: Store, epoch: int):
        await new_thread(store)
        await store.journal.activate(MAIN, "other")

        with pytest.raises(Fenced) as caught:
            await append(store, 1, epoch=epoch)

        assert caught.value.fields == {"thread_id": MAIN, "epoch": epoch, "current": 2}
        assert await store.journal.read(MAIN) == []

    @pytest.mark.parametrize("appended", [[], [0], [1, 3], [2, 1]])
    async def test_seqs_must_be_consecutive(self, store: Store, appended: list[int]):
        await new_thread(store)
        with pytest.raises(ValueError, match="append"):
            await store.journal.append(MAIN, 1, [entry(seq) for seq in appended], op_id="x")

    async def test_a_large_entry(self, store: Store):
        await new_thread(store)
        large = entry(1, deltas=(bytes(range(256)) * 40_000,))
        await store.journal.append(MAIN, 1, [large], op_id="x")

        assert await store.journal.read(MAIN) == [large]

    async def test_as_many_entries_as_a_turn_may_keep(self, store: Store):
        await new_thread(store)
        kept = [entry(seq, deltas=(bytes(range(256)) * 80,)) for seq in range(1, 301)]
        await store.journal.append(MAIN, 1, kept, op_id="x")
        await store.journal.append(MAIN, 1, kept, op_id="x")

        assert await store.journal.read(MAIN) == kept

    async def test_500_concurrent_appends_of_50_threads(self, store: Store):
        ids = [f"s{n}:0" for n in range(50)]
        await asyncio.gather(*(new_thread(store, thread_id) for thread_id in ids))

        async def write(thread_id: str) -> None:
            for seq in range(1, 11):
                await append(store, seq, thread_id=thread_id)

        await asyncio.gather(*map(write, ids))

        wanted = [entry(seq) for seq in range(1, 11)]
        assert [await store.journal.read(thread_id) for thread_id in ids] == [wanted] * 50

    async def test_appends_of_one_thread_sent_at_once_keep_their_order(self, store: Store):
        await new_thread(store)
        await asyncio.gather(*(append(store, seq) for seq in range(1, 501)))

        assert seqs(await store.journal.read(MAIN)) == list(range(1, 501))

    async def test_of_two_writers_of_one_seq_one_wins(self, store: Store):
        await new_thread(store)
        results = await asyncio.gather(append(store, 1, op_id="a"), append(store, 1, op_id="b"), return_exceptions=True)

        assert [type(result) for result in results] == [type(None), SeqConflict]

    async def test_a_cancelled_append_leaves_the_others_alone(self, store: Store):
        ids = [f"s{n}:0" for n in range(20)]
        for thread_id in ids:
            await new_thread(store, thread_id)
        tasks = [asyncio.create_task(append(store, 1, thread_id=thread_id)) for thread_id in ids]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        for thread_id in ids:  # again: harmless if it was done, needed if it was not
            await append(store, 1, thread_id=thread_id)

        assert [task.exception() for task in tasks[1::2]] == [None] * 10
        assert [await store.journal.read(thread_id) for thread_id in ids] == [[entry(1)]] * 20


class TestRead:
    @pytest.mark.parametrize(
        ("after", "limit", "wanted"),
        [
            (0, None, [1, 2, 3, 4, 5]),
            (2, None, [3, 4, 5]),
            (2, 2, [3, 4]),
            (0, 0, []),
            (5, None, []),
            (9, 3, []),
            (-3, 2, [1, 2]),
        ],
    )
    async def test_ranges(self, store: Store, after: int, limit: int | None, wanted: list[int]):
        await new_thread(store)
        await append(store, 1, 2, 3, 4, 5)

        assert seqs(await store.journal.read(MAIN, after=after, limit=limit)) == wanted

    async def test_long_journals(self, store: Store):
        await new_thread(store)
        await append(store, *range(1, 2101))

        assert seqs(await store.journal.read(MAIN)) == list(range(1, 2101))
        assert seqs(await store.journal.read(MAIN, after=50, limit=2000)) == list(range(51, 2051))

    async def test_the_newest_snapshot_and_the_base_are_kept(self, store: Store):
        await store.journal.create(thread(), snapshot(0))
        await store.journal.activate(MAIN, "host")
        for seq in (1, 2, 3, 4):
            await append(store, seq)
            if seq % 2 == 0:
                await store.journal.keep_snapshot(MAIN, snapshot(seq))

        found = [await store.journal.snapshot(MAIN, at=at) for at in (None, 9, 4, 3, 2, 0, -1)]
        wanted = [snapshot(4)] * 3 + [snapshot(0)] * 3 + [None]
        assert found == wanted

    async def test_an_older_snapshot_replaces_no_newer_one(self, store: Store):
        await new_thread(store)
        await append(store, 1, 2, 3)
        for seq in (2, 1, 2):
            await store.journal.keep_snapshot(MAIN, snapshot(seq))

        assert [await store.journal.snapshot(MAIN, at=at) for at in (None, 2, 1)] == [snapshot(2)] * 2 + [None]

    async def test_snapshots_of_what_is_not_there_are_refused(self, store: Store):
        with pytest.raises(NotFoundError, match="no thread 's1:0'"):
            await store.journal.keep_snapshot(MAIN, snapshot(1))
        await new_thread(store)
        await append(store, 1)
        with pytest.raises(SeqConflict, match="is at seq 1, so there is no snapshot of 2") as caught:
            await store.journal.keep_snapshot(MAIN, snapshot(2))
        with pytest.raises(ValueError, match="needs a seq >= 1, not 0"):
            await store.journal.keep_snapshot(MAIN, snapshot(0))

        assert caught.value.fields == {"thread_id": MAIN, "seq": 2, "head": 1}
        assert await store.journal.snapshot(MAIN) is None

    async def test_each_append_tells_what_is_to_be_replayed(self, store: Store):
        await new_thread(store)
        stored = [len(seal(entry(seq))) for seq in range(5)]
        told = [await store.journal.append(MAIN, 1, [entry(1), entry(2)], op_id="a")]
        await store.journal.keep_snapshot(MAIN, snapshot(2))
        told.append(await store.journal.append(MAIN, 1, [entry(3)], op_id="b"))
        told.append(await store.journal.append(MAIN, 1, [entry(4)], op_id="c"))
        told.append(await store.journal.append(MAIN, 1, [entry(3)], op_id="b"))

        kept = len(seal(snapshot(2)))
        assert told == [
            ReplaySize(entries=2, size_bytes=stored[1] + stored[2], snapshot_bytes=0),
            ReplaySize(entries=1, size_bytes=stored[3], snapshot_bytes=kept),
            ReplaySize(entries=2, size_bytes=stored[3] + stored[4], snapshot_bytes=kept),
            ReplaySize(entries=2, size_bytes=stored[3] + stored[4], snapshot_bytes=kept),
        ]

    async def test_the_base_counts_as_a_snapshot(self, store: Store):
        await store.journal.create(thread(), snapshot(0))
        told = await store.journal.append(MAIN, 0, [entry(1)], op_id="a")

        assert told == ReplaySize(entries=1, size_bytes=len(seal(entry(1))), snapshot_bytes=len(seal(snapshot(0))))


class TestCorruption:
    async def test_an_entry(self, store: Store, damage):
        await new_thread(store)
        await new_thread(store, "s2:0")
        await append(store, 1, 2, 3)
        await append(store, 1, thread_id="s2:0")
        await damage.entry(MAIN, 2)

        with pytest.raises(CorruptRecord, match=r"gr:\{s1\}:j:0: the checksum of seq 2 is wrong") as caught:
            await store.journal.read(MAIN)

        assert caught.value.fields == {"key": "gr:{s1}:j:0", "thread_id": MAIN, "seq": 2}
        assert await store.journal.read(MAIN, limit=1) == [entry(1)]
        assert await store.journal.read(MAIN, after=2) == [entry(3)]
        assert await store.journal.read("s2:0") == [entry(1)]

    async def test_a_watcher_gets_what_is_before_it(self, store: Store, damage):
        await new_thread(store)
        await append(store, 1, 2, 3)
        await damage.entry(MAIN, 3)

        async with aclosing(store.journal.follow(MAIN)) as watched:
            assert await take(watched, 2) == [entry(1), entry(2)]
            with pytest.raises(CorruptRecord, match="seq 3"):
                await anext(watched)

    async def test_a_snapshot(self, store: Store, damage):
        await store.journal.create(thread(), snapshot(0))
        await damage.snapshot(MAIN, 0)

        with pytest.raises(CorruptRecord) as caught:
            await store.journal.snapshot(MAIN)

        assert caught.value.fields == {"key": "gr:{s1}:s:0", "thread_id": MAIN, "seq": 0}

    async def test_a_record(self, store: Store, damage):
        await new_thread(store)
        await new_thread(store, "s2:0")
        await append(store, 1)
        await damage.cursor(MAIN)

        for call in (store.journal.head(MAIN), store.journal.threads("s1"), store.journal.activate(MAIN, "h")):
            with pytest.raises(CorruptRecord) as caught:
                await call
            assert caught.value.fields == {"key": "gr:{s1}:t:0", "thread_id": MAIN, "seq": 1}
        assert len(await store.journal.threads("s2")) == 1
