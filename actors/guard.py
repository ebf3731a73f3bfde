"""The guard of the supervisor, which watches all others: hosts end it when it does not answer, and it starts again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from actors import machine, watch
from actors.errors import DestinationDied
from actors.network import SUPERVISOR
from actors.watch import Silence

_EVERY_S = 1.0
_UNSEEN_EVERY_S = 0.25
"""The same until it has answered: only from then on a host knows which process to end."""
STARTS_WITHIN_S = 60.0
"""How long a supervisor may take to answer whose predecessor has died: it is being started, and not to be disturbed."""

logger = logging.getLogger(__name__)


class Guarded(Protocol):
    """The supervisor as the world shows it. Whenever its process dies, the world starts another one."""

    async def whereabouts(self) -> tuple[str, int]:
        """Id of its node, and of its process, said by its event loop. Raises `DestinationDied`."""

    async def restart(self) -> None:
        """Have its process ended and another one started, wherever it is. Raises `DestinationDied`."""


class Remedy(Enum):
    """What is done about a supervisor that does not answer."""

    NOTHING = "it is dead, or being started"
    END = "this very process is ended; one that is gone already cannot be confused with its successor"
    RESTART = "somebody over there ends it"


@dataclass(frozen=True, slots=True)
class _Seen:
    """The process that has answered last."""

    node_id: str
    pid: int
    born: str


class Guard:
    """Of one host. Those of other hosts do the same, and may do it at the same time.

    Args:
        supervisor: What is guarded.
        node_id: Where this host is.
    """

    def __init__(self, supervisor: Guarded, node_id: str) -> None:
        self._supervisor = supervisor
        self._node_id = node_id
        self._seen: _Seen | None = None

    async def run(self) -> None:
        """Ask it again and again, without end."""
        while True:
            await self._look()
            await asyncio.sleep(_UNSEEN_EVERY_S if self._seen is None else _EVERY_S)

    async def _look(self) -> None:
        answer = await watch.ask(self._supervisor.whereabouts, self._patience_s)
        if not isinstance(answer, Silence):
            self._seen = self._noted(*answer)
            return
        seen, self._seen = self._seen, None
        match remedy(answer, is_here=seen is not None and seen.node_id == self._node_id):
            case Remedy.END:
                assert seen is not None
                if machine.end(seen.pid, seen.born):
                    logger.warning("the supervisor did not answer; its process %d was ended", seen.pid)
            case Remedy.RESTART:
                logger.warning("the supervisor does not answer; it is ended")
                with suppress(DestinationDied):  # it is not there any more
                    await self._supervisor.restart()
            case Remedy.NOTHING:
                pass

    def _noted(self, node_id: str, pid: int) -> _Seen:
        seen = self._seen
        if seen is not None and (seen.node_id, seen.pid) == (node_id, pid):
            return seen
        return _Seen(node_id, pid, machine.born(pid) if node_id == self._node_id else "")

    def _patience_s(self, is_cut_off: bool) -> float:
        if self._seen is None:
            return STARTS_WITHIN_S
        runs = machine.is_running(self._seen.pid) if self._seen.node_id == self._node_id else None
        return watch.patience_s(SUPERVISOR, runs=runs, is_cut_off=is_cut_off)


def remedy(silence: Silence, *, is_here: bool) -> Remedy:
    """What is to be done about a supervisor that does not answer.

    Args:
        silence: Why it does not.
        is_here: It is known which process of this machine it was.
    """
    if is_here:
        return Remedy.END
    return Remedy.RESTART if silence is Silence.MUTE else Remedy.NOTHING
