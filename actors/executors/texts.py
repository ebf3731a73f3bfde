"""What is kept of the texts of calls: all, redacted, cut, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from actors.settings import HistorySettings
from graphs.errors import GreenroomError
from graphs.functions import resolve

MAX_TEXT_CHARS = 64 * 1024
"""Of a text that is longer the beginning is kept: what a node has written of it is in the journal whole."""

logger = logging.getLogger(__name__)


class Texts:
    """Applies the rules to texts before anything is stored.

    Args:
        settings: The rules.
    """

    def __init__(self, settings: HistorySettings) -> None:
        self._redact: Callable[[str], str] | None = None
        self.are_kept = settings.texts
        """Whether any text is stored."""
        if settings.redact and self.are_kept:
            try:
                self._redact = resolve(settings.redact, {})
            except GreenroomError as error:
                # Better no text than one that should have been redacted.
                self.are_kept = False
                logger.error("no texts are stored in the history: %s", error)

    def kept(self, text: str) -> str:
        """What is stored of `text`."""
        if not self.are_kept:
            return ""
        if self._redact is not None:
            try:
                text = str(self._redact(text))
            except Exception:  # it is the user's, and may raise anything
                logger.exception("a text is not stored in the history: it could not be redacted")
                return ""
        return text[:MAX_TEXT_CHARS]
