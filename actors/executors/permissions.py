"""What sessions may call."""

from __future__ import annotations

from collections.abc import Sequence

from actors.ports import SessionRepository
from graphs.errors import PermissionDenied
from graphs.tools import Tool


class Permissions:
    """Compares what tools require with what sessions have, which is looked up each time: it may be taken away.

    Args:
        sessions: Where sessions are stored.
    """

    def __init__(self, sessions: SessionRepository) -> None:
        self._sessions = sessions

    async def check(self, tool: Tool, session_id: str) -> None:
        """Return if the session may call `tool`.

        Raises:
            PermissionDenied: It lacks permissions that the tool requires.
        """
        if not tool.permissions:
            return
        granted = await self._granted(session_id)
        missing = [permission for permission in tool.permissions if permission not in granted]
        if missing:
            raise PermissionDenied(
                f"{tool.name}: session {session_id} lacks the permission {', '.join(missing)}; give it to the session, "
                "or use another tool",
                tool=tool.name,
                missing=missing,
            )

    async def allowed(self, tools: Sequence[Tool], session_id: str) -> list[Tool]:
        """Those of `tools` that the session may call."""
        if not any(tool.permissions for tool in tools):
            return list(tools)
        granted = await self._granted(session_id)
        return [tool for tool in tools if granted.issuperset(tool.permissions)]

    async def _granted(self, session_id: str) -> frozenset[str]:
        session = await self._sessions.find_by_id(session_id)
        return frozenset() if session is None else frozenset(session.context.permissions)
