"""A queue of threads made ready to begin: its graph stored, its inputs checked and encoded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from graphs.errors import ValidationError
from graphs.policies import OnFailure
from graphs.threads import Thread, ThreadFactory, ThreadPriority
from graphs.workflow.queue import input_channel, queue_graph
from runtime.deployment import save_graph
from runtime.records import Records

Item = tuple[str, Mapping[str, Any]]
"""A workflow, as `session` takes it, and its input."""


async def prepare_queue(
    records: Records, session_id: str, items: Sequence[Item], on_failure: OnFailure, name: str, token: str
) -> tuple[Thread, bytes]:
    """The record of the thread that runs a queue, and the delta that begins it.

    Args:
        records: What is stored.
        session_id: Where it runs.
        items: `id@version+build` and input of each.
        on_failure: What to do when one has failed.
        name: What to call it.
        token: Tells it from other queues of the session.

    Raises:
        StateInvalid: An input does not fit.
    """
    if not items:
        raise ValidationError("a queue needs at least one item", problems=["items: there are none"])
    ref = await save_graph(queue_graph([ref for ref, _ in items], on_failure), records.store.workflows)
    thread = ThreadFactory(time.time()).queue(session_id, ref, token, name, ThreadPriority.NORMAL)
    checked = []
    for item_ref, content in items:
        schema = await records.schema(item_ref)
        checked.append((schema, schema.check_input(content)))
    write = {
        input_channel(number): await records.encoded(thread.id, schema, content)
        for number, (schema, content) in enumerate(checked, start=1)
    }
    return thread, await records.encoded(thread.id, await records.schema(ref), write)
