"""Unit tests use no sockets, no Ray and no sleep: trying any of them fails the test."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a unit test may not connect, start Ray or sleep; make it a component test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(time, "sleep", refuse)
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", refuse)
