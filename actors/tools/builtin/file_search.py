"""Passages of text files, found by what they say: in the folders that are allowed, ranked by BM25."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

from actors.errors import AccessRefused, ToolError
from actors.tools.native import tool
from actors.tools.settings import ToolSettings

MAX_FILES = 2_000
MAX_FILE_BYTES = 1_000_000
"""Of a file; larger ones are not looked at."""
MAX_BYTES = 32_000_000
"""Of all files."""
PASSAGE_WORDS = 120
MAX_PASSAGES = 20
_ENDINGS = (".md", ".txt", ".rst", ".csv", ".json", ".yaml", ".yml", ".toml", ".html", ".py")
_WORD = re.compile(r"\w+")
# Opening a pipe must not wait for somebody at its other end, and no link is followed.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Stamp = tuple[str, int, int]
"""Path of a file, its size in bytes, and when it was last changed."""


def file_search_tool(settings: ToolSettings) -> Callable[..., Any]:
    """The tool `file_search`, which reaches the folders that `settings` allow."""
    index = _Index(settings.files)

    @tool(tags=("files",))
    def file_search(query: str, limit: int = 5) -> list[dict[str, str]]:
        """Find the passages of text files that say most about something, the best first.

        Args:
            query: Words to look for, or a question.
            limit: Most passages to give, at most 20.

        Raises:
            AccessRefused: No folder is allowed.
            ToolError: There are too many files, or there is no word in the query.
        """
        if not settings.files:
            raise AccessRefused("file_search: no folder is allowed; name one in access.files", tool="file_search")
        words = _WORD.findall(query)
        if not words:
            raise ToolError("file_search: query: has no words", tool="file_search", problems=["query: has no words"])
        return index.find(words, min(max(1, limit), MAX_PASSAGES))

    return file_search


class _Index:
    """The passages of all files in some folders, read anew when a file has changed.

    Args:
        folders: The folders.
    """

    def __init__(self, folders: tuple[str, ...]) -> None:
        self._folders = folders
        self._lock = threading.Lock()
        self._stamps: list[Stamp] | None = None
        self._database: sqlite3.Connection | None = None

    def find(self, words: list[str], limit: int) -> list[dict[str, str]]:
        """The passages that hold any of these words, best first."""
        wanted = " OR ".join(f'"{word}"' for word in words)
        with self._lock:
            rows = self._current().execute(
                "SELECT file, passage FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?",
                (f"passage: ({wanted})", limit),
            )
            return [{"file": file, "passage": passage} for file, passage in rows]

    def _current(self) -> sqlite3.Connection:
        stamps = [(path, found.st_size, found.st_mtime_ns) for path, found, _ in self._files()]
        if self._database is None or stamps != self._stamps:
            if self._database is not None:
                self._database.close()
            self._database = self._read()
            self._stamps = stamps
        return self._database

    def _read(self) -> sqlite3.Connection:
        # Searches come from several threads, one at a time.
        database = sqlite3.connect(":memory:", check_same_thread=False)
        database.execute(
            "CREATE VIRTUAL TABLE passages USING fts5(file UNINDEXED, passage, tokenize='porter unicode61')"
        )
        rows = ((path, passage) for path, _, read in self._files() for passage in _passages(read()))
        database.executemany("INSERT INTO passages VALUES (?, ?)", rows)
        return database

    def _files(self) -> Iterator[tuple[str, os.stat_result, Callable[[], str]]]:
        """(path below its folder, its facts, what reads it) of each text file. Links are not followed."""
        count = size_bytes = 0
        for folder in self._folders:
            for place, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
                folders.sort()
                for name in sorted(names):
                    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if not (
                        stat.S_ISREG(found.st_mode) and name.endswith(_ENDINGS) and found.st_size <= MAX_FILE_BYTES
                    ):
                        continue
                    count, size_bytes = count + 1, size_bytes + found.st_size
                    if count > MAX_FILES or size_bytes > MAX_BYTES:
                        raise ToolError(
                            f"file_search: there are more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes; "
                            "name folders with less in access.files",
                            tool="file_search",
                        )
                    yield os.path.relpath(os.path.join(place, name), folder), found, _reader(name, descriptor)


def _reader(name: str, descriptor: int) -> Callable[[], str]:
    def read() -> str:
        file = os.open(name, _OPEN, dir_fd=descriptor)
        with os.fdopen(file, "rb") as opened:
            return opened.read(MAX_FILE_BYTES).decode("utf-8", errors="ignore")

    return read


def _passages(text: str) -> Iterator[str]:
    """Parts of a text of some length each, that end with a paragraph where they can."""
    taken: list[str] = []
    count = 0
    for paragraph in re.split(r"\n\s*\n", text):
        words = paragraph.split()
        for start in range(0, len(words), PASSAGE_WORDS):
            part = words[start : start + PASSAGE_WORDS]
            if count + len(part) > PASSAGE_WORDS and taken:
                yield "\n".join(taken)
                taken, count = [], 0
            taken.append(" ".join(part))
            count += len(part)
    if taken:
        yield "\n".join(taken)
