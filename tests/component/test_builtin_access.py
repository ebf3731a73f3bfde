"""Builtin tools that reach out: into the web, into files, into tables. Each stays within what is allowed."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel, ConfigDict

from actors.errors import AccessRefused, AnswerInvalid, ToolError, ToolTimeout
from actors.tools.builtin import http_get, sql
from graphs.errors import GreenroomError
from runtime import END, START, ConfigError, Graph
from tests.component.actors_kit import runtime
from tests.component.web_server import WebServer, reply, web_server


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


async def run(tool: str, arguments: dict[str, Any], **access: Any) -> Any:
    """The output of a tool, or its error."""
    async with runtime(access=access) as rt:
        result = await rt.tools.execute(tool, arguments)
    if result.error is None:
        return result.output
    assert result.error.fields["tool"] == tool
    return GreenroomError.from_info(result.error)


# --- http_get -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "content_type", "body"),
    [({"a": [1]}, "application/json", {"a": [1]}), ("grüße", "text/html", "grüße"), ("", "", "")],
)
async def test_http_get_gives_json_and_text(server: WebServer, answer: Any, content_type: str, body: Any) -> None:
    server.steps = [reply(200, answer, content_type)]
    host = f"127.0.0.1:{server.server_port}"

    found = await run("http_get", {"url": f"http://{host}/x?y=z#part"}, hosts=[host], networks=["127.0.0.1"])

    assert found == {"url": f"http://{host}/x?y=z#part", "status": 200, "content_type": content_type, "body": body}
    assert server.requests[0].target == "/x?y=z"


async def test_http_get_tells_other_statuses(server: WebServer) -> None:
    server.steps = [reply(404, "no such page")]
    host = f"localhost:{server.server_port}"

    found = await run("http_get", {"url": f"http://{host}/"}, hosts=[host], networks=["127.0.0.0/8", "::1"])

    assert (found["status"], found["body"]) == (404, "no such page")


@pytest.mark.parametrize(
    ("access", "problem"),
    [
        ({}, 'url: the host "127.0.0.1" is not allowed; add it to access.hosts'),
        ({"networks": ["127.0.0.1"]}, 'url: the host "127.0.0.1" is not allowed; add it to access.hosts'),
        ({"hosts": ["127.0.0.1"]}, 'url: the host "127.0.0.1" is not allowed; add it to access.hosts'),
        ({"hosts": ["127.0.0.1:{port}"]}, "127.0.0.1 is a loopback address; add it to access.networks to allow it"),
    ],
)
async def test_http_get_needs_the_host_and_a_private_address_allowed(
    server: WebServer, access: dict[str, Any], problem: str
) -> None:
    access = {key: [item.format(port=server.server_port) for item in items] for key, items in access.items()}

    error = await run("http_get", {"url": server.url}, **access)

    assert type(error) is AccessRefused
    assert problem in str(error)
    assert server.requests == []


async def test_http_get_follows_only_to_allowed_hosts(server: WebServer) -> None:
    server.steps = [reply(302, location="http://169.254.169.254/latest/")]
    host = f"127.0.0.1:{server.server_port}"

    error = await run("http_get", {"url": server.url}, hosts=[host], networks=["127.0.0.1"])

    assert str(error) == 'http_get: url: the host "169.254.169.254" is not allowed; add it to access.hosts'


async def test_http_get_is_bound_in_size_time_and_kind(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_get, "TIMEOUT_S", 0.3)
    server.steps = [
        reply(200, "x" * (http_get.MAX_SIZE_BYTES + 1)),
        reply(200, b"\x00", "image/png"),
        lambda handler: handler.server.released.wait() and None,
    ]
    host = f"127.0.0.1:{server.server_port}"

    errors = [await run("http_get", {"url": server.url}, hosts=[host], networks=["127.0.0.1"]) for _ in range(3)]

    assert [type(error) for error in errors] == [AnswerInvalid, AnswerInvalid, ToolTimeout]
    assert type(await run("http_get", {"url": server.url + "/" + "x" * 2_000}, hosts=[host])) is AccessRefused


# --- file_read ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("grüße")
    (folder / "inner" / "b.txt").write_text("inner")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.mark.parametrize(
    ("path", "text"), [("a.txt", "grüße"), ("./a.txt", "grüße"), ("inner/b.txt", "inner"), ("other.txt", "other")]
)
async def test_file_read_reads_files_in_allowed_folders(folder: Path, tmp_path: Path, path: str, text: str) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / "other.txt").write_text("other")

    assert await run("file_read", {"path": path}, files=[folder, second]) == text


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.txt", "inner/../../secret.txt", "/etc/passwd", "~/x", "", "inner//b.txt", "a\0b", "..", "."),
        *(
            "link.txt",
            "linked/secret.txt",
            "inner",
            "a.txt/b",
            "pipe",
            "socket",
            "..\\secret.txt",
            "hard/../../secret.txt",
        ),
    ],
)
async def test_file_read_does_not_leave_them(folder: Path, tmp_path: Path, path: str) -> None:
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket must be short
        listening.bind("socket")
        os.chdir(here)

        error = await run("file_read", {"path": path}, files=[folder])

    assert type(error) is AccessRefused
    assert str(error).startswith("file_read: path: ")


async def test_file_read_tells_what_it_cannot_read(folder: Path) -> None:
    (folder / "large").write_bytes(b"x" * 1_000_001)
    (folder / "binary").write_bytes(b"\xff\xfe\x00")

    errors = [await run("file_read", {"path": path}, files=[folder]) for path in ("absent", "large", "binary")]

    assert [str(error) for error in errors] == [
        'file_read: path: there is no file "absent" in the allowed folders',
        'file_read: path: "large" has more than 1000000 bytes',
        'file_read: path: "binary" is not UTF-8 text',
    ]
    assert {type(error) for error in errors} == {ToolError}


async def test_file_read_needs_a_folder(folder: Path) -> None:
    error = await run("file_read", {"path": "a.txt"})

    assert str(error) == "file_read: path: no folder is allowed; name one in access.files"
    with pytest.raises(ConfigError, match=r"access\.files\.0: .* is no folder"):
        await run("file_read", {"path": "a.txt"}, files=[folder / "absent"])


async def test_a_link_put_in_while_files_are_read_is_never_followed(folder: Path, tmp_path: Path) -> None:
    """Somebody exchanges a folder for a link to another one, again and again: each read is refused or right."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "outside")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            os.rename(folder / "inner", folder / "kept")
            os.rename(folder / "link", folder / "inner")
            os.rename(folder / "inner", folder / "link")
            os.rename(folder / "kept", folder / "inner")

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        async with runtime(access={"files": [folder]}) as rt:
            results = [await rt.tools.execute("file_read", {"path": "inner/b.txt"}) for _ in range(300)]
    finally:
        stop.set()
        thread.join()

    assert {result.output for result in results} <= {"inner", None}


