"""Records of the history as Arrow tables, for tools that read columns."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from graphs.calls import COST_DIGITS
from graphs.history import HistoryRecord

_WORD = pa.dictionary(pa.int32(), pa.string())

HISTORY_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("record_type", _WORD),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("thread_id", pa.string()),
        ("workflow", _WORD),
        ("version", _WORD),
        ("node", _WORD),
        ("seq", pa.int64()),
        ("attempt", pa.int32()),
        ("model", _WORD),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("total_tokens", pa.int64()),
        ("cost", pa.decimal128(38, COST_DIGITS)),
        ("currency", _WORD),
        ("data", pa.string()),
    ]
)
"""A row for each record. Tokens are those of a `token_usage`, the cost that of a `cost_record`: each is there once, so
columns can be summed. `data` is JSON."""

_PLAIN = ("id", "user_id", "session_id", "thread_id", "workflow", "version", "node", "seq", "attempt", "model")
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_encoder = msgspec.json.Encoder()


def to_batch(records: Sequence[HistoryRecord]) -> pa.RecordBatch:
    """The records as one batch of `HISTORY_SCHEMA`."""
    columns: dict[str, list[Any]] = {name: [getattr(record, name) for record in records] for name in _PLAIN}
    columns["record_type"] = [record.record_type.value for record in records]
    columns["timestamp"] = [round(record.timestamp * 1e6) for record in records]
    for name in _TOKENS:
        columns[name] = [record.data.get(name) for record in records]
    costs = [record.data if "amount" in record.data else {} for record in records]
    columns["cost"] = [Decimal(cost["amount"]) if cost else None for cost in costs]
    columns["currency"] = [cost.get("currency") for cost in costs]
    columns["data"] = [_encoder.encode(record.data).decode() for record in records]
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type) for field in HISTORY_SCHEMA], schema=HISTORY_SCHEMA
    )
