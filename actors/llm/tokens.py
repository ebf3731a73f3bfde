"""How many tokens a text has, where the server of a model does not say: an estimate, and marked as one."""

from __future__ import annotations

import math

_ASCII_PER_TOKEN = 4.0
"""Characters of English text and code in a token of today's vocabularies."""
_WIDE_PER_TOKEN = 1.0
"""Characters of Chinese, Japanese and Korean in one."""
_OTHER_PER_TOKEN = 2.0
_WIDE_FROM = 0x2E80
"""Where the scripts begin that are written without spaces."""


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` has, within a third or so; vocabularies differ more than that between models.

    There is no tokenizer here: each model has its own vocabulary of some megabytes, most of which are only to be had
    from the network. Whoever needs exact numbers asks a server that counts.
    """
    ascii_count = len(text.encode("ascii", "ignore"))
    wide_count = 0 if ascii_count == len(text) else sum(ord(letter) >= _WIDE_FROM for letter in text)
    other_count = len(text) - ascii_count - wide_count
    return math.ceil(ascii_count / _ASCII_PER_TOKEN + wide_count / _WIDE_PER_TOKEN + other_count / _OTHER_PER_TOKEN)