# --- sql ------------------------------------------------------------------------------------------------------------

ROWS = [{"kind": "a", "n": 1}, {"kind": "b", "n": 2}, {"kind": "a", "n": 3}]


class Sales(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    sales: pa.Table = None  # type: ignore[assignment]
    totals: pa.Table = None  # type: ignore[assignment]
    rows: list[dict[str, Any]] = []
    text: str = ""


def query(text: str, into: str) -> Graph:
    g = Graph("sales", state=Sales)
    g.tool("ask", tool="sql", arguments={"query": text, "tables": {"sales": "{sales}"}}, into=into)
    g.edge(START, "ask")
    g.edge("ask", END)
    return g


async def test_sql_over_a_table_of_the_state() -> None:
    text = "SELECT kind, CAST(sum(n) AS BIGINT) AS total FROM sales GROUP BY kind ORDER BY kind"
    totals = [{"kind": "a", "total": 4}, {"kind": "b", "total": 2}]
    async with runtime() as rt:
        for into, value in (("totals", pa.Table.from_pylist(totals)), ("rows", totals)):
            await rt.deploy(query(text, into))
            result = await (await rt.session("sales")).run({"sales": pa.Table.from_pylist(ROWS)})
            assert result.error is None
            assert result.state[into] == value


async def test_sql_over_rows() -> None:
    found = await run("sql", {"query": "SELECT max(n) AS most FROM t", "tables": {"t": ROWS}})

    assert found == [{"most": 3}]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_parquet('http://127.0.0.1:1/x')",
        "SELECT * FROM _LIMITS",
        "SELECT getenv('HOME')",
        "COPY t TO '/tmp/out.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "RESET ALL",
        "PRAGMA database_list",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO t VALUES ('x', 1)",
        "DROP VIEW t",
        "EXPORT DATABASE '/tmp/x'",
        "SELECT 1; SELECT 2",
        "",
        "SELECT nothere FROM t",
        "nonsense",
    ],
)
async def test_sql_reads_its_tables_and_nothing_else(text: str) -> None:
    error = await run("sql", {"query": text, "tables": {"t": ROWS}})

    assert type(error) is ToolError
    assert str(error).startswith("sql: query: ")


async def test_sql_is_bound_in_rows_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "TIMEOUT_S", 0.3)
    queries = {
        "SELECT * FROM range(100001)": ToolError,
        "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3": ToolTimeout,
        "SELECT 1 -- " + "x" * 10_000: ToolError,
    }
    async with asyncio.timeout(60):
        errors = {text: type(await run("sql", {"query": text, "tables": {}})) for text in queries}

    assert errors == queries


async def test_sql_is_bound_in_memory() -> None:
    error = await run("sql", {"query": "SELECT string_agg(repeat('x', 10000)) FROM range(100000)", "tables": {}})

    assert type(error) is ToolError
    assert "Out of Memory" in str(error)


@pytest.mark.parametrize("table", [7, "x", [1], [{"a": 1}, {"a": "x"}]])
async def test_sql_tells_which_table_is_none(table: Any) -> None:
    error = await run("sql", {"query": "SELECT 1", "tables": {"t": table}})

    assert str(error).startswith("sql: tables.t: ")
