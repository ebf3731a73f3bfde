"""Texts in files, in the folders that are allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from actors.errors import AccessRefused, ToolError
from actors.tools.native import tool
from actors.tools.settings import ToolSettings

MAX_SIZE_BYTES = 1_000_000
"""Of a file."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Opening a pipe must not wait for somebody at its other end.
_WITHIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def file_read_tool(settings: ToolSettings) -> Callable[..., Any]:
    """The tool `file_read`, which reaches the folders that `settings` allow."""

    @tool(tags=("files",))
    def file_read(path: str) -> str:
        """Read a text file in one of the allowed folders.

        Args:
            path: Path of the file below its folder, such as notes/today.md.

        Raises:
            AccessRefused: No folder is allowed, or the path leads out of them or to what is no file.
            ToolError: There is no such file, it is too large, or it is not UTF-8 text.
        """
        parts = _parts(path)
        if not settings.files:
            raise _refusal("no folder is allowed; name one in access.files")
        for folder in settings.files:
            try:
                with _opened(folder, parts) as file:
                    return _text(file, path)
            except FileNotFoundError:
                continue
            except OSError as error:
                # A link, a folder in the place of a file, or the other way round: O_NOFOLLOW and O_DIRECTORY tell.
                raise _refusal(f'"{path}" cannot be opened ({error.strerror}); links are not followed') from error
        raise ToolError(f'file_read: path: there is no file "{path}" in the allowed folders', tool="file_read")

    return file_read


def _parts(path: str) -> list[str]:
    """The names in a path that stays below where it begins."""
    parts = [part for part in path.split("/") if part != "."]
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path or not all(parts) or "\\" in path:
        raise _refusal(f'"{path}" is no path below a folder; write one such as notes/today.md')
    return parts


@contextmanager
def _opened(folder: str, parts: list[str]) -> Iterator[int]:
    """The file at `parts` below `folder`, opened name by name: nothing on the way can be exchanged for a link."""
    descriptor = os.open(folder, _FOLDER)
    try:
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            inner = os.open(part, _WITHIN if is_last else _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _text(file: int, path: str) -> str:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(f'"{path}" is no file')
    data = bytearray()
    while len(data) <= MAX_SIZE_BYTES and (chunk := os.read(file, MAX_SIZE_BYTES + 1 - len(data))):
        data += chunk
    if len(data) > MAX_SIZE_BYTES:
        raise ToolError(f'file_read: path: "{path}" has more than {MAX_SIZE_BYTES} bytes', tool="file_read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(f'file_read: path: "{path}" is not UTF-8 text', tool="file_read") from error


def _refusal(problem: str) -> AccessRefused:
    return AccessRefused(f"file_read: path: {problem}", tool="file_read")
