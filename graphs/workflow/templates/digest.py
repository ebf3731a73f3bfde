"""The functions of the template `digest`: they fit texts to a small model and put its answers together."""

from __future__ import annotations

from typing import Any

TEXT_WORDS = 220
"""Words of a file that the model gets to see."""
SUMMARY_WORDS = 30
"""Words from which a summary is shortened."""
MAX_ROUNDS = 2
"""Times a summary is measured, that is, shortened once less."""
DIGEST_WORDS = 240
"""Words of all summaries together that the model gets to see."""


def prepare(state: Any) -> dict[str, Any]:
    """Count the words of the file, and cut its text to what the model can take."""
    words = state.file.text.split()
    return {"file_words": len(words), "excerpt": " ".join(words[:TEXT_WORDS])}


def measure(state: Any) -> dict[str, Any]:
    """Count the words of the summary, and say whether it is to be shortened once more."""
    words = len(state.summary.split())
    rounds = state.rounds + 1
    return {"rounds": rounds, "too_long": words > SUMMARY_WORDS and rounds < MAX_ROUNDS}


def pack(state: Any) -> dict[str, Any]:
    """The part of the digest that this file gives."""
    summary = " ".join(state.summary.split())
    part = {
        "name": state.file.name,
        "summary": summary,
        "file_words": state.file_words,
        "summary_words": int(state.stats["words"]),
    }
    return {"part": part}


def collect(state: Any) -> dict[str, Any]:
    """The summaries of all files as one text, each on its line and cut so that all have a place."""
    share = DIGEST_WORDS // max(1, len(state.parts))
    lines = [f"{part.name}: {' '.join(part.summary.split()[: max(5, share)])}" for part in state.parts]
    return {"summaries": "\n".join(lines)}
