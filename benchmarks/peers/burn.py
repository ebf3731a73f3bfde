"""Work for a CPU."""

from __future__ import annotations


def burn(loops: int) -> int:
    """So much arithmetic in pure Python, which holds the interpreter's lock."""
    total = 0
    for number in range(loops):
        total = (total * 31 + number) % 1_000_003
    return total


class Burning:
    """The same work in a plain loop, in one process: one core.

    Args:
        branches: How often.
        loops: See `burn`.
    """

    def __init__(self, *, branches: int, loops: int) -> None:
        self._branches, self._loops = branches, loops

    async def start(self) -> None:
        """Nothing to start."""

    async def operation(self) -> None:
        """All of it."""
        for _ in range(self._branches):
            burn(self._loops)

    async def close(self) -> None:
        """Nothing to close."""
