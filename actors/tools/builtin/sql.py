"""SQL over tables of a state, in DuckDB (the extra `sql`): nothing but these tables can be read, nothing be written."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from actors.errors import ToolError, ToolTimeout
from actors.tools.native import tool

MAX_ROWS = 100_000
"""Of an answer."""
MAX_QUERY_LENGTH = 10_000
"""Characters of a query."""
TIMEOUT_S = 10.0
_BATCH_ROWS = 10_000
_LIMITS: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB",
    "threads": 2,
    "max_temp_directory_size": "0KB",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Otherwise the variables of this very module were tables.
    "python_enable_replacements": False,
}


@tool(tags=("tables",))
def sql(query: str, tables: dict[str, Any]) -> Any:
    """Ask tables a question in SQL (the dialect of DuckDB), such as `SELECT kind, sum(n) FROM sales GROUP BY kind`.

    Args:
        query: One SELECT statement.
        tables: Name in the query -> table: an Arrow table, or a list of objects that have the same keys.

    Raises:
        ToolError: DuckDB is not installed, the query is none or does not fit the tables, or its answer is too large.
        ToolTimeout: It took too long.
    """
    try:
        import duckdb
    except ImportError as error:
        raise _failed('DuckDB is not installed; install "greenroom[sql]"') from error
    if len(query) > MAX_QUERY_LENGTH:
        raise _failed(f"query: has {len(query)} characters; {MAX_QUERY_LENGTH} are allowed")
    with duckdb.connect(":memory:", config=_LIMITS) as database:
        for name, table in tables.items():
            database.register(name, _arrow(name, table))
        database.execute("SET lock_configuration = true")
        timer = threading.Timer(TIMEOUT_S, database.interrupt)
        timer.start()
        try:
            return _answer(duckdb, database, query)
        except duckdb.InterruptException as error:
            problem = f"sql: no answer within {TIMEOUT_S:g} s; ask for less"
            raise ToolTimeout(problem, tool="sql", timeout_s=TIMEOUT_S) from error
        except duckdb.Error as error:
            raise _failed(f"query: {' '.join(str(error).split())}") from error
        finally:
            timer.cancel()


def _answer(duckdb: Any, database: Any, query: str) -> pa.Table:
    statements = database.extract_statements(query)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise _failed("query: must be one SELECT statement")
    reader = database.sql(statements[0]).to_arrow_reader(_BATCH_ROWS)
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows > MAX_ROWS:
            raise _failed(f"query: its answer has more than {MAX_ROWS} rows; aggregate, or add LIMIT")
    return pa.Table.from_batches(batches, schema=reader.schema)


def _arrow(name: str, table: Any) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, list) and all(isinstance(row, Mapping) for row in table):
        try:
            return pa.Table.from_pylist(table)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _failed(f"tables.{name}: {error}") from error
    raise _failed(f"tables.{name}: must be an Arrow table or a list of objects, and is a {type(table).__name__}")


def _failed(problem: str) -> ToolError:
    return ToolError(f"sql: {problem}", tool="sql")
