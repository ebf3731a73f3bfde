"""The container in which a process keeps its adapters: one instance of each type."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from graphs.errors import NotFoundError

_T = TypeVar("_T")


class Services:
    """Adapters by type; closed in the reverse order of their registration."""

    def __init__(self) -> None:
        self._instances: dict[type[Any], Any] = {}
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def register(self, kind: type[_T], instance: _T, *, close: Callable[[], Awaitable[None]] | None = None) -> _T:
        """Keep `instance` under `kind`; `close` gives back what it holds."""
        self._instances[kind] = instance
        if close is not None:
            self._closers.append(close)
        return instance

    def get(self, kind: type[_T]) -> _T:
        """The instance of `kind`. Raises `NotFoundError`."""
        try:
            return cast("_T", self._instances[kind])
        except KeyError:
            raise NotFoundError(f"no {kind.__name__} is registered", kind="service", key=kind.__name__) from None

    async def close(self) -> None:
        """Close everything, even if closing something fails; the first failure is raised at the end."""
        failures: list[Exception] = []
        while self._closers:
            try:
                await self._closers.pop()()
            except Exception as error:  # noqa: BLE001 - raised below, when the rest is closed
                failures.append(error)
        if failures:
            raise failures[0]
