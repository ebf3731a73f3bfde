"""An MCP server of before 2026, without any library: it knows the handshake and no more. Over stdio, or HTTP on a port.

It says things that are no messages on its output too, as many servers do.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOOLS = ["pid", "learn"]
sessions: set[str] = set()


def answer(message: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said to a message: an answer, or nothing to a notification, and perhaps a notification before it."""
    if "id" not in message:
        return []
    method, params = message["method"], message.get("params", {})
    told: list[dict[str, Any]] = []
    match method:
        case "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "old", "version": "1"},
            }
        case "tools/list":
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
        case "tools/call":
            if params["name"] == "learn":
                TOOLS.append(f"learned_{len(TOOLS)}")
                told.append({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            result = {"content": [{"type": "text", "text": str(os.getpid())}]}
        case _:
            error = {"code": -32601, "message": f"no method {method}"}
            return [{"jsonrpc": "2.0", "id": message["id"], "error": error}]
    return [*told, {"jsonrpc": "2.0", "id": message["id"], "result": result}]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        session = self.headers.get("mcp-session-id", "")
        if message.get("method") == "initialize":
            session = uuid.uuid4().hex
            sessions.add(session)
        elif session not in sessions:
            self.reply(404 if session else 400, b"", "")
            return
        answers = answer(message)
        self.reply(200 if answers else 202, json.dumps(answers[-1]).encode() if answers else b"", session)

    def do_GET(self) -> None:
        self.reply(405, b"", "")

    def do_DELETE(self) -> None:
        self.reply(405, b"", "")

    def reply(self, status: int, body: bytes, session: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if session:
            self.send_header("mcp-session-id", session)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    print("Old server ready!", flush=True)
    for line in sys.stdin:
        for said in answer(json.loads(line)):
            print(json.dumps(said), flush=True)
