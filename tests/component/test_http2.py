"""HTTP/2 over TLS: many requests over one connection, with a certificate that is checked by name."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import pytest
import trustme
from fastapi import FastAPI, Request
from hypercorn.config import Config

from actors.tools.http import HttpClient, HttpFailed
from graphs.access import Access
from graphs.workflow.requests import HttpRequest
from tests.conftest import free_port

KEY = "k3y-in-a-header"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Port of a server called `api.test`, and a context that trusts it."""
    authority, port = trustme.CA(), free_port()
    own = authority.issue_cert("api.test")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    app, ready, loops = FastAPI(), threading.Event(), []
    stop = asyncio.Event()

    @app.get("/")
    async def version(request: Request) -> dict[str, Any]:
        assert request.client is not None
        return {"version": request.scope["http_version"], "from": request.client.port}

    config = Config()
    config.loglevel = "ERROR"
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        yield port, trusted
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


async def resolver(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def request(port: int, host: str = "api.test") -> HttpRequest:
    headers = (("Authorization", f"Bearer {KEY}"),)
    return HttpRequest(method="GET", url=f"https://{host}:{port}/", headers=headers, body=None)


async def test_requests_share_a_connection(
    server: tuple[int, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port, trusted = server
    http = HttpClient(resolver, trusted)
    access = Access(hosts=(f"api.test:{port}", f"other.test:{port}"), networks=("127.0.0.1",))

    async def send(host: str = "api.test") -> bytes:
        for _ in range(100):
            try:
                return (await http.send(request(port, host), access, timeout_s=30, max_size_bytes=1_000)).body
            except HttpFailed as error:
                if "certificate" in str(error):
                    raise
                await asyncio.sleep(0.05)  # it has not begun yet
        raise TimeoutError

    first = await send()
    answers = await asyncio.gather(*(send() for _ in range(20)))

    assert b'"version":"2"' in first
    assert set(answers) == {first}, "all came over one connection"
    with pytest.raises(HttpFailed, match="certificate verify failed: Hostname mismatch"):
        await send("other.test")
    await http.close()
    assert KEY not in caplog.text
