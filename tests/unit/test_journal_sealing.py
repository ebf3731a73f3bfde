"""What is stored of a journal: packed and sealed records, and when a thread needs a snapshot."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.journal import (
    CorruptRecord,
    Cursor,
    EntryKind,
    JournalEntry,
    ReplaySize,
    Snapshot,
    open_entry,
    open_snapshot,
    seal,
    snapshot_due,
)
from graphs.packing import pack, unpack
from graphs.threads import Thread, ThreadState, ThreadType

RANDOM = random.Random(3)
TEXT = "".join(RANDOM.choices(string.ascii_letters, k=40_000))
MAIN = Thread(id="s:0", session_id="s", thread_type=ThreadType.MAIN, workflow="w@1")


def entry(delta: bytes) -> JournalEntry:
    cursor = Cursor(turn=3, status=ThreadState.RUNNING, node="n")
    return JournalEntry(seq=7, kind=EntryKind.STEP_FINISHED, cursor=cursor, at=1.5, node="n", deltas=(delta,))


@given(st.binary(max_size=2_000).map(lambda body: b"\x85" + body) | st.just(b""))
def test_what_is_packed_comes_back(record: bytes):
    packed = pack(record)

    assert unpack(packed) == record
    assert len(packed) <= len(record)


@pytest.mark.parametrize("size", [100, 191, 192, 1_000, 16_383, 16_384, 40_000])
def test_text_of_any_length_comes_back_shorter_if_it_is_not_short(size: int):
    record = b"\x85" + TEXT[: size - 1].encode()
    packed = pack(record)

    assert unpack(packed) == record
    assert len(packed) < 0.95 * size or size < 192


def test_what_was_packed_before_can_be_read():
    """The bytes in a store must be readable for good, so neither the dictionary nor the forms may change."""
    packed = bytes.fromhex("c101f10000006b052608059484a00049084041500a5080a60085e1a20e00")

    assert unpack(packed) == b"\x85" + b"seq step_finished cursor status running " * 6


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xc1",
        b"\xc1\x01\x00\x00",
        b"\xc1\x09\x05\x00\x00\x00abcde",
        b"\xc1\x01\x05\x00\x00\x00abcde",
        b"\xc1\x02\x05\x00\x00\x00abcde",
        pack(b"\x85" + b"ab" * 500)[:-3],
        pack(b"\x85" + b"ab" * 500).replace(b"\xe9\x03", b"\xea\x03"),
    ],
)
def test_what_nothing_was_packed_to_cannot_be_unpacked(damaged: bytes):
    with pytest.raises(ValueError, match=r"it (is packed|cannot be unpacked|has)"):
        unpack(damaged)


@pytest.mark.parametrize("size", [0, 500, 20_000])
def test_each_flipped_byte_is_noticed(size: int):
    blob = seal(entry(TEXT[:size].encode()))

    assert open_entry(blob, key="k", thread_id="s:0", seq=7) == entry(TEXT[:size].encode())
    for place in range(0, len(blob), max(1, len(blob) // 50)):
        damaged = blob[:place] + bytes([blob[place] ^ 0x10]) + blob[place + 1 :]
        with pytest.raises(CorruptRecord, match=r"k: the checksum of seq 7 is wrong") as caught:
            open_entry(damaged, key="k", thread_id="s:0", seq=7)
        assert caught.value.fields == {"key": "k", "thread_id": "s:0", "seq": 7}


def test_snapshots_are_stored_packed():
    snapshot = Snapshot(seq=7, cursor=Cursor(), state=TEXT.encode(), created_at=1.0)
    blob = seal(snapshot)

    assert len(blob) < 0.8 * len(TEXT)
    assert open_snapshot(blob, key="k", thread_id="s:0", seq=7) == snapshot


@pytest.mark.parametrize(
    ("entries", "size_bytes", "snapshot_bytes", "due"),
    [
        (63, 10**6, 0, False),
        (64, 1, 0, True),
        (64, 999, 16_000, False),
        (64, 1_000, 16_000, True),
        (999, 0, 10**9, False),
        (1_000, 0, 10**9, True),
    ],
)
def test_when_a_snapshot_is_due(entries: int, size_bytes: int, snapshot_bytes: int, due: bool):
    size = ReplaySize(entries=entries, size_bytes=size_bytes, snapshot_bytes=snapshot_bytes)

    assert snapshot_due(MAIN, size) is due


def test_parallel_threads_go_without_snapshots():
    child = Thread(id="s:0.1.0", session_id="s", thread_type=ThreadType.PARALLEL, workflow="w@1")

    assert not snapshot_due(child, ReplaySize(entries=10_000, size_bytes=10**9, snapshot_bytes=0))


def test_all_snapshots_of_a_growing_state_are_a_bounded_multiple_of_its_entries():
    entries = stored = written = snapshot = tail = 0
    for _ in range(20_000):
        entries, tail, stored = entries + 1, tail + 900, stored + 900
        if snapshot_due(MAIN, ReplaySize(entries=entries, size_bytes=tail, snapshot_bytes=snapshot)):
            entries = tail = 0
            snapshot = stored
            written += snapshot

    assert written <= 20 * stored
