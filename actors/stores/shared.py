"""Large values in files that the processes of one machine map into memory: one copy of each for all of them.

The files are a cache: what is not there any more is in the store. They are named by store, session and content, never
changed, and readable by their user only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import mmap
import os
import stat
import tempfile
import time
from pathlib import Path

from actors.ports import ValueRepository
from graphs.state.refs import ValueRef
from graphs.threads import session_of

LIMIT_BYTES = 2 * 1024**3
"""Most that all files together take; the least recently used go first."""
_UNUSED_S = 600.0
"""After this time without use a file goes when another one comes."""
_NEW = "new-"

_log = logging.getLogger(__name__)


class SharedValues:
    """Large values of a store (port `ValueRepository`), each read from it once on this machine.

    Args:
        store: Where they all are.
        name: Name of the store.
        directory: Where the files are; made if it is not there.
        limit_bytes: Most that they take.
    """

    def __init__(self, store: ValueRepository, name: str, directory: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._store = store
        self._name = name
        self._directory = directory
        self._limit_bytes = limit_bytes

    async def put(self, thread_id: str, blob: memoryview) -> ValueRef:
        """Store an encoded value for the session of a thread; durable in the store when it returns."""
        ref = await self._store.put(thread_id, blob)
        await asyncio.to_thread(self._keep, self._path(thread_id, ref), blob)
        return ref

    async def get(self, thread_id: str, ref: ValueRef) -> memoryview:
        """The encoded value that `ref` names. Raises as the store's."""
        path = self._path(thread_id, ref)
        found = _mapped(path, ref)
        if found is None:
            blob = await self._store.get(thread_id, ref)
            await asyncio.to_thread(self._keep, path, blob)
            found = _mapped(path, ref)
            return blob if found is None else found
        return found

    def _path(self, thread_id: str, ref: ValueRef) -> Path:
        owner = hashlib.sha256(f"{self._name}\0{session_of(thread_id)}".encode()).hexdigest()
        return self._directory / f"{owner[:32]}-{ref.digest}"

    def _keep(self, path: Path, blob: memoryview) -> None:
        """Write a file, if that is possible: nobody depends on it."""
        if not blob or path.exists():
            return
        try:
            _make_private(self._directory)
            self._sweep(len(blob))
            with tempfile.NamedTemporaryFile(dir=self._directory, prefix=_NEW, delete=False) as file:
                try:
                    file.write(blob)
                    file.flush()
                    Path(file.name).rename(path)  # whole, or not at all
                except BaseException:
                    Path(file.name).unlink()
                    raise
        except OSError as error:
            _log.warning("a value of %d bytes is not shared between processes: %s", len(blob), error)

    def _sweep(self, coming_bytes: int) -> None:
        """Make room for a file."""
        now = time.time()
        files: list[tuple[float, int, Path]] = []
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # others sweep too
                facts = path.stat()
                files.append((facts.st_mtime, facts.st_size, path))
        left_bytes = self._limit_bytes - coming_bytes - sum(size for _, size, _ in files)
        for used_at, size, path in sorted(files):
            if left_bytes >= 0 and now - used_at < _UNUSED_S:
                break
            path.unlink(missing_ok=True)  # whoever has mapped it keeps what it has
            left_bytes += size


def _make_private(directory: Path) -> None:
    """Make sure of a directory that is nobody else's. Raises `OSError`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise PermissionError(f"{directory} belongs to somebody else, or others may use it; remove it")


def _mapped(path: Path, ref: ValueRef) -> memoryview | None:
    """What is in a file, if it is there and ours."""
    try:
        with open(path, "rb", opener=_open_itself) as file:
            facts = os.fstat(file.fileno())
            if facts.st_size != ref.size_bytes or facts.st_uid != os.geteuid():
                return None
            os.utime(file.fileno())  # the time of its last use
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None


def _open_itself(path: str, flags: int) -> int:
    """Open a file, and not what a link leads to."""
    return os.open(path, flags | os.O_NOFOLLOW)
