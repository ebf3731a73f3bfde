"""How long do questions to a history of a million records take, and what does a record take in the store?

The records are written by the journal's own appends, one for each turn: a step that has asked a model (four records:
request, response, tokens and cost) and the end of the turn (one). The turns are spread over a month, sessions, users,
nodes and models.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from redis.asyncio import Redis

from actors.stores.redis import RedisStore
from benchmarks.harness import Summary, percentile, progress, save, show
from benchmarks.servers import valkey
from graphs.calls import ModelCall, MonetaryAmount
from graphs.journal import Cursor, EntryKind, JournalEntry, Usage
from graphs.sessions import Session
from graphs.threads import ThreadFactory, ThreadPriority, ThreadState, main_thread_id
from runtime.history import AsyncHistory

_QUESTION = "questions to a history of so many records"
RECORDS_PER_TURN = 5
TURNS_PER_SESSION = 100
USERS = 200
NODES = 5
MODELS = ("large", "small")
BEGIN = 1_790_000_000.0
MONTH_S = 30 * 86_400.0
WORKFLOW = "benchmark"
_AT_ONCE = 256


def turn(number: int, turns: int, chance: random.Random) -> list[JournalEntry]:
    """The entries of one turn: one of many, in the order of time."""
    at = BEGIN + MONTH_S * number / turns
    seq = 2 * (number // _sessions(turns)) + 1
    call = ModelCall(
        model=chance.choice(MODELS),
        name="default",
        started_at=at - 1.5,
        duration_s=1.5,
        messages=b'[{"role":"user","content":"%x"}]' % chance.getrandbits(400),
        text=f"{chance.getrandbits(400):x}",
        finish_reason="stop",
        prompt_tokens=chance.randint(100, 2_000),
        completion_tokens=chance.randint(10, 500),
        cost=MonetaryAmount(amount=Decimal(chance.randint(1, 9_999_999)).scaleb(-9)),
    )
    usage = Usage.of([call])
    running = Cursor(turn=seq // 2 + 1, status=ThreadState.RUNNING, steps=1)
    done = Cursor(turn=seq // 2 + 1, status=ThreadState.COMPLETED, steps=1)
    node = f"node{chance.randrange(NODES)}"
    step = JournalEntry(
        seq=seq, kind=EntryKind.STEP_FINISHED, cursor=running, at=at, node=node, calls=(call,), usage=usage, by="e"
    )
    return [step, JournalEntry(seq=seq + 1, kind=EntryKind.TURN_FINISHED, cursor=done, at=at, usage=usage, by="e")]


def _sessions(turns: int) -> int:
    return max(1, turns // TURNS_PER_SESSION)


async def write(store: RedisStore, turns: int) -> float:
    """Write so many turns; how many seconds that took."""
    chance = random.Random(1)
    count = _sessions(turns)
    epochs: list[int] = []
    for number in range(count):
        session_id = f"session-{number}"
        session = Session(id=session_id, user_id=f"user-{number % USERS}", workflow_id=f"{WORKFLOW}@1.0+b")
        await store.sessions.create(session)
        thread = ThreadFactory(BEGIN).main(session_id, session.workflow_id, ThreadPriority.NORMAL)
        epochs.append((await store.journal.activate(thread.id, "h", create=thread)).epoch)
    started = time.perf_counter()
    waiting: set[asyncio.Task[Any]] = set()
    for number in range(turns):
        entries, session = turn(number, turns, chance), number % count
        append = store.journal.append(main_thread_id(f"session-{session}"), epochs[session], entries, op_id="op")
        waiting.add(asyncio.create_task(append))
        if len(waiting) >= min(_AT_ONCE, count):  # turns of one session in their order
            await asyncio.gather(*waiting)
            waiting.clear()
        if number % (turns // 10 or 1) == 0:
            progress(f"{number * RECORDS_PER_TURN:,} records written")
    await asyncio.gather(*waiting)
    return time.perf_counter() - started


async def timed(question: Callable[[], Awaitable[Any]], rounds: int) -> list[float]:
    """How many seconds each of several answers took; the first, which finds nothing ready, does not count."""
    await question()
    latencies_s = []
    for _ in range(rounds):
        started = time.perf_counter()
        await question()
        latencies_s.append(time.perf_counter() - started)
    return latencies_s


async def export(history: AsyncHistory, path: Path) -> dict[str, Any]:
    """Stream all records to a Parquet file: how long that takes, and how much memory above that of before."""
    before = peak = _memory_bytes()
    exported: asyncio.Future[int] = asyncio.ensure_future(history.export_parquet(path, workflow=WORKFLOW))
    started = time.perf_counter()
    while not exported.done():
        await asyncio.wait([exported], timeout=0.05)
        peak = max(peak, _memory_bytes())
    return {
        "records": exported.result(),
        "seconds": time.perf_counter() - started,
        "memory_above_idle_bytes": peak - before,
        "file_bytes": path.stat().st_size,  # noqa: ASYNC240 - once, at the end
    }


def _memory_bytes() -> int:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def stored(url: str) -> dict[str, int]:
    """Bytes the server has in use: in all, and for the indexes and counts of the history."""
    async with Redis.from_url(url) as client:
        total = int((await client.info("memory"))["used_memory"])
        sizes = dict.fromkeys(("series", "sessions", "users", "counts"), 0)
        async for key in client.scan_iter(match="gr:*", count=10_000):
            name = key.decode()
            kind = (
                "series"
                if name.startswith("gr:history:s:")
                else "users"
                if name.startswith("gr:history:u:")
                else "counts"
                if name.startswith("gr:history:")
                else "sessions"
                if name.endswith("}:h")
                else None
            )
            if kind is not None:
                sizes[kind] += await client.memory_usage(key, samples=0)
        return {"total": total, **sizes}


async def measure(records: int, rounds: int, directory: Path) -> list[dict[str, Any]]:
    """Write the records, then ask."""
    with valkey() as url:
        store = await RedisStore.connect(url)
        turns = records // RECORDS_PER_TURN
        before = (await stored(url))["total"]
        seconds = await write(store, turns)
        sizes = await stored(url)
        history = AsyncHistory(store.history)
        until = BEGIN + MONTH_S
        found = await history.statistics(WORKFLOW)
        assert (found.execution_count, found.calls) == (turns, turns), found
        questions: dict[str, Callable[[], Awaitable[Any]]] = {
            "statistics of a workflow and month": lambda: history.statistics(WORKFLOW, since=BEGIN, until=until),
            "the same by node": lambda: history.statistics(WORKFLOW, since=BEGIN, until=until, by="node"),
            "the same by user": lambda: history.statistics(WORKFLOW, since=BEGIN, until=until, by="user"),
            "latest 100 of a session": lambda: history.query(session="session-0"),
            "latest 100 of a user": lambda: history.query(user="user-0"),
            "latest 100 of a model": lambda: history.query(model="small"),
            "latest 100 of all": history.query,
            "100 from the middle of the month, by node": lambda: history.query(
                workflow=WORKFLOW, node="node1", since=BEGIN + MONTH_S / 2, order="asc"
            ),
        }
        rows: list[dict[str, Any]] = []
        for name, question in questions.items():
            latencies_s = await timed(question, rounds)
            rows.append({"question": name, "seconds": Summary.of(latencies_s), "p99_s": percentile(latencies_s, 99)})
            progress(f"{name}: {rows[-1]['seconds'].median * 1e3:.1f} ms")
        exported = await export(history, directory / "history.parquet")
        await store.close()
    rows.append({"question": "export to Parquet", **exported})
    rows.append(
        {
            "question": "written",
            "seconds": seconds,
            "records_per_s": turns * RECORDS_PER_TURN / seconds,
            "bytes_per_record": (sizes["total"] - before) / (turns * RECORDS_PER_TURN),
            "index_bytes_per_record": sum(sizes[kind] for kind in ("series", "sessions", "users"))
            / (turns * RECORDS_PER_TURN),
            "sizes": sizes,
        }
    )
    return rows


def run(
    records: Annotated[int, typer.Option(min=100)] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each question is asked.")] = 30,
) -> None:
    """Ask a history: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as directory:
        rows = uvloop.run(measure(records, rounds, Path(directory)))
    *asked, exported, written = rows
    show(
        f"{_QUESTION}: {records:,}\nmedian of {rounds} (lowest-highest)",
        ["question", "ms", "p99 ms"],
        [
            [
                row["question"],
                f"{row['seconds'].median * 1e3:.1f} ({row['seconds'].low * 1e3:.1f}-{row['seconds'].high * 1e3:.1f})",
                f"{row['p99_s'] * 1e3:.1f}",
            ]
            for row in asked
        ],
    )
    progress(
        f"export: {exported['records']:,} records in {exported['seconds']:.1f} s, "
        f"{exported['memory_above_idle_bytes'] / 1e6:.0f} MB above idle, in a file of "
        f"{exported['file_bytes'] / 1e6:.0f} MB"
    )
    progress(
        f"written: {written['records_per_s']:,.0f} records/s; {written['bytes_per_record']:.0f} bytes a record in all, "
        f"{written['index_bytes_per_record']:.0f} of them for indexes; {written['sizes']}"
    )
    save("history", _QUESTION, {"records": records, "rounds": rounds}, rows)


if __name__ == "__main__":
    typer.run(run)
