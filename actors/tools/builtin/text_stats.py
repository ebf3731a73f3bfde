"""Counts over a text."""

from __future__ import annotations

import re

from actors.tools.native import tool

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])")  # noqa: RUF001 - these marks are meant
_WORD_CHARACTER = re.compile(r"\w")


@tool(tags=("text",))
def text_stats(text: str) -> dict[str, int]:
    """Count the characters, words, lines and sentences of a text.

    A sentence ends at a full stop, question or exclamation mark before white space, so abbreviations count as ends.

    Args:
        text: The text.
    """
    return {
        "chars": len(text),
        "words": len(text.split()),
        "lines": len(text.splitlines()),
        "sentences": sum(1 for piece in _SENTENCE_END.split(text) if _WORD_CHARACTER.search(piece)),
    }
