"""What tools may use and reach: plain data, filled in by the runtime's configuration."""

from __future__ import annotations

from typing import Any

import msgspec


class ToolSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The means of the tools of one driver. Holds secrets, which its `repr` does not show."""

    secrets: dict[str, str] = {}
    """Name -> value. Where a tool refers to one by `secret:NAME`, its executor fills it in."""

    hosts: tuple[str, ...] = ()
    """Hosts that tools may be told to ask, see `graphs.access`; that of a REST tool need not be among them."""
    networks: tuple[str, ...] = ()
    """Addresses that are not public and may be connected to all the same."""
    files: tuple[str, ...] = ()
    """Folders whose files may be read."""
    logs: str = ""
    """Folder for what MCP servers say on their standard error; that for temporary files if empty."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"ToolSettings({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        hidden = {"secrets": dict.fromkeys(self.secrets, "***")}
        return [(name, hidden.get(name, getattr(self, name))) for name in self.__struct_fields__]
