"""What a driver holds of a running Greenroom, whether that is on Ray or in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.llm.settings import ModelSettings
from actors.network import Network
from actors.ports import Store
from actors.tools.settings import ToolSettings

Pack = Callable[[Mapping[str, Callable[..., Any]]], bytes]
"""Python callables by reference -> bytes that other processes can open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A way to the store and to the actors."""

    store: Store
    network: Network
    pack: Pack
    models: Mapping[str, ModelSettings]
    """The models of this driver's configuration, by name."""
    tools: ToolSettings = field(default_factory=ToolSettings)
    """The means of its tools."""
