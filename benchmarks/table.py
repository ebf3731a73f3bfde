"""What does a table of 100 MB in the state cost a chain of ten nodes that read one column of it?

Each round is a new session whose input is a table of its own: the driver stores it, an executor fetches it for the
first node and has it at hand for the other nine. A second turn of the session finds it there. What processes grow by
(unique set size: what would be free if they ended) and what the store has tell how many copies there are.
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import typer
import uvloop
from pydantic import BaseModel

from benchmarks.harness import Summary, progress, save, show
from benchmarks.ours import greenroom, one_turn, process_bytes
from graphs.journal import EntryKind
from runtime import END, START, Graph

_QUESTION = "a table of 100 MB in the state of a chain of 10 nodes that read one column of it"
NODES = 10
TABLE_BYTES = 100_000_000
COLUMNS = 4


class Rows(BaseModel):
    """A table, and what was read of it."""

    total: int = 0
    table: pa.Table | None = None

    model_config = {"arbitrary_types_allowed": True}


def chain() -> Graph:
    """Ten nodes in a row that read a column."""
    graph = Graph("benchmark-table", state=Rows)
    previous = START
    for number in range(NODES):
        name = f"node{number}"
        graph.node(add_up, name=name)
        graph.edge(previous, name)
        previous = name
    graph.edge(previous, END)
    return graph


async def add_up(state: Rows) -> dict[str, Any]:
    """Look at the first of the column's values, which is quick."""
    assert state.table is not None
    return {"total": state.total + pc.sum(state.table["c0"].slice(0, 1_000)).as_py()}


def random_table() -> pa.Table:
    """One that nobody has seen before."""
    rows = TABLE_BYTES // (8 * COLUMNS)
    small = pa.scalar(2**40, pa.int64())
    columns = [
        pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(os.urandom(8 * rows))]) for _ in range(COLUMNS)
    ]
    return pa.table({f"c{number}": pc.divide(column, small) for number, column in enumerate(columns)})


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What all rounds have shown."""

    seconds: dict[str, list[float]]
    """Of each part."""
    grown_bytes: dict[str, int]
    """What processes have grown by in all rounds."""
    copies_stored: float
    """Copies in the store of each table."""


async def measure(home: str, rounds: int) -> Measured:
    """Every part, every round."""
    seconds: dict[str, list[float]] = {part: [] for part in ("first turn", "first node", "other nodes", "second turn")}
    stored = 0
    async with greenroom(home) as runtime:
        await runtime.deploy(chain())
        await one_turn(runtime, "benchmark-table", {"table": pa.table({"c0": [1]})})  # every process warm
        before = await process_bytes(runtime)
        for number in range(rounds):
            session, table = await runtime.session("benchmark-table"), random_table()
            began = time.perf_counter()
            result = await session.run({"table": table})
            first_turn = time.perf_counter() - began
            assert result.error is None, result.error
            entries = await runtime.records.store.journal.read(result.thread_id)
            steps = [
                after.at - before.at for before, after in pairwise(entries) if after.kind is EntryKind.STEP_FINISHED
            ]
            began = time.perf_counter()
            await session.run({"total": 0})
            second_turn = time.perf_counter() - began
            measured = (first_turn, steps[0], sum(steps[1:]) / (NODES - 1), second_turn)
            stored += (await runtime.records.store.upkeep.size(session.id)).get("values", 0)
            for part, value in zip(seconds, measured, strict=True):
                seconds[part].append(value)
            progress(f"round {number + 1}/{rounds}: {first_turn:.2f} s, then {second_turn:.3f} s")
        after = await process_bytes(runtime)
    return Measured(
        seconds=seconds,
        grown_bytes={address: size - before.get(address, 0) for address, size in after.items()},
        copies_stored=stored / (rounds * TABLE_BYTES),
    )


def run(rounds: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Milliseconds of each part: measure, print a table, and write the result to benchmarks/results/."""
    with tempfile.TemporaryDirectory(prefix="gr-bench-", ignore_cleanup_errors=True) as home:
        measured = uvloop.run(measure(home, rounds))
    seconds = measured.seconds
    grown = ", ".join(f"{address} {size / 1e6:,.0f} MB" for address, size in measured.grown_bytes.items())
    rows = [{"part": part, "seconds": Summary.of(values)} for part, values in seconds.items()]
    show(
        f"{_QUESTION}\n{rounds} rounds; median\n{measured.copies_stored:.2f} copies of each in the store; "
        f"grown by all: {grown}",
        ["part", "ms"],
        [[part, f"{Summary.of([value * 1e3 for value in values]):,.1f}"] for part, values in seconds.items()],
    )
    parameters = {
        "rounds": rounds,
        "table_bytes": TABLE_BYTES,
        "grown_bytes": measured.grown_bytes,
        "copies_stored": measured.copies_stored,
    }
    save("table", _QUESTION, parameters, rows)


if __name__ == "__main__":
    typer.run(run)
