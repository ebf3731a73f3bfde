"""Connections that lead where they may: the very address that was looked at is connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore

from graphs.access import Access

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> its addresses, in the order in which they are to be tried."""


class AccessDenied(Exception):
    """It leads where it may not."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as this machine knows them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for a pool.

    A name is resolved here, once for each connection, and only addresses that are allowed are connected to: there is no
    second look-up that could be answered in another way. TLS still asks for the certificate of the name.

    Args:
        access: What may be reached; only its addresses count here.
        resolver: Finds the addresses of hosts.
    """

    def __init__(self, access: Access, resolver: Resolver = resolve) -> None:
        self._access = access
        self._resolver = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            AccessDenied: None of its addresses may be connected to.
            httpcore.ConnectError: It has none, or none answers.
        """
        try:
            addresses = await self._resolver(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the host {host} is not known") from error
        refusals = {address: self._access.address_refusal(address) for address in addresses}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if not allowed:
            raise AccessDenied(f'"{host}" leads to an address that is not allowed: {next(iter(refusals.values()), "")}')
        failure: Exception = httpcore.ConnectError(f"{host} does not answer")
        for address in allowed:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """No tool reaches one."""
        raise AccessDenied("sockets in the file system are not allowed")

    async def sleep(self, seconds: float) -> None:
        """Wait, between attempts of the pool."""
        await self._inner.sleep(seconds)
