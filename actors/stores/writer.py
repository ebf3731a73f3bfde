"""The way of frequent writes: packed by hand, group-committed over one connection, a tenth of a client call's cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

from actors.stores.calls import Part
from actors.stores.commit import GroupCommit
from actors.stores.link import RedisLink, script_text
from actors.stores.wire import ScriptWire

SCRIPTS = ("append", "activate", "accept", "begin", "open", "tell")


class ScriptWriter:
    """Calls scripts and commands in the order they come; those that come during a round trip share the next one.

    Every call must be harmless when it is done twice.
    """

    def __init__(self, link: RedisLink) -> None:
        self._wire = ScriptWire(link.client, {name: script_text(name) for name in SCRIPTS})
        self._commit = GroupCommit(self._wire, server=link.server, deadline_s=link.deadline_s)

    async def script(self, name: str, keys: Sequence[str], args: Sequence[Part]) -> Any:
        """The answer of one of `SCRIPTS`.

        Raises:
            Overloaded: Too many calls wait.
            StoreUnavailable: The store was away until the deadline.
        """
        return await self.command(b"EVALSHA", self._wire.sha[name], len(keys), *keys, *args)

    async def command(self, *parts: Part) -> Any:
        """The answer to a command. Raises as `script`."""
        return await self._commit.submit(hiredis.pack_command(parts))  # type: ignore[arg-type]  # stub: 1-tuple

    async def close(self) -> None:
        """End; calls not answered yet fail with `StoreUnavailable`."""
        await self._commit.close()
        await self._wire.close()
