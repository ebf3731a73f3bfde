"""The texts of a demonstration: files that the user names, or docstrings of the standard library."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graphs.errors import ValidationError

MODULES = (
    "argparse",
    "copy",
    "difflib",
    "heapq",
    "json",
    "sched",
    "shelve",
    "smtplib",
    "statistics",
    "tempfile",
    "timeit",
    "uuid",
)
"""Modules whose docstrings are the texts if there is no other input: each says what it is for in prose."""
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text, as the workflow gets it."""

    name: str
    text: str


@dataclass(slots=True, kw_only=True)
class Texts:
    """What was found."""

    texts: list[Text] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Files within folders that are no texts, each with the reason."""
    has_more: bool = False
    """Whether the limit left files out."""


class _UnfitError(Exception):
    """A file is no text; the message says why."""


def docstrings(limit: int) -> Texts:
    """The docstrings of the first `limit` of `MODULES`.

    Raises:
        ValidationError: Python has dropped the docstrings.
    """
    found = Texts(has_more=limit < len(MODULES))
    for name in MODULES[:limit]:
        text = importlib.import_module(name).__doc__
        if not text:
            raise ValidationError(f"module {name} has no docstring; run without python -OO, or give files with --input")
        found.texts.append(Text(name=name, text=inspect.cleandoc(text)))
    return found


def read_texts(paths: Sequence[Path], limit: int) -> Texts:
    """The texts in files and folders, in the order of `paths`; within folders by name, without hidden files.

    Args:
        paths: Files, which must be texts, and folders, in which other files are skipped.
        limit: Most texts.

    Raises:
        ValidationError: A path is missing, empty, binary or cannot be read; all of them are listed.
    """
    found = Texts()
    problems: list[str] = []
    for path in paths:
        before = len(found.texts)
        for file in _files(path):
            if len(found.texts) == limit:
                found.has_more = True
                break
            try:
                found.texts.append(Text(name=_name(file, path, found.texts), text=_read(file)))
            except _UnfitError as error:
                (found.skipped if path.is_dir() else problems).append(f"{file}: {error}")
        if path.is_dir() and len(found.texts) == before < limit:
            problems.append(f"{path}: there is no text file in this folder")
    if problems:
        raise ValidationError(f"the input cannot be used: {'; '.join(problems)}", problems=problems)
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        is_hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if not is_hidden and file.is_file():
            yield file


def _name(file: Path, root: Path, before: Sequence[Text]) -> str:
    name = file.relative_to(root).as_posix() if root.is_dir() else file.name
    return str(file) if any(text.name == name for text in before) else name


def _read(file: Path) -> str:
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise _UnfitError("is no regular file")
        if size > MAX_FILE_BYTES:
            raise _UnfitError(f"has {size / 2**20:.1f} MiB; {MAX_FILE_BYTES >> 20} MiB is the most")
        content = file.read_bytes()
    except OSError as error:
        raise _UnfitError(f"cannot be read ({error.strerror or error})") from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _UnfitError("is not UTF-8 text") from None
    if "\0" in text:
        raise _UnfitError("is binary")
    if not text.strip():
        raise _UnfitError("is empty")
    return text
