"""A table of 100 MB on Ray and Valkey: what of it moves, and that it is there when every process has been killed."""

from __future__ import annotations

import shutil
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from graphs.journal import EntryKind
from runtime import END, START, Graph, Runtime
from runtime.options import shared_values
from tests.faults.cluster import Cluster

pytestmark = pytest.mark.integration

ROWS = 12_500_000
TABLE_BYTES = 8 * ROWS


class Rows(BaseModel):
    n: int = 0
    total: int = 0
    table: pa.Table | None = None

    model_config = {"arbitrary_types_allowed": True}


def ten_nodes() -> Graph:
    """A chain of ten nodes, of which the seventh reads the table."""
    g = Graph("faults-values", state=Rows)
    names = [f"n{i}" for i in range(9)]
    for name in names:
        g.node(count, name=name, reads=["n"], writes=["n"])
    g.node(last_row, reads=["table"], writes=["total"])
    names.insert(6, "last_row")
    for source, target in zip((START, *names), (*names, END), strict=True):
        g.edge(source, target)
    return g


async def count(state: Rows) -> dict[str, Any]:
    return {"n": state.n + 1}


async def last_row(state: Rows) -> dict[str, Any]:
    assert state.table is not None
    return {"total": state.table["x"][-1].as_py() + state.table.num_rows}


def traffic(rt: Runtime) -> tuple[int, int]:
    """Bytes that the store has received and sent."""
    link = rt._client.records.store._link  # type: ignore[attr-defined]
    stats = rt._run(link.run(lambda: link.client.info("stats")))
    return stats["total_net_input_bytes"], stats["total_net_output_bytes"]


def test_a_table_of_100_mb_outlives_every_process(cluster: Cluster) -> None:
    cluster.rt.deploy(ten_nodes())
    session = cluster.rt.session("faults-values")
    table = pa.table({"x": pa.array(range(ROWS), pa.int64())})

    received, sent = traffic(cluster.rt)
    result = session.run({"table": table}, timeout_s=60)
    received, sent = (now - before for now, before in zip(traffic(cluster.rt), (received, sent), strict=True))

    assert (result.state.n, result.state.total) == (9, 2 * ROWS - 1)
    assert result.state.table.equals(table)
    assert TABLE_BYTES <= received < 1.1 * TABLE_BYTES, "the driver puts it once"
    assert sent < 0.1 * TABLE_BYTES, "the executor maps what the driver has put"
    assert sum(len(delta) for entry in cluster.entries(result.thread_id) for delta in entry.deltas) < 10_000

    for address in cluster.pids():
        cluster.kill(address)
    cluster.kill_store()
    shutil.rmtree(shared_values())
    cluster.head(result.thread_id)  # when it can be read, the store is there again

    with Runtime(home=cluster.home, models={"default": {"provider": "scripted"}}) as another:
        again = another.session(id=session.id).run({"n": 0}, timeout_s=60)

    assert (again.state.n, again.state.total) == (9, 2 * ROWS - 1)
    assert again.state.table.equals(table)
    steps = [entry.kind for entry in cluster.entries(result.thread_id)]
    assert steps == 2 * [EntryKind.TURN_STARTED, *10 * [EntryKind.STEP_FINISHED], EntryKind.TURN_FINISHED]
