"""Types of values that a channel can hold, each with its Arrow type and its name in a spec.

A value is first validated by pydantic, then *settled*: turned into exactly what reading it back from storage gives, or
refused. So nothing can be written that could not be read, and a state in memory equals the same state reloaded.
"""

# The methods of the types are those that `ValueType` documents.
# ruff: noqa: D102

from __future__ import annotations

import datetime as dt
import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pydantic_core

from graphs.state.reducers import INT64_MAX, INT64_MIN

DECIMAL_DIGITS = 38
"""Digits a decimal may have before and after its point."""


class MisfitError(Exception):
    """A value cannot be held. The message says why; `path` where inside the value, such as `[2].name`."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    def inside(self, step: str) -> MisfitError:
        """The same problem, seen from the value that holds the misfit at `step`."""
        return MisfitError(str(self), step + self.path)


class ValueType(ABC):
    """A type of values."""

    spec: Any
    """Its form in a spec."""
    arrow: pa.DataType
    """Its Arrow type."""
    storage: pa.DataType
    """The Arrow type its values are written with: as `arrow`, but what is in them for dictionaries, JSON, decimals."""
    layout: str
    """`storage` as text that never changes: part of the fingerprint of stored records."""
    direct: bool = True
    """Whether Arrow takes and gives back its values as they are."""
    mutable: bool = False
    """Whether a value can be changed in place."""

    @property
    def inner(self) -> ValueType:
        """The type without the `None` it may allow besides."""
        return self

    @abstractmethod
    def settle(self, value: Any) -> Any:
        """The value as it is read back after it was stored; raises MisfitError if it cannot be stored."""

    def pack(self, value: Any) -> Any:
        """What `pyarrow.array` is given for it."""
        return value

    def unpack(self, value: Any) -> Any:
        """The value from what Arrow gives back."""
        return value

    def plain(self, value: Any, *, text: bool = False) -> Any:
        """The value in mappings, lists and scalars; with `text` only those that JSON has, exactly."""
        return value


class _Scalar(ValueType):
    def __init__(self, spec: str, arrow: pa.DataType, storage: pa.DataType | None = None) -> None:
        self.spec = self.layout = spec
        self.arrow = arrow
        self.storage = storage or arrow


class BoolType(_Scalar):
    """`bool`."""

    def settle(self, value: Any) -> Any:
        if not isinstance(value, bool):
            raise MisfitError(f"should be a bool, not {type(value).__name__}")
        return value


class IntType(_Scalar):
    """`int` of 64 bits."""

    def settle(self, value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            raise MisfitError(f"should be an int, not {type(value).__name__}")
        if not INT64_MIN <= value <= INT64_MAX:
            raise MisfitError("is outside the range of 64-bit integers; use a float or a string channel")
        return int(value)


class FloatType(_Scalar):
    """`float`; NaN and infinities are values like others."""

    def settle(self, value: Any) -> Any:
        if not isinstance(value, float | int) or isinstance(value, bool):
            raise MisfitError(f"should be a float, not {type(value).__name__}")
        return float(value)


class StringType(_Scalar):
    """`str` that UTF-8 can encode."""

    def settle(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise MisfitError(f"should be a str, not {type(value).__name__}")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise MisfitError(
                    f"has a lone surrogate at {error.start}, which is no character; "
                    "decode the text with errors='replace'"
                ) from None
        return value if type(value) is str else str.__str__(value)


class BytesType(_Scalar):
    """`bytes`."""

    def settle(self, value: Any) -> Any:
        if not isinstance(value, bytes):
            raise MisfitError(f"should be bytes, not {type(value).__name__}")
        return bytes(value)

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return value.decode() if text else value


class TimestampType(_Scalar):
    """`datetime` with a time zone, kept as UTC in microseconds."""

    direct = False

    def settle(self, value: Any) -> Any:
        if not isinstance(value, dt.datetime):
            raise MisfitError(f"should be a datetime, not {type(value).__name__}")
        if value.utcoffset() is None:
            raise MisfitError("has no time zone; make it aware, for example with datetime.now(UTC)")
        try:
            return value.astimezone(dt.UTC).replace(fold=0) if value.fold else value.astimezone(dt.UTC)
        except OverflowError:
            raise MisfitError("is outside the years 1 to 9999 in UTC") from None

    def pack(self, value: Any) -> Any:
        return value.replace(tzinfo=None)

    def unpack(self, value: Any) -> Any:
        return value.replace(tzinfo=dt.UTC)

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return value.isoformat() if text else value


class DateType(_Scalar):
    """`date`; plain as ISO text, which orders as dates do."""

    def settle(self, value: Any) -> Any:
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise MisfitError(f"should be a date, not {type(value).__name__}")
        return value

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return value.isoformat()


class DecimalType(_Scalar):
    """`Decimal`, kept exactly, trailing zeros included."""

    direct = False

    def settle(self, value: Any) -> Any:
        if not isinstance(value, Decimal):
            raise MisfitError(f"should be a Decimal, not {type(value).__name__}")
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -DECIMAL_DIGITS or value.adjusted() >= DECIMAL_DIGITS:
            raise MisfitError(f"must be finite, with at most {DECIMAL_DIGITS} digits before and after the point")
        return value

    def pack(self, value: Any) -> Any:
        return str(value)

    def unpack(self, value: Any) -> Any:
        return Decimal(value)

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return str(value) if text else value


class JsonType(_Scalar):
    """`Any`: whatever JSON can hold. Models become mappings, tuples and sets lists, datetimes text."""

    direct = False
    mutable = True

    def settle(self, value: Any) -> Any:
        try:
            return self.unpack(self.pack(value))
        except ValueError as error:
            reason = str(error).removeprefix("Error serializing to JSON: ")
            raise MisfitError(f"cannot be written as JSON: {reason}") from None

    def pack(self, value: Any) -> Any:
        return pydantic_core.to_json(value, inf_nan_mode="constants").decode()

    def unpack(self, value: Any) -> Any:
        return pydantic_core.from_json(value)


class TableType(_Scalar):
    """A `pyarrow.Table` or `RecordBatch`, as it is. Only a whole channel can hold one."""

    direct = False

    def __init__(self, spec: str, python: type) -> None:
        super().__init__(spec, pa.large_binary())
        self.python = python

    def settle(self, value: Any) -> Any:
        if not isinstance(value, self.python):
            raise MisfitError(f"should be a {self.python.__name__}, not {type(value).__name__}")
        return value

    def pack(self, value: Any) -> Any:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)
        return sink.getvalue().to_pybytes()

    def unpack(self, value: Any) -> Any:
        with pa.ipc.open_stream(value) as reader:
            return reader.read_all() if self.python is pa.Table else reader.read_next_batch()

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return {"rows": value.num_rows, "columns": list(value.schema.names)}


class EnumType(ValueType):
    """An `Enum` class or a `Literal`, whose values are all strings or all integers."""

    def __init__(self, values: Sequence[str] | Sequence[int], python: type[enum.Enum] | None = None) -> None:
        self.spec = {"enum": list(values)}
        self.storage = pa.string() if isinstance(values[0], str) else pa.int64()
        self.layout = "string" if isinstance(values[0], str) else "int64"
        self.arrow = pa.dictionary(pa.int32(), self.storage)
        self.direct = python is None
        self._python = python
        self._values = frozenset(values)

    def settle(self, value: Any) -> Any:
        value = getattr(value, "value", value)
        if not isinstance(value, str | int) or value not in self._values:
            raise MisfitError(f"should be one of {', '.join(map(repr, self.spec['enum']))}, and is {value!r}")
        return value if self._python is None else self._python(value)

    def pack(self, value: Any) -> Any:
        return getattr(value, "value", value)

    def unpack(self, value: Any) -> Any:
        return value if self._python is None else self._python(value)

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return getattr(value, "value", value)


JSON = JsonType("json", pa.json_(), pa.string())
SCALARS: dict[type, ValueType] = {
    bool: BoolType("bool", pa.bool_()),
    int: IntType("int64", pa.int64()),
    float: FloatType("float64", pa.float64()),
    str: StringType("string", pa.string()),
    bytes: BytesType("binary", pa.binary()),
    dt.datetime: TimestampType("timestamp", pa.timestamp("us", "UTC"), pa.timestamp("us")),
    dt.date: DateType("date", pa.date32()),
    Decimal: DecimalType("decimal", pa.decimal256(2 * DECIMAL_DIGITS, DECIMAL_DIGITS), pa.string()),
}
"""Python class -> its type."""
TABLES: dict[type, ValueType] = {
    pa.Table: TableType("table", pa.Table),
    pa.RecordBatch: TableType("record_batch", pa.RecordBatch),
}
"""As `SCALARS`, for what only a whole channel can hold."""
