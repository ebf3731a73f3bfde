"""An HTTP server for tools to call: it tells what it was asked, or does to its clients what a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer(ThreadingHTTPServer):
    """Answers its n-th request with its n-th step, and the rest with the last one; without any, with an echo."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WebHandler)
        self.steps: list[Callable[[WebHandler], None]] = []
        self.requests: list[Asked] = []
        self.clients: set[tuple[str, int]] = set()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of these tests."""


class Asked:
    """One request as it came."""

    def __init__(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class WebHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = Asked(self.command, self.path, self.headers.items(), body)
        self.server.requests.append(asked)
        self.server.clients.add(self.client_address)
        if not self.server.steps:
            self.reply(200, {"method": asked.method, "target": asked.target, "body": body.decode()})
            return
        self.server.steps[min(len(self.server.requests), len(self.server.steps)) - 1](self)

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def reply(self, status: int, body: Any = "", content_type: str = "", **headers: str) -> None:
        text = body if isinstance(body, str) else "" if isinstance(body, bytes) else json.dumps(body)
        data = body if isinstance(body, bytes) else text.encode()
        self.send_response(status)
        kind = content_type or ("text/plain" if isinstance(body, str) else "application/json")
        if data:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


for _method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
    setattr(WebHandler, f"do_{_method}", WebHandler.answer)


def reply(status: int, body: Any = "", content_type: str = "", **headers: str) -> Callable[[WebHandler], None]:
    return lambda handler: handler.reply(status, body, content_type, **headers)


@contextmanager
def web_server() -> Iterator[WebServer]:
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
