"""Large values that processes share: each is read from the store once on a machine, and the store stays the truth."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from actors.errors import ValueMissing
from actors.stores.shared import SharedValues
from actors.stores.values import CHUNK_BYTES, MemoryValues
from graphs.state.refs import ref_of

BLOB = random.Random(3).randbytes(CHUNK_BYTES + 77)
REF = ref_of(BLOB)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "mine" / "values"


@pytest.fixture
def store() -> MemoryValues:
    return MemoryValues()


def shared(store: MemoryValues, directory: Path, **options: int) -> SharedValues:
    """What one process has."""
    return SharedValues(store, "store-1", directory, **options)


async def test_what_one_process_puts_another_has_without_asking_the_store(store, directory):
    assert await shared(store, directory).put("s1:0", memoryview(BLOB)) == REF
    store.blobs.clear()

    assert bytes(await shared(store, directory).get("s1:0.1.2", REF)) == BLOB


async def test_what_one_process_reads_another_has_without_asking_the_store(store, directory):
    await store.put("s1:0", memoryview(BLOB))
    first = await shared(store, directory).get("s1:0", REF)
    store.blobs.clear()
    second = await shared(store, directory).get("s1:0", REF)

    assert (bytes(first), bytes(second)) == (BLOB, BLOB)
    assert second.readonly


async def test_it_is_neither_anothers_session_nor_another_stores(store, directory):
    await shared(store, directory).put("s1:0", memoryview(BLOB))

    with pytest.raises(ValueMissing):
        await shared(store, directory).get("s2:0", REF)
    with pytest.raises(ValueMissing):
        await SharedValues(MemoryValues(), "store-2", directory).get("s1:0", REF)


async def test_the_least_recently_used_goes_when_there_is_no_room(store, directory):
    process = shared(store, directory, limit_bytes=2_500)
    blobs = [bytes([number]) * 1_000 for number in range(3)]
    refs = [await process.put("s1:0", memoryview(blob)) for blob in blobs[:2]]
    kept = await process.get("s1:0", refs[1])
    times = {
        path: number for number, path in enumerate(sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime))
    }
    for path, number in times.items():
        os.utime(path, (2e9 + number, 2e9 + number))
    refs.append(await process.put("s1:0", memoryview(blobs[2])))
    store.blobs.clear()

    assert bytes(await process.get("s1:0", refs[2])) == blobs[2]
    assert [bytes(await process.get("s1:0", ref)) for ref in refs[1:]] == blobs[1:]
    assert bytes(kept) == blobs[1]
    with pytest.raises(ValueMissing):
        await process.get("s1:0", refs[0])


async def test_what_has_not_been_used_for_long_goes_when_another_comes(store, directory):
    process = shared(store, directory)
    await process.put("s1:0", memoryview(b"old"))
    (old,) = directory.iterdir()
    os.utime(old, (0, 0))
    await process.put("s1:0", memoryview(b"new"))

    assert [path.read_bytes() for path in directory.iterdir()] == [b"new"]


async def test_a_file_that_was_cut_off_is_not_taken(store, directory):
    await shared(store, directory).put("s1:0", memoryview(BLOB))
    (path,) = directory.iterdir()
    path.unlink()
    path.write_bytes(BLOB[:-1])

    assert bytes(await shared(store, directory).get("s1:0", REF)) == BLOB


async def test_a_directory_that_others_may_use_is_not_used(store, directory, caplog):
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    process = shared(store, directory)
    await process.put("s1:0", memoryview(BLOB))

    assert bytes(await process.get("s1:0", REF)) == BLOB
    assert list(directory.iterdir()) == []
    assert "remove it" in caplog.text


async def test_an_empty_value(store, directory):
    process = shared(store, directory)

    assert bytes(await process.get("s1:0", await process.put("s1:0", memoryview(b"")))) == b""
